"""Minimize the error of a layer's output by cyclic coordinate descent over reachable codes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tremap_brevitas.prepare.compensation.conflicts import Conflicts

BLOCK, INNER = 256, 32

Nearest = Callable[[Tensor, int], Tensor]


def target_of(weights: Tensor, moments: Tensor, cross: Tensor, *, damping: float) -> Tensor:
    """Compute the real-valued weights whose output on the faulty network's inputs is closest to the healthy layer's output.

    Args:
        weights: Healthy weights, (groups, rows, columns).
        moments: Second moments of the faulty network's inputs, (groups, columns, columns).
        cross: Moments of the healthy inputs (rows) with the faulty network's (columns), likewise.
        damping: Share of the mean diagonal of ``moments`` added to both, so that weights stay in directions without data.
    """
    ridge = damping * moments.diagonal(dim1=-2, dim2=-1).mean(-1)
    if damping > 0:
        ridge = torch.where(ridge > 0, ridge, torch.ones_like(ridge))  # inputs that never vary: the weights stay
    eye = torch.eye(moments.shape[-1], dtype=moments.dtype, device=moments.device) * ridge[:, None, None]
    # W (C + r I) (H + r I)^-1; H is symmetric, so that the transposed system has the same matrix.
    right = (weights @ (cross + eye)).mT
    factor, info = torch.linalg.cholesky_ex(moments + eye)
    if bool((info != 0).any()):
        return torch.linalg.lstsq(moments + eye, right).solution.mT
    return torch.cholesky_solve(right, factor).mT


def about_the_mean(moments: Tensor, left: Tensor, right: Tensor, *, dead: Tensor | None = None) -> Tensor:
    """Return moments of inputs about their means; a bias or a BatchNorm absorbs what the means contribute.

    The sums are of float32 products, so that the rest of an input that hardly varies is rounding error: it counts as constant.

    Args:
        moments: Second or cross moments, (groups, columns, columns).
        left: Mean of the inputs of the rows of ``moments``, (groups, columns).
        right: Mean of the inputs of its columns.
        dead: Inputs of the columns that count as constant, (groups, columns); None to take those of ``moments`` itself.

    Examples:
        >>> second, mean = torch.tensor([[[5.0, 2.0], [2.0, 1.0]]]), torch.tensor([[1.0, 1.0]])
        >>> about_the_mean(second, mean, mean)
        tensor([[[4., 0.],
                 [0., 0.]]])
    """
    central = moments - left[..., :, None] * right[..., None, :]
    if dead is not None:
        return central.masked_fill(dead[..., None, :], 0)
    dead = constant(moments, left)
    return central.masked_fill(dead[..., None, :] | dead[..., :, None], 0)


def constant(moments: Tensor, mean: Tensor) -> Tensor:
    """Return which inputs never change, up to rounding, as a mask (groups, columns)."""
    squares = moments.diagonal(dim1=-2, dim2=-1)
    return squares - mean.square() <= 1e-5 * squares


def errors_of(weights: Tensor, target: Tensor, moments: Tensor) -> Tensor:
    """Compute the mean squared error of each row's output, (groups, rows): ``(w - t)' H (w - t)``."""
    difference = weights - target
    return ((difference @ moments) * difference).sum(-1)


def descend(
    weights: Tensor,
    target: Tensor,
    moments: Tensor,
    nearest: Nearest,
    *,
    sweeps: int = 1,
    block: int = BLOCK,
    inner: int = INNER,
    conflicts: Conflicts | None = None,
    gradient: Tensor | None = None,
) -> Tensor:
    """Change one column of weights after another to the values that lower the error of the outputs most.

    The rule of QuantEase (arXiv 2309.01885) and COMQ (2403.07134), restricted to the codes that a memory can return. The
    error never rises, since each weight moves to the reachable value nearest to the minimum of a parabola.

    Args:
        weights: Reachable values to begin with, (groups, rows, columns); not changed.
        target: Real-valued weights to approximate, likewise.
        moments: Second moments of the inputs, (groups, columns, columns).
        nearest: Function from wished values (groups, rows) and a column to the nearest reachable values.
        sweeps: Passes over all columns.
        conflicts: Weights that the members of a group read differently; ``weights`` are then the members' mean readings. Only
            for layers of one group of channels.
        gradient: ``(weights - target) @ moments``, if it is known; changed in place to that of the chosen weights.
        block: Number of columns after which the remaining ones are updated, so that most of the work is matrix products.
        inner: Number of columns after which the rest of the block is updated.

    Returns:
        The chosen weights.
    """
    weights = weights.clone()
    gradient = (weights - target) @ moments if gradient is None else gradient
    curvature = moments.diagonal(dim1=-2, dim2=-1)
    divisor = curvature.masked_fill(curvature <= 0, torch.inf)[..., None]  # a dead input's weights stay as they are
    columns = weights.shape[-1]
    for _ in range(sweeps):
        for begin in range(0, columns, block):
            end = min(begin + block, columns)
            inside = moments[:, begin:end, begin:end]
            local = gradient[..., begin:end].mT.contiguous()  # one contiguous row a column
            moved = torch.zeros_like(local)
            for first in range(0, end - begin, inner):
                last = min(first + inner, end - begin)
                for j in range(first, last):
                    column = begin + j
                    old = weights[..., column]
                    new = nearest(torch.addcdiv(old, local[:, j], divisor[:, column], value=-1), column)
                    if conflicts is not None:
                        conflicts.settle_(column, new[0], old[0], local[0, j], curvature[0, column])
                    torch.sub(new, old, out=moved[:, j])
                    weights[..., column] = new
                    if j + 1 < last:
                        local[:, j + 1 : last].addcmul_(inside[:, j, j + 1 : last, None], moved[:, j, None])
                if last < end - begin:
                    local[:, last:].baddbmm_(inside[:, last:, first:last], moved[:, first:last])
            gradient.baddbmm_(moved.mT, moments[:, begin:end])
    return weights
