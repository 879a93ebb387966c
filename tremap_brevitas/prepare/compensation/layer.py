"""Compensation of one layer: its healthy weights, the codes that its memory can return, and the best choice of codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tremap_brevitas.prepare.compensation.conflicts import Clashes, Conflicts
from tremap_brevitas.prepare.compensation.descent import descend, errors_of
from tremap_brevitas.prepare.compensation.moments import as_matrices, as_weight
from tremap_brevitas.prepare.compensation.reachable import CodeRule, Reachable

MAX_FACTOR = 4.0  # the smallest factor is its inverse
MAX_NUMBERS = 1 << 23  # numbers in one array, for all factors together; there are a dozen such arrays, of 8 bytes a number
KEPT = 4  # factors of a channel that are kept after the first sweep


@dataclass(frozen=True, eq=False)
class Solution:
    """The weights, codes and factors that were chosen for a layer.

    Attributes:
        weight: Float master weights that quantize to the codes chosen, in the shape of the weight.
        values: Read-back values of the layer, scale applied, as matrices; with conflicts the mean over the members.
        codes: The codes that are stored, in the shape of the weight.
        factor: Factor of each output channel, sign included.
        before: Error of the outputs with the codes read before: root mean square, relative to that of the outputs.
        after: The same with the chosen codes, once the factors are divided out.
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
        held: Weights whose floats must stay as they are, since they determine the scale; mask in the shape of the weight.
        least: Smallest float that every weight may have without changing the scale, in the shape of the weight.
        most: Largest, likewise.
        rule: Range and encoding of the codes, and how they are stored.
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
        self._reachable = Reachable(self.sa0, self.sa1, rule)
        self.held, self._least, self._most = (as_matrices(layer, x) for x in (held, least, most))
        self._floats = as_matrices(layer, layer.weight.detach().double())

    def solve(
        self,
        target: Tensor,
        moments: Tensor,
        *,
        mean: Tensor | None = None,
        factors: Sequence[float] = (1.0,),
        sweeps: int = 1,
        clashes: Clashes | None = None,
    ) -> Solution:
        """Choose the codes of a layer, and a factor for each channel.

        Args:
            target: Real-valued weights to approximate, as matrices.
            moments: Second moments of the inputs, (groups, columns, columns); about the mean, if ``mean`` is given.
            mean: Mean of the inputs, (groups, columns), where a bias or a BatchNorm absorbs the mean of the output; else None.
            factors: Factors, with their signs, that the BatchNorm behind the layer can absorb; the first is 1. Each channel is
                tried with every one of them. If there are several, any factor of the same sign up to ``MAX_FACTOR`` is
                possible.
            sweeps: Passes over all columns. After each, where factors are free, the factor is replaced by the one that fits the
                codes best; after the first, only the best ``KEPT`` factors of each channel are continued.
            clashes: Weights that the members of a group read differently.
        """
        tries = torch.tensor(list(factors), dtype=torch.float64, device=target.device)
        rows, columns = target.shape[1:]
        raw = moments if mean is None or clashes is None else moments + mean[..., :, None] * mean[..., None, :]
        # Rows do not depend on each other: a wide layer is solved part by part, which bounds the memory. Where members read
        # weights differently, each group of channels is solved by itself.
        groups = [slice(0, len(target))] if clashes is None else [slice(g, g + 1) for g in range(len(target))]
        size = max(1, MAX_NUMBERS // (len(tries) * columns * groups[0].stop))
        parts = [slice(b, min(b + size, rows)) for b in range(0, rows, size)]
        solved = []
        for group in groups:
            found = [self._solve_rows(group, part, target, moments, raw, tries, sweeps, clashes) for part in parts]
            solved.append([torch.cat(pieces, 1) for pieces in zip(*found, strict=True)])
        values, written, factor, errors = (torch.cat(pieces) for pieces in zip(*solved, strict=True))
        sign = self._held_sign(factor.sign()[..., None])
        # Where a code below the quantizer's lowest is read, the float is that of the lowest code. A float up to half a code
        # away gives the same code, so that it is moved towards the bounds within which the scale does not change: a small
        # step of training then does not change the scale either.
        codes = written / self.scale + self.zero_point
        floats = (codes.clamp(min=self.rule.lowest) - self.zero_point) * self.scale
        outside = floats.minimum(self._most).maximum(self._least) - floats
        floats = floats + outside.minimum(0.499 * self.scale).maximum(-0.499 * self.scale)
        # Floats that quantize to the code already are kept, so that training continues from them.
        floats = torch.where(self.held, self._floats * sign, torch.where(written == self.read, self._floats, floats))
        power = float(errors_of(self.healthy, torch.zeros_like(self.healthy), moments).sum()) or 1.0
        return Solution(
            weight=as_weight(self.layer, floats, self._shape),
            values=values,
            codes=as_weight(self.layer, codes, self._shape).round().to(torch.int32),
            factor=factor.reshape(-1),
            before=_relative(errors_of(self.read, target, moments), power),
            after=_relative(errors, power),
        )

    def _solve_rows(
        self,
        group: slice,
        part: slice,
        target: Tensor,
        moments: Tensor,
        raw: Tensor,
        tries: Tensor,
        sweeps: int,
        clashes: Clashes | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the read-back values, the written values, the factor and the error of some rows of some groups."""
        target, moments, raw = target[group, part], moments[group], raw[group]
        groups, rows, columns = target.shape
        count = len(tries)
        # The rows are stacked copy by copy, each copy with another factor.
        factor = tries.repeat_interleave(rows).expand(groups, -1)
        wanted = target.repeat(1, count, 1)
        goals = wanted * factor[..., None]
        nearest = self._nearest(group, part, factor.sign(), count)
        chosen = nearest(goals.movedim(-1, 0), slice(None)).movedim(0, -1)
        clashes = None if clashes is None else clashes.within(group.start, part)
        clash = None if clashes is None else Conflicts(clashes, raw[0], rows=rows, copies=count)
        if clash is not None:
            clash.start_(chosen[0], goals[0])
        # The products with the moments are most of the work: that of the target is the same for every copy, and that of the
        # chosen weights is kept as the descent goes.
        aim = target @ moments
        own = chosen @ moments
        if count == 1:
            own -= aim * factor[..., None]
            chosen = descend(chosen, goals, moments, nearest, sweeps=sweeps, conflicts=clash, gradient=own)
            errors = ((chosen - goals) * own).sum(-1)
            errors = errors if clash is None else errors + clash.spread_errors()
        else:
            for sweep in range(sweeps):
                if sweep == 1 and count > KEPT:  # continue with the best factors only
                    order = errors.reshape(groups, count, rows).argsort(dim=1, stable=True)[:, :KEPT]
                    at = (order * rows + torch.arange(rows, device=order.device)).reshape(groups, -1)
                    clash = None if clash is None else clash.of_copies(order[0])
                    # By column, as the descent goes.
                    chosen = chosen.movedim(-1, 0).gather(2, at.expand(columns, -1, -1)).movedim(0, -1)
                    own = own.gather(1, at[..., None].expand(-1, -1, columns))
                    factor, count = factor.gather(1, at), KEPT
                    wanted = wanted[:, : count * rows]
                    nearest = self._nearest(group, part, factor.sign(), count)
                shift = aim.repeat(1, count, 1) * factor[..., None]
                own -= shift
                chosen = descend(chosen, wanted * factor[..., None], moments, nearest, conflicts=clash, gradient=own)
                own += shift
                spread = None if clash is None else clash.spread_errors()
                factor, errors = fitted_factors(chosen, own, wanted, aim.repeat(1, count, 1), factor.sign(), spread=spread)
        errors = errors.reshape(groups, count, rows)
        best = errors.argmin(1, keepdim=True)
        place = best[..., None].expand(groups, 1, rows, columns)
        values = chosen.reshape(groups, count, rows, columns).gather(1, place)[:, 0]
        factor = factor.reshape(groups, count, rows).gather(1, best)[:, 0]
        written = values
        if clash is not None:
            clash.written_(chosen[0])
            written = chosen.reshape(groups, count, rows, columns).gather(1, place)[:, 0]
        return values, written, factor, errors.gather(1, best)[:, 0]

    def _nearest(self, group: slice, part: slice, sign: Tensor, copies: int) -> Callable[[Tensor, int | slice], Tensor]:
        """Return a function from wanted values to the nearest reachable ones, for several stacked copies of some rows.

        Args:
            group: The groups of channels.
            part: The rows.
            sign: Sign of each row of them, (groups, copies * rows).
            copies: Number of copies.
        """
        turned = self._held_sign(sign[..., None])[..., 0]
        reachable = self._reachable.repeated(group, part, copies)
        scale, zero = (self._of_column(x)[:, group, part] for x in (self.scale, self.zero_point))
        one_scale, shifted = bool((scale == scale[0, 0, 0]).all()), bool(zero.any())
        holds = self.held[group, part].flatten(0, 1).any(0).tolist()
        if not one_scale:
            scale = scale.repeat(1, 1, copies)
        if shifted:
            zero = zero.repeat(1, 1, copies)

        def at(x: Tensor, column: int | slice) -> Tensor:
            values = self._of_column(x)[column][..., group, part]
            return values.repeat(*[1] * (values.dim() - 1), copies)

        def nearest(wish: Tensor, column: int | slice) -> Tensor:
            step = scale[0, 0, 0] if one_scale else scale[column]
            wish = wish / step
            if shifted:
                wish += zero[column]
            holding = isinstance(column, slice) or holds[column]
            if holding:  # a float that is held is rounded by the quantizer before its nearest code is looked up
                held, codes = at(self.held, column), at(self._floats, column) * turned / step
                wish = torch.where(held, (codes + zero[column] if shifted else codes).round(), wish)
            values = reachable.nearest(wish, column)
            if shifted:
                values -= zero[column]
            values *= step
            return torch.where(held & (turned > 0), at(self.read, column), values) if holding else values

        return nearest

    @staticmethod
    def _of_column(x: Tensor) -> Tensor:
        """Return the matrices of a layer by column: (columns, groups, rows)."""
        return x.movedim(-1, 0)

    def _held_sign(self, sign: Tensor) -> Tensor:
        """Return the sign of the floats that are held.

        With a zero point, the smallest and the largest must not change places; and a plain code of the other sign could be
        read back as any value.
        """
        keep = self.rule.encoding == "binary" or self.rule.store == "plain"
        return torch.ones_like(sign) if keep else sign


def fitted_factors(
    weights: Tensor, own: Tensor, target: Tensor, aim: Tensor, sign: Tensor, *, spread: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the factor of each row that brings it closest to the target, and the remaining error.

    ``(w - f t)' H (w - f t) / f²`` is a parabola in ``1 / f``.

    Args:
        weights: Rows of weights, (groups, rows, columns).
        own: ``weights @ H``, where ``H`` are the second moments of the inputs.
        target: Rows of the target, without a factor.
        aim: ``target @ H``.
        sign: Sign of each row's factor, (groups, rows), or what broadcasts to it.
        spread: Error that conflicts add to each row, (rows,).

    Examples:
        >>> one = torch.ones(1, 1, 1)
        >>> fitted_factors(0.5 * one, 0.5 * one, one, one, torch.ones(1, 1))
        (tensor([[0.5000]]), tensor([[0.]]))
    """
    power, along, wanted = ((a * b).sum(-1) for a, b in ((own, weights), (aim, weights), (aim, target)))
    if spread is not None:
        power = power + spread
    inverse = torch.where(power > 0, along * sign / power, 1.0).clamp(1 / MAX_FACTOR, MAX_FACTOR) * sign
    return 1 / inverse, wanted - 2 * along * inverse + power * inverse.square()


def _relative(errors: Tensor, power: float) -> float:
    # Rounding can make the sum slightly negative.
    return float(np.sqrt(max(float(errors.sum()), 0.0) / power))
