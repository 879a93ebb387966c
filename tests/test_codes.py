"""codes.py against the bit-by-bit oracle."""

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from strategies import ENCODINGS, stuck_codes

from tremap_brevitas import codes as c


def all_codes(width, encoding):
    low, high = c.code_range(bit_width=width, encoding=encoding)
    return np.arange(low, high + 1)


WIDTHS = [(w, e) for e in ENCODINGS for w in range(2 if e == "sign_magnitude" else 1, 9)]


@pytest.mark.parametrize(("width", "encoding"), WIDTHS)
def test_encode_and_decode_exhaustively(width, encoding):
    codes = all_codes(width, encoding)
    stored = c.encode(codes, bit_width=width, encoding=encoding)
    for code, bits in zip(codes, stored, strict=True):
        assert bits == sum(b << i for i, b in enumerate(oracle.to_bits(int(code), width, encoding)))
    assert np.array_equal(c.decode(stored, bit_width=width, encoding=encoding), codes)


@pytest.mark.parametrize(("width", "encoding"), [w for w in WIDTHS if w[0] <= 5])
@pytest.mark.parametrize("nearest", [False, True], ids=["read_back", "nearest"])
def test_every_pattern_and_code_up_to_5_bits(width, encoding, nearest):
    table = c.code_table(bit_width=width, encoding=encoding, nearest=nearest)
    rule = oracle.nearest if nearest else oracle.read_back
    sa0, sa1 = c.pattern_masks(width)
    start = 0 if encoding == "binary" else -(1 << (width - 1))
    for pattern in range(3**width):
        stuck = oracle.stuck_bits(int(sa0[pattern]), int(sa1[pattern]), width)
        for code in all_codes(width, encoding):
            assert table[pattern, code - start] == rule(int(code), stuck, width, encoding), (stuck, code)


def brute_force_rows(width, encoding, patterns):
    """Nearest codes by comparing with every reachable one; NumPy, but no bit tricks."""
    sa0, sa1 = c.pattern_masks(width)
    everything = np.arange(1 << width)
    for pattern in patterns:
        reachable = np.unique((everything | sa1[pattern]) & ~sa0[pattern])
        values = np.array([oracle.from_bits([(int(v) >> i) & 1 for i in range(width)], encoding) for v in reachable])
        values = values[np.lexsort((values < 0, abs(values)))]  # ties: smaller magnitude, then positive
        codes = all_codes(width, encoding)
        yield pattern, codes, values[np.argmin(abs(values[None, :] - codes[:, None]), axis=1)]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("width", [6, 7])
def test_nearest_of_every_pattern_and_code_at_6_and_7_bits(width, encoding):
    table = c.code_table(bit_width=width, encoding=encoding, nearest=True)
    start = 0 if encoding == "binary" else -(1 << (width - 1))
    for pattern, codes, expected in brute_force_rows(width, encoding, range(3**width)):
        assert np.array_equal(table[pattern, codes - start], expected)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nearest_of_every_pattern_and_code_at_8_bits(encoding):
    table = c.code_table(bit_width=8, encoding=encoding, nearest=True)
    start = 0 if encoding == "binary" else -128
    for pattern, codes, expected in brute_force_rows(8, encoding, range(3**8)):
        assert np.array_equal(table[pattern, codes - start], expected)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_8_bits_against_the_oracle(encoding):
    rng = np.random.default_rng(0)
    sa0, sa1 = c.pattern_masks(8)
    table = c.code_table(bit_width=8, encoding=encoding, nearest=True)
    start = 0 if encoding == "binary" else -128
    for pattern in [0, 1, 2, 2 * 3**7, 3**7, 3**8 - 1, *rng.integers(3**8, size=30)]:
        stuck = oracle.stuck_bits(int(sa0[pattern]), int(sa1[pattern]), 8)
        for code in rng.choice(all_codes(8, encoding), size=6):
            assert table[pattern, code - start] == oracle.nearest(int(code), stuck, 8, encoding)


