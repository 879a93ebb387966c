"""The nearest reachable code to a real number, against all codes that the oracle lets through."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas.prepare.compensation.reachable import CodeRule, Reachable, writable

ENCODINGS = ["twos_complement", "offset_binary", "sign_magnitude", "binary"]


def lowest_of(width, encoding, narrow):
    if encoding == "binary":
        return 0
    return -(1 << (width - 1)) + (1 if narrow or encoding == "sign_magnitude" else 0)


def codes_that_come_back(width, encoding, store, lowest, bits):
    """Every code that some wanted code becomes, by the oracle, bit by bit."""
    rule = oracle.nearest if store == "nearest" else oracle.read_back
    highest = (1 << width) - 1 if encoding == "binary" else (1 << (width - 1)) - 1
    return sorted({rule(code, bits, width, encoding) for code in range(lowest, highest + 1)})


def masks_of(bits):
    sa0 = sum(1 << b for b, value in bits.items() if value == 0)
    sa1 = sum(1 << b for b, value in bits.items() if value == 1)
    return torch.tensor([[[sa0]]]), torch.tensor([[[sa1]]])


@given(st.data())
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nearest_against_every_reachable_code(encoding, data):
    width = data.draw(st.integers(2, 8), label="bits")
    store = data.draw(st.sampled_from(["nearest", "plain"]), label="store")
    lowest = lowest_of(width, encoding, data.draw(st.booleans(), label="narrow"))
    bits = data.draw(st.dictionaries(st.integers(0, width - 1), st.integers(0, 1)), label="stuck")
    wish = data.draw(st.floats(-1.5 * 2**width, 1.5 * 2**width), label="wish")
    codes = codes_that_come_back(width, encoding, store, lowest, bits)
    nearest = Reachable(*masks_of(bits), CodeRule(width, encoding, store, lowest)).nearest(
        torch.tensor([[wish]], dtype=torch.float64), 0
    )
    clamped = min(max(wish, lowest), codes[-1] if codes[-1] > lowest else lowest)
    best = min(abs(code - wish) for code in codes)
    assert nearest.item() in codes
    # A wish outside the range is taken for its end, which keeps the order of distances.
    assert abs(nearest.item() - wish) == pytest.approx(best) or abs(nearest.item() - clamped) == min(
        abs(c - clamped) for c in codes
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_wide_codes_are_the_nearest_of_the_rounded_wish(encoding):
    width, rng = 12, np.random.default_rng(0)
    lowest = lowest_of(width, encoding, False)
    highest = lowest + (1 << width) - (2 if encoding == "sign_magnitude" else 1)
    for _ in range(50):
        bits = {int(b): int(rng.integers(2)) for b in rng.choice(width, 3, replace=False)}
        wish = float(rng.uniform(lowest, highest))
        nearest = Reachable(*masks_of(bits), CodeRule(width, encoding, "nearest", lowest)).nearest(
            torch.tensor([[wish]], dtype=torch.float64), 0
        )
        assert nearest.item() == oracle.nearest(round(wish), bits, width, encoding)


def test_writable_codes():
    rule = CodeRule(3, "twos_complement", "nearest", -4)
    allowed = writable(torch.tensor([0b100, 0]), torch.tensor([0, 0b001]), range(-4, 4), rule)
    assert allowed.tolist() == [[False] * 4 + [True] * 4, [False, True] * 4]
