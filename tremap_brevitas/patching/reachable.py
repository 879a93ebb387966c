"""The codes that a faulty memory can return for some channels, and the nearest of them to a wanted value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.codes import MAX_TABLE_BIT_WIDTH, Encoding, code_range, nearest_formula, nearest_reachable

Array = NDArray[np.float64]
Masks = NDArray[np.int32]


class Reachable:
    """The codes that can be read back at each position of a weight matrix.

    Args:
        sa0: Bits stuck at 0 of every weight, (rows, columns).
        sa1: Bits stuck at 1.
        bit_width: Width of the codes.
        encoding: How they are stored.
        lowest: Lowest code to write, if the stuck bits leave a choice.

    Examples:
        Bit 0 of 3 is stuck at 1, so that only odd codes are read back.

        >>> zeros, ones = np.zeros((1, 4), dtype=np.int32), np.ones((1, 4), dtype=np.int32)
        >>> reachable = Reachable(zeros, ones, bit_width=3, encoding="twos_complement", lowest=-4)
        >>> reachable.nearest(np.array([[-9.0, -0.2, 0.3, 2.4]]), 0).tolist()
        [[-3.0, -1.0, 1.0, 3.0]]
    """

    def __init__(self, sa0: Masks, sa1: Masks, *, bit_width: int, encoding: Encoding, lowest: int) -> None:
        self._bit_width, self._encoding = bit_width, encoding
        first, self._highest = code_range(bit_width=bit_width, encoding=encoding)
        self._lowest = max(lowest, first)
        if bit_width > MAX_TABLE_BIT_WIDTH:
            self._masks = sa0, sa1
            return
        patterns, place = np.unique(sa0.astype(np.int64) << bit_width | sa1, return_inverse=True)
        codes = np.arange(self._lowest, self._highest + 1, dtype=np.int32)
        zeros, ones = (patterns >> bit_width).astype(np.int32), (patterns & ((1 << bit_width) - 1)).astype(np.int32)
        table = nearest_reachable(codes, sa0=zeros[:, None], sa1=ones[:, None], bit_width=bit_width, encoding=encoding)
        # For every pattern and code the largest reachable one not above it, and the smallest not below: where there is none, a
        # number farther away than any code.
        every = np.arange(first, self._highest + 1)
        can = np.zeros((len(patterns), len(every)), dtype=bool)
        can[np.arange(len(patterns))[:, None], table - first] = True
        far = 8 << bit_width
        self._below = np.maximum.accumulate(np.where(can, every, -far), axis=1).reshape(-1)
        self._above = np.minimum.accumulate(np.where(can, every, far)[:, ::-1], axis=1)[:, ::-1].reshape(-1)
        self._start = place.reshape(sa0.shape) * len(every) - first

    def nearest(self, wish: Array, column: int) -> Array:
        """Return the reachable codes nearest to wanted values of some columns; a tie goes to the smaller magnitude.

        Above 8 bits a wish is rounded first.

        Args:
            wish: Real numbers, (rows, some columns).
            column: Number of the first of those columns.
        """
        here = slice(column, column + wish.shape[1])
        inside = np.fmin(np.fmax(wish, self._lowest), self._highest)  # NaN too; it then shows in the error of the descent
        if self._bit_width > MAX_TABLE_BIT_WIDTH:
            sa0, sa1 = (masks[:, here] for masks in self._masks)
            wanted = np.rint(inside).astype(np.int32)
            codes: Masks = nearest_formula(wanted, sa0, sa1, bit_width=self._bit_width, encoding=self._encoding)
            return codes.astype(np.float64)
        start = self._start[:, here]
        lower = self._below[start + np.floor(inside).astype(np.int64)]
        upper = self._above[start + np.ceil(inside).astype(np.int64)]
        down, up = inside - lower, upper - inside
        return np.where((up < down) | ((up == down) & (np.abs(upper) <= np.abs(lower))), upper, lower).astype(np.float64)