@given(stuck_codes())
def test_read_back_equals_the_oracle_and_is_idempotent(case):
    codes, sa0, sa1, width, encoding = case
    once = c.read_back(codes, sa0=sa0, sa1=sa1, bit_width=width, encoding=encoding)
    stuck = oracle.stuck_bits(sa0, sa1, width)
    assert once.tolist() == [oracle.read_back(code, stuck, width, encoding) for code in codes]
    assert np.array_equal(c.read_back(once, sa0=sa0, sa1=sa1, bit_width=width, encoding=encoding), once)


@given(stuck_codes(max_width=10))
@settings(max_examples=150)
def test_nearest_equals_brute_force(case):
    codes, sa0, sa1, width, encoding = case
    nearest = c.nearest_reachable(codes, sa0=sa0, sa1=sa1, bit_width=width, encoding=encoding)
    stuck = oracle.stuck_bits(sa0, sa1, width)
    assert nearest.tolist() == [oracle.nearest(code, stuck, width, encoding) for code in codes]


@given(stuck_codes(min_width=11))
@settings(max_examples=40)
def test_wide_nearest_is_reachable_and_never_further_than_any_reachable_code(case):
    codes, sa0, sa1, width, encoding = case
    nearest = c.nearest_reachable(codes, sa0=sa0, sa1=sa1, bit_width=width, encoding=encoding)
    patterns = np.arange(1 << width)
    reachable = c.decode((patterns | sa1) & ~sa0, bit_width=width, encoding=encoding)
    assert np.isin(nearest, reachable).all()
    for code, near in zip(codes, nearest, strict=True):
        rank = min(zip(abs(reachable - code).tolist(), abs(reachable).tolist(), strict=True))
        assert (abs(near - code), abs(near)) == rank


@given(stuck_codes())
def test_nearest_is_stored_unchanged_and_never_further_than_plain(case):
    codes, sa0, sa1, width, encoding = case
    stuck = {"sa0": sa0, "sa1": sa1, "bit_width": width, "encoding": encoding}
    near = c.nearest_reachable(codes, **stuck)
    assert np.array_equal(c.read_back(near, **stuck), near)
    assert (abs(near - codes) <= abs(c.read_back(codes, **stuck) - codes)).all()


@given(stuck_codes())
def test_the_formula_takes_tensors_as_well(case):
    codes, sa0, sa1, width, encoding = case
    expected = c.nearest_reachable(codes, sa0=sa0, sa1=sa1, bit_width=width, encoding=encoding)
    tensors = (torch.tensor(v, dtype=torch.int32) for v in (codes, sa0, sa1))
    assert c.nearest_formula(*tensors, bit_width=width, encoding=encoding).tolist() == expected.tolist()


def test_a_stuck_sign_bit_uses_the_full_range():
    assert c.read_back([0], sa0=0, sa1=128, bit_width=8, encoding="twos_complement") == [-128]
    assert c.nearest_reachable([0], sa0=0, sa1=128, bit_width=8, encoding="twos_complement") == [-1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: c.encode([128], bit_width=8, encoding="twos_complement"),
            "code 128 is outside -128 to 127 .8 bits, twos_comp",
        ),
        (lambda: c.encode([-1], bit_width=4, encoding="binary"), "code -1 is outside 0 to 15"),
        (lambda: c.encode([-8], bit_width=4, encoding="sign_magnitude"), "code -8 is outside -7 to 7"),
        (lambda: c.encode([1.5], bit_width=4, encoding="binary"), "codes must be integers, got float64"),
        (lambda: c.decode([16], bit_width=4, encoding="binary"), "stored value 16 is outside 0 to 15"),
        (lambda: c.read_back([1], sa0=1, sa1=1, bit_width=4, encoding="binary"), "sa0 and sa1 must not overlap"),
        (lambda: c.read_back([1], sa0=16, sa1=0, bit_width=4, encoding="binary"), "sa0 mask 16 is outside 0 to 15"),
        (lambda: c.code_range(bit_width=17, encoding="binary"), "bit_width must be 1 to 16"),
        (lambda: c.code_range(bit_width=1, encoding="sign_magnitude"), "bit_width must be 2 to 16"),
        (lambda: c.code_range(bit_width=8, encoding="gray"), "encoding must be one of .*, got 'gray'"),
        (lambda: c.code_table(bit_width=9, encoding="binary", nearest=True), "a table for 9 bits would be too large"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
