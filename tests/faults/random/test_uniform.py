import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas import Memory, random_fault_maps


@given(st.integers(1, 300), st.integers(1, 64), st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32), st.integers(1, 3))
def test_the_rate_is_exact(words, word_bits, rate, share, seed, chips):
    memory = Memory(words=words, word_bits=word_bits)
    for chip in random_fault_maps(memory, chips=chips, fault_rate=rate, sa1_share=share, seed=seed):
        assert len(chip) == round(rate * memory.cells)
        assert chip.stuck_at.sum() == round(share * len(chip))


def test_chips_are_independent_of_their_number_and_differ():
    memory = Memory(words=100, word_bits=32)
    few = random_fault_maps(memory, chips=2, fault_rate=0.01, seed=5)
    many = random_fault_maps(memory, chips=4, fault_rate=0.01, seed=5)
    assert few == many[:2]
    assert len({c.digest for c in many}) == 4
    assert few[0].digest != random_fault_maps(memory, chips=1, fault_rate=0.01, seed=6)[0].digest


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.8])
def test_every_cell_is_equally_likely(rate):
    memory = Memory(words=5, word_bits=8)
    chips = random_fault_maps(memory, chips=4000, fault_rate=rate, seed=1)
    counts = np.bincount(np.concatenate([c.cells for c in chips]), minlength=40)
    expected = 4000 * round(rate * 40) / 40
    # Standard deviation of a binomial; five of them are exceeded once in a million.
    assert abs(counts - expected).max() < 5 * np.sqrt(expected * (1 - expected / 4000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chips": 0}, "chips must be at least 1, got 0"),
        ({"fault_rate": 1.1}, "fault_rate must lie between 0 and 1, got 1.1"),
        ({"sa1_share": -0.1}, "sa1_share must lie between 0 and 1, got -0.1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_fault_maps(Memory(words=4, word_bits=8), **({"chips": 1, "fault_rate": 0.1, "seed": 0} | arguments))
