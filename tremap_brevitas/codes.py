"""Arithmetic of stuck bits: pure functions on integer arrays.

A *code* is one weight's integer. In memory it is ``bit_width`` bits, in one of four encodings; bit 0 is the
LSB, bit ``bit_width - 1`` the MSB. Below, 4-bit codes and how they are stored::

    code   "twos_complement"   "offset_binary"   "sign_magnitude"   "binary" (unsigned)
      5         0101                1101               0101               0101
     -5         1011                0011               1101                 -
     -8         1000                0000                 -                  -
     12           -                   -                  -                1100

``sa0`` and ``sa1`` are masks over the stored bits: a set bit marks a cell stuck at 0, or at 1. No bit may be
set in both. Arrays broadcast against each other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tremap_brevitas.printable import counted

Encoding = Literal["twos_complement", "binary", "offset_binary", "sign_magnitude"]
Codes = NDArray[np.int32]

MAX_BIT_WIDTH = 16
# Up to here the nearest reachable codes of all stuck patterns fit into one small table (3**8 * 2**8 bytes).
MAX_TABLE_BIT_WIDTH = 8


def code_range(*, bit_width: int, encoding: Encoding) -> tuple[int, int]:
    """Return the smallest and the largest code of ``bit_width`` bits.

    Raises:
        ValueError: If the bit width is not 1 to 16 (2 to 16 for sign-magnitude), or the encoding is unknown.

    Examples:
        >>> code_range(bit_width=8, encoding="twos_complement"), code_range(bit_width=4, encoding="sign_magnitude")
        ((-128, 127), (-7, 7))
    """
    if encoding not in get_args(Encoding):
        raise ValueError(f"encoding must be one of {', '.join(get_args(Encoding))}, got {encoding!r}")
    least = 2 if encoding == "sign_magnitude" else 1
    if not least <= bit_width <= MAX_BIT_WIDTH:
        raise ValueError(f"bit_width must be {least} to {MAX_BIT_WIDTH} for {encoding}, got {bit_width}")
    half = 1 << (bit_width - 1)
    if encoding == "binary":
        return 0, 2 * half - 1
    return (1 - half if encoding == "sign_magnitude" else -half), half - 1


def encode(codes: ArrayLike, *, bit_width: int, encoding: Encoding) -> Codes:
    """Convert codes to stored bits, as non-negative integers.

    Raises:
        ValueError: If a code does not fit.

    Examples:
        >>> encode([5, -5, -8], bit_width=4, encoding="twos_complement")
        array([ 5, 11,  8], dtype=int32)
        >>> encode([0, -7], bit_width=4, encoding="sign_magnitude")
        array([ 0, 15], dtype=int32)
    """
    low, high = code_range(bit_width=bit_width, encoding=encoding)
    values = _checked(codes, low, high, "code", bit_width, encoding)
    half = 1 << (bit_width - 1)
    if encoding == "offset_binary":
        return values + np.int32(half)
    if encoding == "sign_magnitude":
        return np.where(values < 0, half - values, values).astype(np.int32)
    return values & np.int32(2 * half - 1)


def decode(stored: ArrayLike, *, bit_width: int, encoding: Encoding) -> Codes:
    """Convert stored bits to codes; the inverse of [encode][tremap_brevitas.codes.encode].

    In sign-magnitude the pattern "minus zero" decodes to 0.

    Raises:
        ValueError: If a value has more than ``bit_width`` bits.

    Examples:
        >>> decode([5, 11, 8], bit_width=4, encoding="twos_complement")
        array([ 5, -5, -8], dtype=int32)
    """
    code_range(bit_width=bit_width, encoding=encoding)
    half = 1 << (bit_width - 1)
    values = _checked(stored, 0, 2 * half - 1, "stored value", bit_width, encoding)
    if encoding == "binary":
        return values
    if encoding == "offset_binary":
        return values - np.int32(half)
    if encoding == "sign_magnitude":
        return np.where(values >= half, half - values, values).astype(np.int32)
    return (values ^ np.int32(half)) - np.int32(half)


def read_back(codes: ArrayLike, *, sa0: ArrayLike, sa1: ArrayLike, bit_width: int, encoding: Encoding) -> Codes:
    """Return the codes read from the memory after ``codes`` were written: ``(stored | sa1) & ~sa0``.

    Idempotent. The result uses the full range: a sign bit stuck at 1 turns 0 into -128 at 8 bits.

    Raises:
        ValueError: If a code or a mask does not fit, or a bit is stuck at both values.

    Examples:
        >>> read_back([0, 7], sa0=[0, 1], sa1=[128, 0], bit_width=8, encoding="twos_complement")
        array([-128,    6], dtype=int32)
    """
    stored = encode(codes, bit_width=bit_width, encoding=encoding)
    zeros, ones = _masks(sa0, sa1, bit_width, encoding)
    return decode((stored | ones) & ~zeros, bit_width=bit_width, encoding=encoding)


def nearest_reachable(codes: ArrayLike, *, sa0: ArrayLike, sa1: ArrayLike, bit_width: int, encoding: Encoding) -> Codes:
    """Return the code closest to the wanted code among all codes that can be read back.

    Written to the memory it reads back unchanged. A tie goes to the smaller magnitude, and between ``-x`` and
    ``x`` to ``x``. This is the closest-value rule of fault-aware quantization (FAQ, arXiv 2305.12590).

    Raises:
        ValueError: If a code or a mask does not fit, or a bit is stuck at both values.

    Examples:
        Bit 6 of 8 is stuck at 0, so 64 to 127 are out of reach; plain read-back of 70 gives 6.

        >>> nearest_reachable([70, 110, 5], sa0=64, sa1=0, bit_width=8, encoding="twos_complement")
        array([63, 63,  5], dtype=int32)
    """
    low, high = code_range(bit_width=bit_width, encoding=encoding)
    values = _checked(codes, low, high, "code", bit_width, encoding)
    zeros, ones = _masks(sa0, sa1, bit_width, encoding)
    nearest: Codes = nearest_formula(values, zeros, ones, bit_width=bit_width, encoding=encoding)
    return nearest.astype(np.int32, copy=False)  # NumPy 1 makes int64 of Python's integers beside single masks


def nearest_formula(codes: Any, sa0: Any, sa1: Any, *, bit_width: int, encoding: Encoding) -> Any:
    """Compute [nearest_reachable][tremap_brevitas.codes.nearest_reachable] in closed form, without its checks.

    Uses operators only, so that it works for NumPy arrays and torch tensors (both int32).
    """
    half = 1 << (bit_width - 1)
    full = 2 * half - 1
    if encoding == "sign_magnitude":
        return _nearest_sign_magnitude(codes, sa0, sa1, half)
    if encoding == "binary":
        return _nearest_unsigned(codes, sa0, sa1, full, 0)
    if encoding == "twos_complement":
        # Offset binary is two's complement with the MSB inverted, and keeps the order of the codes.
        sa0, sa1 = (sa0 & (half - 1)) | (sa1 & half), (sa1 & (half - 1)) | (sa0 & half)
    return _nearest_unsigned(codes + half, sa0, sa1, full, half) - half


def _nearest_unsigned(wanted: Any, sa0: Any, sa1: Any, full: int, zero: int) -> Any:
    """Return the nearest unsigned number whose bits agree with the masks; magnitudes are counted from ``zero``.

    The largest reachable number below and the smallest above the wanted one differ from it in the same way as
    in decimal counting: at the highest wrong bit the number is rounded down or up to the next reachable one, and
    the other neighbour is found by counting on, or back, over the free bits alone.
    """
    stuck = sa0 | sa1
    free = ~stuck & full
    plain = (wanted | sa1) & ~sa0
    span = wanted ^ plain
    for shift in (1, 2, 4, 8):
        span = span | (span >> shift)  # every bit from the highest wrong one down
    below, above = plain < wanted, plain > wanted
    neighbour = (wanted & ~span) | (span & (sa1 | (below * (~sa0 & full))))
    bits = neighbour & free
    up = (((neighbour | stuck) + 1) & free) | sa1
    down = ((bits - 1) & free) | sa1
    lower = neighbour + above * (down - neighbour)
    upper = neighbour + below * (up - neighbour)
    # A neighbour that does not exist is farther away than any that does.
    far = 2 * full + 2
    to_lower = wanted - lower + far * (above & (bits == 0))
    to_upper = upper - wanted + far * (below & (bits == free))
    take_upper = (to_upper < to_lower) | ((to_upper == to_lower) & (abs(upper - zero) <= abs(lower - zero)))
    return lower + take_upper * (upper - lower)


def _nearest_sign_magnitude(codes: Any, sa0: Any, sa1: Any, half: int) -> Any:
    least = sa1 & (half - 1)  # the smallest magnitude within reach
    magnitude = _nearest_unsigned(abs(codes), sa0 & (half - 1), least, half - 1, 0)
    negative = codes < 0
    sign_stuck_0, sign_stuck_1 = (sa0 & half) != 0, (sa1 & half) != 0
    same_sign = ~((negative & sign_stuck_0) | (~negative & sign_stuck_1))
    other_sign = ~((negative & sign_stuck_1) | (~negative & sign_stuck_0))
    to_same, to_other = abs(abs(codes) - magnitude), abs(codes) + least
    closer = (to_other < to_same) | ((to_other == to_same) & (least < magnitude))
    flip = other_sign & (closer | ~same_sign)
    result = magnitude + flip * (least - magnitude)
    return result * (1 - 2 * (negative ^ flip))


def pattern_masks(bit_width: int) -> tuple[Codes, Codes]:
    """Return the masks ``(sa0, sa1)`` of all ``3**bit_width`` stuck patterns.

    Pattern ``p`` in base 3 has digit 0 for a healthy bit, 1 for stuck at 0, 2 for stuck at 1; the lowest
    digit is bit 0.

    Examples:
        >>> sa0, sa1 = pattern_masks(2)
        >>> sa0.tolist(), sa1.tolist()
        ([0, 1, 0, 2, 3, 2, 0, 1, 0], [0, 0, 1, 0, 0, 1, 2, 2, 3])
    """
    patterns = np.arange(3**bit_width)
    sa0, sa1 = np.zeros((2, len(patterns)), dtype=np.int32)
    for bit in range(bit_width):
        digit = patterns // 3**bit % 3
        sa0 |= ((digit == 1) << bit).astype(np.int32)
        sa1 |= ((digit == 2) << bit).astype(np.int32)
    return sa0, sa1


@lru_cache(maxsize=32)
def code_table(*, bit_width: int, encoding: Encoding, nearest: bool) -> NDArray[np.integer[Any]]:
    """Tabulate the read-back of every code under every stuck pattern, for bit widths up to 8.

    Returns:
        Read-only array of shape ``(3**bit_width, 2**bit_width)``, int8 (uint8 for ``"binary"``): row = pattern as in
        [pattern_masks][tremap_brevitas.codes.pattern_masks], column = code minus ``-2**(bit_width - 1)`` (minus 0 for
        ``"binary"``). 1.7 MB at 8 bits; made once and shared.
    """
    if bit_width > MAX_TABLE_BIT_WIDTH:
        raise ValueError(f"a table for {bit_width} bits would be too large; it can have at most {MAX_TABLE_BIT_WIDTH} bits")
    low, high = code_range(bit_width=bit_width, encoding=encoding)
    start = 0 if encoding == "binary" else -(1 << (bit_width - 1))
    # Sign-magnitude has no -2**(bit_width - 1); its column is never used.
    columns = np.clip(np.arange(start, start + (1 << bit_width), dtype=np.int32), low, high)
    sa0, sa1 = pattern_masks(bit_width)
    rule = nearest_reachable if nearest else read_back
    table = rule(columns[None, :], sa0=sa0[:, None], sa1=sa1[:, None], bit_width=bit_width, encoding=encoding)
    small = table.astype(np.uint8 if encoding == "binary" else np.int8)
    small.flags.writeable = False
    return small


def _masks(sa0: ArrayLike, sa1: ArrayLike, bit_width: int, encoding: Encoding) -> tuple[Codes, Codes]:
    full = (1 << bit_width) - 1
    zeros = _checked(sa0, 0, full, "sa0 mask", bit_width, encoding)
    ones = _checked(sa1, 0, full, "sa1 mask", bit_width, encoding)
    if np.any(zeros & ones):
        raise ValueError("a bit is stuck at 0 and at 1 at once: sa0 and sa1 must not overlap")
    return zeros, ones


def _checked(values: ArrayLike, low: int, high: int, what: str, bit_width: int, encoding: Encoding) -> Codes:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iub":
        raise TypeError(f"{what}s must be integers, got {array.dtype}")
    outside = (array < low) | (array > high)
    if np.any(outside):
        bad = array[outside].flat[0]
        raise ValueError(f"{what} {bad} is outside {low} to {high} ({counted(bit_width, 'bit')}, {encoding})")
    return array.astype(np.int32)
