"""What an error-correcting code leaves, against a word by word count in plain Python and against random maps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tremap_brevitas as tm
from tremap_brevitas.faults.array.correction import check_bits_of, corrected, rate_behind


def left_by_hand(fault_map, data_bits):
    words = {}
    for cell, value in zip(fault_map.cells.tolist(), fault_map.stuck_at.tolist(), strict=True):
        words.setdefault(cell // fault_map.memory.word_bits, []).append((cell % fault_map.memory.word_bits, value))
    return {(word, bit): value for word, stuck in words.items() if len(stuck) > 1 for bit, value in stuck if bit < data_bits}


@given(seed=st.integers(0, 10**6), rate=st.floats(0, 0.4), data_bits=st.integers(1, 9), spare=st.integers(0, 2))
def test_word_by_word(seed, rate, data_bits, spare):
    memory = tm.Memory(words=12, word_bits=data_bits + check_bits_of(data_bits) + spare, banks=3)
    (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=rate, seed=seed)
    behind = corrected(chip, data_bits=data_bits)
    words = {(int(c) // data_bits, int(c) % data_bits): int(v) for c, v in zip(behind.cells, behind.stuck_at, strict=True)}
    assert words == left_by_hand(chip, data_bits)
    assert (behind.memory.words, behind.memory.word_bits, behind.memory.banks) == (12, data_bits, 3)
    assert (behind.chip, behind.metadata) == (chip.chip, chip.metadata)


def test_what_a_code_corrects_by_trying_every_word():
    """One wrong bit of a Hamming word is told from every other and from none: one check bit fewer does not do."""
    for data_bits in range(1, 200):
        hamming = check_bits_of(data_bits) - 1
        assert 2**hamming - 1 >= data_bits + hamming
        assert 2 ** (hamming - 1) - 1 < data_bits + hamming - 1


@pytest.mark.parametrize("rate", [1e-3, 6e-3, 2e-2, 1e-1])
def test_rates_of_random_maps(rate):
    (chip,) = tm.random_fault_maps(tm.Memory(words=200_000, word_bits=39), chips=1, fault_rate=rate, seed=1)
    assert corrected(chip, data_bits=32).fault_rate == pytest.approx(rate_behind(rate, data_bits=32), rel=0.1)


def test_refused():
    (chip,) = tm.random_fault_maps(tm.Memory(words=8, word_bits=32), chips=1, fault_rate=0.1, seed=0)
    with pytest.raises(ValueError, match="words of 32 cells have 0 check bits beside 32 bits of data; to correct .* takes 6"):
        corrected(chip, data_bits=32)
    with pytest.raises(ValueError, match="have 0 check bits beside 40"):
        corrected(chip, data_bits=40)
    with pytest.raises(ValueError, match="data_bits must be at least 1, got 0"):
        corrected(chip, data_bits=0)
    with pytest.raises(ValueError, match=r"fault_rate must be from 0 to 1, got 1\.5"):
        rate_behind(1.5, data_bits=32)
