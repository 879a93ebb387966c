"""Compensation of one layer: its healthy weights, the codes that its memory can return, and the best choice of codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tremap_brevitas.prepare.compensation.conflicts import Clashes, Conflicts
from tremap_brevitas.prepare.compensation.descent import descend, errors_of
from tremap_brevitas.prepare.compensation.moments import as_matrices, as_weight
from tremap_brevitas.prepare.compensation.reachable import CodeRule, Reachable


@dataclass(frozen=True, eq=False)
class Solution:
    """The weights, codes and factors that were chosen for a layer.

    Attributes:
        weight: Float master weights that quantize to the codes chosen, in the shape of the weight.
        values: What the layer reads back, scale applied, as matrices; with conflicts the mean over the members.
        codes: The codes that are stored, in the shape of the weight.
        factor: Factor of each output channel, sign included.
        before: Error of the outputs with the codes that were read before: root mean square over that of the outputs.
        after: The same with the codes chosen, once the factors are taken out.
    """

    weight: Tensor
    values: Tensor
    codes: Tensor
    factor: Tensor
    before: float
    after: float


class LayerProblem:
    """A layer's healthy weights and reachable codes, as float64 matrices (groups, rows, columns).

    Args:
        layer: The module.
        codes: Its healthy codes, in the shape of the weight.
        read: The codes that it reads under the faults that are set.
        scale: Scale of every code, in the shape of the weight or one that broadcasts to it.
        zero_point: Likewise.
        sa0: Bits stuck at 0 of every weight, int64, in the shape of the weight.
        sa1: Bits stuck at 1, likewise.
        held: Weights whose floats must stay as they are, since the scale is made from them; mask in the shape of the weight.
        least: Smallest float that may stand beside them, in the shape of the weight.
        most: Largest.
        rule: Which codes there are.
    """

    def __init__(
        self,
        layer: Any,
        *,
        codes: Tensor,
        read: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        sa0: Tensor,
        sa1: Tensor,
        held: Tensor,
        least: Tensor,
        most: Tensor,
        rule: CodeRule,
    ) -> None:
        self.layer, self.rule = layer, rule
        self._shape = codes.shape
        self.scale, self.zero_point = (as_matrices(layer, v.double().expand(self._shape)) for v in (scale, zero_point))
        self.healthy, self.read = ((as_matrices(layer, c.double()) - self.zero_point) * self.scale for c in (codes, read))
        self.sa0, self.sa1 = as_matrices(layer, sa0), as_matrices(layer, sa1)
        self.held, self._least, self._most = (as_matrices(layer, x) for x in (held, least, most))
        self._floats = as_matrices(layer, layer.weight.detach().double())

    def solve(
        self,
        target: Tensor,
        moments: Tensor,
        *,
        factors: Sequence[float] = (1.0,),
        sweeps: int = 1,
        clashes: Clashes | None = None,
    ) -> Solution:
        """Choose the codes of a layer, and a factor for each channel.

        Args:
            target: Real weights to come close to, as matrices.
            moments: Second moments of the inputs, (groups, columns, columns).
            factors: Factors, with their signs, that what follows can take up; the first is 1.
            sweeps: Passes over all columns.
            clashes: Weights that the members of a group read differently; for layers of one group of channels.
        """
        tries = torch.tensor(list(factors), dtype=torch.float64, device=target.device)
        groups, rows, columns = target.shape
        count = len(tries)

        def repeated(x: Tensor) -> Tensor:
            return x.repeat(1, count, 1)

        by_row = tries.repeat_interleave(rows)[None, :, None]
        aims = repeated(target) * by_row
        scale, zero, held = (repeated(x).movedim(-1, 0).contiguous() for x in (self.scale, self.zero_point, self.held))
        turned = self._turned(by_row.sign())
        floats, read = ((repeated(x) * turned).movedim(-1, 0).contiguous() for x in (self._floats, self.read))
        as_they_are = held & (turned[..., 0] > 0)
        reachable = Reachable(repeated(self.sa0), repeated(self.sa1), self.rule)

        holds, shifted = held.flatten(1).any(1).tolist(), bool(zero.any())

        def nearest(wish: Tensor, column: int | slice) -> Tensor:
            wish = wish / scale[column]
            if shifted:
                wish += zero[column]
            holding = isinstance(column, slice) or holds[column]
            if holding:  # a float that is held is rounded by the quantizer before its nearest code is looked up
                wish = torch.where(held[column], (floats[column] / scale[column] + zero[column]).round(), wish)
            values = reachable.nearest(wish, column)
            if shifted:
                values -= zero[column]
            values *= scale[column]
            return torch.where(as_they_are[column], read[column], values) if holding else values

        start = nearest(aims.movedim(-1, 0), slice(None)).movedim(0, -1)
        clash = None if clashes is None else Conflicts(clashes, moments[0], rows=rows, copies=count)
        if clash is not None:
            clash.start_(start[0], aims[0])
        chosen = descend(start, aims, moments, nearest, sweeps=sweeps, conflicts=clash)
        after = errors_of(chosen, aims, moments)
        if clash is not None:
            after = after + clash.spread_errors()
        relative = (after / by_row[..., 0].square()).reshape(groups, count, rows)
        best = relative.argmin(1, keepdim=True)
        place = best[..., None].expand(groups, 1, rows, columns)
        values = chosen.reshape(groups, count, rows, columns).gather(1, place)[:, 0]
        factor = tries[best[:, 0]]
        written = values
        if clash is not None:
            clash.written_(chosen[0])
            written = chosen.reshape(groups, count, rows, columns).gather(1, place)[:, 0]
        sign = self._turned(factor.sign()[..., None])
        # A code below the quantizer's lowest is read where that is wanted. Half a code on either side is the same code, and
        # beyond the largest float it would move the scale.
        codes = written / self.scale + self.zero_point
        floats = (codes.clamp(min=self.rule.lowest) - self.zero_point) * self.scale
        inside = floats.minimum(self._most).maximum(self._least)
        floats = torch.where((inside - floats).abs() < 0.499 * self.scale, inside, floats)
        # Floats that give the code already stay: training goes on from them.
        floats = torch.where(self.held, self._floats * sign, torch.where(written == self.read, self._floats, floats))
        power = float(errors_of(self.healthy, torch.zeros_like(self.healthy), moments).sum()) or 1.0
        return Solution(
            weight=as_weight(self.layer, floats, self._shape),
            values=values,
            codes=as_weight(self.layer, codes, self._shape).round().to(torch.int32),
            factor=factor.reshape(-1),
            before=_relative(errors_of(self.read, target, moments), power),
            after=_relative(relative.gather(1, best), power),
        )

    def _turned(self, sign: Tensor) -> Tensor:
        """Sign of the floats that are held.

        With a zero point, the smallest and the largest must not change places; plain codes of the other sign would be read
        back as whatever the stuck bits make of them.
        """
        keep = self.rule.encoding == "binary" or self.rule.store == "plain"
        return torch.ones_like(sign) if keep else sign


def _relative(errors: Tensor, power: float) -> float:
    # Rounding can leave a little less than nothing.
    return float(np.sqrt(max(float(errors.sum()), 0.0) / power))
