"""Cost of storing a code in cells with stuck bits: whether it is misread, and the error of the nearest readable code."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.codes import MAX_TABLE_BIT_WIDTH, Encoding, code_table, decode, nearest_formula
from tremap_brevitas.placement import PlacedLayer

Stored = NDArray[np.unsignedinteger[Any]]


def wrong_codes(stored: Stored, sa0: NDArray[np.int32], sa1: NDArray[np.int32], layer: PlacedLayer) -> NDArray[np.bool_]:
    """Check which codes cannot be read back because a stuck bit disagrees.

    In sign-magnitude a zero may have either sign.

    Args:
        stored: Stored bits of codes; the masks broadcast against them.
        sa0: Bits that are stuck at 0.
        sa1: Bits that are stuck at 1.
        layer: Bit width and encoding.

    Examples:
        >>> layer = PlacedLayer("fc", (1,), 4, "sign_magnitude", 0, 1)
        >>> wrong_codes(np.array([0, 1, 9], dtype=np.uint8), np.int32(0), np.int32(8), layer)
        array([False,  True, False])
    """
    stuck, ones = (np.asarray(mask).astype(stored.dtype) for mask in (sa0 | sa1, sa1))
    wrong: NDArray[np.bool_] = (stored & stuck) != ones
    if layer.encoding == "sign_magnitude":
        sign = stored.dtype.type(1 << (layer.bit_width - 1))
        wrong &= (stored != 0) | ((ones & ~sign) != 0)
    return wrong


def squared_errors(stored: Stored, sa0: NDArray[np.int32], sa1: NDArray[np.int32], layer: PlacedLayer) -> NDArray[np.float64]:
    """Return the squared difference, in LSB, between these codes and the nearest readable ones.

    Examples:
        >>> layer = PlacedLayer("fc", (1,), 8, "twos_complement", 0, 1)
        >>> squared_errors(np.array([70, 5], dtype=np.uint8), np.int32(64), np.int32(0), layer)
        array([49.,  0.])
    """
    if layer.bit_width <= MAX_TABLE_BIT_WIDTH:
        table = _error_table(layer.bit_width, layer.encoding)
        powers = _base_3(layer.bit_width)
        return table[powers[sa0] + 2 * powers[sa1], stored].astype(np.float64)
    wanted = decode(stored, bit_width=layer.bit_width, encoding=layer.encoding)
    zeros, ones = np.broadcast_arrays(sa0, sa1)
    nearest = nearest_formula(wanted, zeros, ones, bit_width=layer.bit_width, encoding=layer.encoding)
    return np.square((nearest - wanted).astype(np.float64))


@lru_cache(maxsize=32)
def _error_table(bit_width: int, encoding: Encoding) -> NDArray[np.uint16]:
    """Tabulate the squared error of every stored code under every stuck pattern; rows as in ``codes.pattern_masks``."""
    stored = np.arange(1 << bit_width)
    wanted = decode(stored, bit_width=bit_width, encoding=encoding)
    first = 0 if encoding == "binary" else -(1 << (bit_width - 1))
    nearest = code_table(bit_width=bit_width, encoding=encoding, nearest=True)[:, wanted - first]
    table = np.square(nearest.astype(np.int32) - wanted).astype(np.uint16)  # 255² fits
    table.flags.writeable = False
    return table


@lru_cache(maxsize=32)
def _base_3(bit_width: int) -> NDArray[np.int64]:
    """Tabulate for every mask the sum of ``3**bit`` over its bits."""
    masks = np.arange(1 << bit_width)
    return sum((((masks >> bit) & 1) * 3**bit for bit in range(bit_width)), np.zeros(len(masks), dtype=np.int64))
