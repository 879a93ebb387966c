"""Weights that the members of a group read differently: minimize the exact mean of the members' errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Clashes:
    """The conflicting weights of one layer, before their codes are chosen.

    Attributes:
        group: Group of channels of each of them; (count,).
        row: Row in the matrix of the group, likewise.
        column: Column, likewise.
        sa0: Bits that each member has stuck at 0, (count, members), integers.
        sa1: Bits that each member has stuck at 1.
        stored: Stored bits of every code that can be written, (codes,); their order is that of the codes.
        decoded: Code of every pattern of stored bits, (patterns,).
        allowed: Which codes may be written, (count, codes): those that the group's map lets through.
        scale: Scale of each weight's code, (count,).
        zero_point: Zero point, likewise.
    """

    group: Tensor
    row: Tensor
    column: Tensor
    sa0: Tensor
    sa1: Tensor
    stored: Tensor
    decoded: Tensor
    allowed: Tensor
    scale: Tensor
    zero_point: Tensor

    def within(self, group: int, rows: slice) -> Clashes | None:
        """Return the weights of some rows of a group, counted from the first of these rows; None if there are none."""
        inside = (self.group == group) & (self.row >= rows.start) & (self.row < rows.stop)
        if not bool(inside.any()):
            return None
        weights: dict[str, Any] = {
            name: getattr(self, name)[inside] for name in ("group", "column", "sa0", "sa1", "allowed", "scale", "zero_point")
        }
        return replace(self, row=self.row[inside] - rows.start, **weights)

    def readings(self, at: Tensor) -> Tensor:
        """Return the real value that each member reads for each code, (len(at), codes, members)."""
        read = self.decoded[(self.stored[None, :, None] | self.sa1[at][:, None, :]) & ~self.sa0[at][:, None, :]]
        return (read - self.zero_point[at][:, None, None]) * self.scale[at][:, None, None]

    def written(self, at: Tensor, code: Tensor) -> Tensor:
        """Return the real values of the codes with these indices, as a healthy memory returns them."""
        return (self.decoded[self.stored[code]] - self.zero_point[at]) * self.scale[at]


class Conflicts:
    """Chooses the code of every conflicting weight of a layer.

    A member ``m`` computes with ``w + d_m``: the mean reading ``w``, and its own deviation from it at conflicting weights.
    The mean of the members' errors is the error of ``w`` plus the mean of ``d_m' H d_m``; both change in closed form with
    one weight's code.

    Args:
        clashes: The weights.
        moments: Second moments of the inputs, (columns, columns). The BatchNorm or bias behind the layer is the same on all
            members: it absorbs the mean of their mean outputs but no member's deviation, so these are never about the mean.
        rows: Rows of the layer's matrix.
        copies: Number of copies of the matrix, stacked by rows, each with its own target.
    """

    def __init__(self, clashes: Clashes, moments: Tensor, *, rows: int, copies: int) -> None:
        self._clashes, self._moments, self._rows = clashes, moments, rows
        count, columns, device = len(clashes.row), moments.shape[-1], moments.device
        self._base = torch.arange(count, device=device).repeat(copies)
        self._row = torch.cat([clashes.row + copy * rows for copy in range(copies)])
        self._column = clashes.column.repeat(copies)
        self._code = torch.zeros_like(self._row)
        # The conflicting weights of each row; rows with fewer than others are filled up with one that never deviates.
        by_row = torch.argsort(self._row, stable=True)
        in_row = torch.bincount(self._row, minlength=rows * copies)
        first = torch.cumsum(in_row, 0) - in_row
        place = torch.empty_like(by_row)
        place[by_row] = torch.arange(len(by_row), device=device) - first[self._row[by_row]]
        self._of_row = torch.full((rows * copies, int(in_row.max())), len(self._row), device=device)
        self._of_row[self._row, place] = torch.arange(len(self._row), device=device)
        self._column_of = torch.cat([self._column, self._column.new_zeros(1)])
        self._now = torch.zeros(len(self._row) + 1, clashes.sa0.shape[1], dtype=moments.dtype, device=device)
        by_column = torch.argsort(self._column, stable=True)
        bounds = torch.searchsorted(self._column[by_column], torch.arange(columns + 1, device=device)).tolist()
        self._at = [by_column[bounds[j] : bounds[j + 1]] for j in range(columns)]

    def of_copies(self, order: Tensor) -> Conflicts:
        """Return the same weights, with the same codes, for other copies of each row.

        Args:
            order: Which copy of each row comes first, second, …: (new copies, rows).
        """
        kept = Conflicts(self._clashes, self._moments, rows=self._rows, copies=len(order))
        source = order[kept._row // self._rows, kept._row % self._rows] * len(self._clashes.row) + kept._base
        kept._code, kept._now[:-1] = self._code[source], self._now[source]
        return kept

    def start_(self, weights: Tensor, target: Tensor) -> None:
        """Choose for each weight alone the code whose readings are closest to the target; store the mean readings in place."""
        for column, at in enumerate(self._at):
            if len(at):
                one = torch.ones((), device=weights.device)
                self._choose(at, weights[:, column], target[self._row[at], column], None, one, one)

    def settle_(self, column: int, new: Tensor, old: Tensor, gradient: Tensor, bend: Tensor) -> None:
        """Choose the codes of one column's conflicting weights that minimize the error of the output.

        Args:
            column: The column.
            new: Mean readings of the column's weights, (rows,); changed in place.
            old: Mean readings before.
            gradient: ``(w - t)' H`` of that column, (rows,).
            bend: The diagonal element of ``H`` for the column.
        """
        at = self._at[column]
        if not len(at) or bend <= 0:
            new[self._row[at]] = old[self._row[at]]
            return
        row = self._row[at]
        others = self._of_row[row]
        coupling = self._moments[self._column_of[others], column]
        coupling = torch.where(others == at[:, None], torch.zeros_like(coupling), coupling)
        pull = torch.einsum("cq,cqm->cm", coupling, self._now[others])
        self._choose(at, new, old[row] - gradient[row] / bend, pull, bend, self._moments[column, column])

    def spread_errors(self) -> Tensor:
        """Return the mean over the members of ``d_m' H d_m``, for each row."""
        columns = self._column_of[self._of_row]
        inner = self._moments[columns[:, :, None], columns[:, None, :]]
        deviation = self._now[self._of_row]
        return torch.einsum("rqm,rqp,rpm->r", deviation, inner, deviation) / deviation.shape[-1]

    def written_(self, weights: Tensor) -> None:
        """Replace the mean readings by the values of the written codes, in place."""
        weights[self._row, self._column] = self._clashes.written(self._base, self._code).to(weights.dtype)

    def _choose(self, at: Tensor, means: Tensor, wish: Tensor, pull: Tensor | None, bend: Tensor, spread_bend: Tensor) -> None:
        base = self._base[at]
        readings = self._clashes.readings(base)
        mean = readings.mean(-1)
        deviation = readings - mean[..., None]
        # Up to a constant: bend (mean - wish)^2, and the mean of spread_bend d^2 + 2 d pull.
        cost = bend * (mean - wish[:, None]).square() + spread_bend * deviation.square().mean(-1)
        if pull is not None:
            cost = cost + 2 * (deviation * pull[:, None, :]).mean(-1)
        cost = cost.masked_fill(~self._clashes.allowed[base], torch.inf)
        best = cost.argmin(1)
        self._code[at] = best
        rows = torch.arange(len(at), device=at.device)
        self._now[at] = deviation[rows, best]
        means[self._row[at]] = mean[rows, best]
