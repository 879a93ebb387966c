"""Choose the amount of each row and the flag of each group that cost least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.order.groups import Index
from tremap_brevitas.order.hardware.costs import Costs, Table
from tremap_brevitas.order.hardware.hardware import Hardware


@dataclass(frozen=True, eq=False)
class Units:
    """Rows and groups: the smaller of the two lie within the larger.

    Attributes:
        rotate: Words of a row.
        invert: Words of a group.
    """

    rotate: int
    invert: int

    @classmethod
    def of(cls, hardware: Hardware) -> Units:
        """Return the units of a hardware; a missing one is as large as the other, since there is nothing to choose for it."""
        return cls(hardware.rotate or hardware.invert or 1, hardware.invert or hardware.rotate or 1)

    @property
    def inner(self) -> int:
        """Words of the smaller."""
        return min(self.rotate, self.invert)

    @property
    def outer(self) -> int:
        """Words of the larger."""
        return max(self.rotate, self.invert)


@dataclass(frozen=True, eq=False)
class Choice:
    """The best choice for some words, for each candidate for their content.

    Attributes:
        outer: Numbers of the larger units, ascending, (units,).
        wrong, harm: Wrong codes and harm that remain in each of them, (units, candidates).
        rows, groups: Numbers of rows and groups, ascending.
        amounts: Amount of each row, (rows, candidates).
        flags: Flag of each group, (groups, candidates).
    """

    outer: Index
    wrong: Table
    harm: Table
    rows: Index
    groups: Index
    amounts: Index
    flags: Index


def choose(table: Costs, words: Index, units: Units) -> Choice:
    """Choose amounts and flags.

    Args:
        table: Costs of each word; infinitely many wrong codes if an amount or a flag is impossible.
        words: Numbers of the words where they lie, ascending.
        units: Rows and groups.

    Examples:
        Two words in one row: each alone is best with another amount, both together with amount 1.

        >>> wrong = np.array([[0.0, 1.0, 3.0], [3.0, 1.0, 0.0]]).reshape(2, 1, 3, 1)
        >>> choice = choose(Costs(wrong, np.zeros_like(wrong)), np.array([4, 5]), Units(rotate=2, invert=1))
        >>> choice.rows, choice.amounts.tolist(), choice.wrong.tolist()
        (array([2]), [[1]], [[2.0]])
    """
    inner, outer = words // units.inner, words // units.outer
    axis = 3 if units.rotate >= units.invert else 2  # of what is chosen for each of the smaller units
    wrong, harm = (_summed(values, inner) for values in (table.wrong, table.harm))
    inner = np.unique(inner)
    within = _least(wrong, harm, axis)
    wrong, harm = (np.take_along_axis(values, np.expand_dims(within, axis), axis).squeeze(axis) for values in (wrong, harm))
    of_outer = inner // (units.outer // units.inner)
    wrong, harm = (_summed(values, of_outer) for values in (wrong, harm))
    outer, at = np.unique(of_outer, return_inverse=True)
    whole = _least(wrong, harm, 2)
    wrong, harm = (np.take_along_axis(values, whole[:, :, None], 2)[:, :, 0] for values in (wrong, harm))
    part = np.take_along_axis(within, whole[at][:, :, None], 2)[:, :, 0]
    if axis == 3:
        return Choice(outer, wrong, harm, outer, inner, whole, part)
    return Choice(outer, wrong, harm, inner, outer, part, whole)


def _least(wrong: Table, harm: Table, axis: int) -> Index:
    """Return the index with the fewest wrong codes, and of these with the least harm; the first of several."""
    fewest = wrong == wrong.min(axis=axis, keepdims=True)
    place: Index = np.where(fewest, harm, np.inf).argmin(axis=axis)
    return place


def _summed(values: Table, numbers: Index) -> Table:
    """Return sums over equal neighbours of ``numbers``, along the first axis."""
    starts: NDArray[np.int64] = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
    total: Table = np.add.reduceat(values, starts, axis=0)
    return total
