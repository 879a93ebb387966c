"""The codes that a faulty memory can return for each weight, and the nearest of them to a wanted value."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tremap_brevitas.codes import MAX_TABLE_BIT_WIDTH, Encoding, code_range, code_table, nearest_formula
from tremap_brevitas.proxy.weight_faults import Store


@dataclass(frozen=True)
class CodeRule:
    """Range and encoding of a layer's codes, and the rule by which they are stored.

    Args:
        bit_width: Width of the codes, 1 to 16.
        encoding: How they are stored.
        store: Rule by which they are stored. Above 8 bits ``"plain"`` is treated as ``"nearest"``: the same codes can be read
            back.
        lowest: Lowest code that the quantizer makes; a narrow range begins one above the lowest of the memory.
    """

    bit_width: int
    encoding: Encoding
    store: Store
    lowest: int

    @property
    def start(self) -> int:
        """Lowest number that this many bits can hold."""
        return 0 if self.encoding == "binary" else -(1 << (self.bit_width - 1))

    @property
    def columns(self) -> int:
        """Count of numbers that this many bits can hold."""
        return 1 << self.bit_width


class Reachable:
    """The codes that can be read back at each position of a weight matrix.

    Args:
        sa0: Bits stuck at 0 of every weight, int64, (groups, rows, columns).
        sa1: Bits stuck at 1, likewise.
        rule: Range and encoding of the codes, and how they are stored.

    Examples:
        Bit 0 of 3 is stuck at 1, so that only odd codes are read back.

        >>> zeros, ones = torch.tensor([[[0]]]), torch.tensor([[[1]]])
        >>> reachable = Reachable(zeros, ones, CodeRule(3, "twos_complement", "nearest", -4))
        >>> [reachable.nearest(torch.tensor([[wish]]), 0).item() for wish in (-9.0, -0.2, 0.3, 2.4)]
        [-3.0, -1.0, 1.0, 3.0]
    """

    def __init__(self, sa0: Tensor, sa1: Tensor, rule: CodeRule) -> None:
        self._rule = rule
        # One contiguous matrix a column: the descent asks for one column at a time.
        zeros, ones = (masks.movedim(-1, 0).contiguous() for masks in (sa0, sa1))
        self._at: tuple[Tensor, ...]  # masks, or where in the table the answers for a weight begin
        if rule.bit_width > MAX_TABLE_BIT_WIDTH:
            self._at = zeros.to(torch.int32), ones.to(torch.int32)
            return
        patterns = _patterns(zeros, ones, rule.bit_width)
        there = torch.zeros(3**rule.bit_width, dtype=torch.bool, device=patterns.device)
        there[patterns.reshape(-1)] = True
        self._table = _answers(there.nonzero()[:, 0], rule).reshape(-1)
        self._at = (((there.cumsum(0) - 1) * (4 * rule.columns - 3) - 4 * rule.start)[patterns],)

    def repeated(self, groups: slice, rows: slice, copies: int) -> Reachable:
        """Return some of the rows, stacked several times.

        Args:
            groups: Which groups of channels.
            rows: Which rows.
            copies: Number of copies.
        """
        result = copy.copy(self)
        result._at = tuple(x[:, groups, rows].repeat(1, 1, copies) for x in self._at)
        return result

    def nearest(self, wish: Tensor, column: int | slice) -> Tensor:
        """Return the reachable codes nearest to wanted values of one column; a tie goes to the smaller magnitude.

        Above 8 bits a wish is rounded first.

        Args:
            wish: Real numbers, (groups, rows); of several columns, (columns, groups, rows).
            column: Index of the column, or which columns.
        """
        rule = self._rule
        inside = wish.clamp(rule.lowest, rule.start + rule.columns - 1)
        if rule.bit_width > MAX_TABLE_BIT_WIDTH:
            sa0, sa1 = (masks[column] for masks in self._at)
            options: Any = {"bit_width": rule.bit_width, "encoding": rule.encoding}
            codes: Tensor = nearest_formula(inside.round().to(torch.int32), sa0, sa1, **options)
            return codes.to(wish.dtype)
        doubled = inside.mul_(2)
        place = doubled.floor().add_(doubled.ceil_()).to(torch.int64)
        return self._table.take(place.add_(self._at[0][column])).to(wish.dtype)


def _answers(patterns: Tensor, rule: CodeRule) -> Tensor:
    """Tabulate the nearest reachable code for every kind of wanted value: float64, (patterns, 4 columns - 3).

    Codes are whole numbers, so that the answer changes at whole and half numbers alone. Wishes ``start + k / 4`` stand for all:
    even ``k`` for a whole or half number, odd ``k`` for all wishes between two of those.
    """
    below, above = (
        torch.from_numpy(t).to(patterns.device).reshape(-1, rule.columns)[patterns].double() for t in _neighbours(rule)
    )
    wish = torch.arange(4 * rule.columns - 3, device=patterns.device) / 4.0
    lower, upper = below[:, wish.floor().long()], above[:, wish.ceil().long()]
    wish = wish + rule.start
    down, up = wish - lower, upper - wish  # otherwise, far outside the range, a missing code could look nearest
    return torch.where((up < down) | ((up == down) & (upper.abs() <= lower.abs())), upper, lower)


def writable(sa0: Tensor, sa1: Tensor, codes: Iterable[int], rule: CodeRule) -> Tensor:
    """Return which codes can be read back under each pair of masks, as a mask (len(sa0), codes). For widths up to 8."""
    below, _ = _neighbours(rule)
    asked = torch.tensor(list(codes), device=sa0.device)
    index = _patterns(sa0, sa1, rule.bit_width)[:, None] * rule.columns + asked - rule.start
    return torch.from_numpy(below).to(sa0.device)[index] == asked


def _patterns(sa0: Tensor, sa1: Tensor, bit_width: int) -> Tensor:
    """Return the numbers of stuck patterns, as in [pattern_masks][tremap_brevitas.codes.pattern_masks]."""
    digits = torch.tensor(
        [sum(3**bit for bit in range(bit_width) if mask >> bit & 1) for mask in range(1 << bit_width)], device=sa0.device
    )
    return digits[sa0] + 2 * digits[sa1]


@lru_cache(maxsize=16)
def _neighbours(rule: CodeRule) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Tabulate, for every pattern and code, the largest reachable code not above it and the smallest not below it, flat.

    Where there is none, the entry is a number that is farther away than any code.
    """
    options: Any = {"bit_width": rule.bit_width, "encoding": rule.encoding}
    table = code_table(**options, nearest=rule.store == "nearest").astype(np.int64)
    first = max(rule.lowest, code_range(**options)[0]) - rule.start
    patterns, columns = table.shape
    can = np.zeros((patterns, columns), dtype=bool)
    can[np.arange(patterns)[:, None], table[:, first:] - rule.start] = True
    codes = np.arange(rule.start, rule.start + columns, dtype=np.int16)
    far = np.int16(8 * columns)
    below = np.maximum.accumulate(np.where(can, codes, -far), axis=1)
    above = np.minimum.accumulate(np.where(can, codes, far)[:, ::-1], axis=1)[:, ::-1]
    return np.ascontiguousarray(below).reshape(-1), np.ascontiguousarray(above).reshape(-1)
