"""Adapt BatchNorm statistics, channel signs and biases to a layer's changed codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SILENT = 1e-3  # standard deviation that is left of a channel that is constant in the healthy network, in units of its factor


def follow_(norm: Any, twin: Any, own: Sequence[Tensor], healthy: Sequence[Tensor], sign: Tensor | None) -> None:
    """Adapt a BatchNorm to the changed output of its layer, in place.

    Its statistics become those that give each channel's output the mean and the variance that it has in the healthy network
    on the same images. A few hundred images estimate the ratio of the two better than either of them.

    A channel that is constant in the healthy network, as one whose codes are all zero, has a running variance near 0, so that
    its BatchNorm would divide what a stuck weight adds by 0.003, the root of its ``eps``. Its variance becomes so large that it
    is as good as constant again.

    Args:
        norm: The BatchNorm, changed in place.
        twin: The same BatchNorm in the healthy network.
        own: Its inputs now, batch by batch.
        healthy: Its inputs in the healthy network, for the same images.
        sign: Sign applied to each channel; None for no sign.
    """
    before = twin.running_mean.double(), twin.running_var.double()
    follow_moments_(norm, moments_of(own), moments_of(healthy), sign, before=before)


def follow_moments_(
    norm: Any,
    own: tuple[Tensor, Tensor],
    healthy: tuple[Tensor, Tensor],
    sign: Tensor | None,
    *,
    before: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Adapt a BatchNorm to given means and variances of its channels, in place.

    Args:
        norm: The BatchNorm, changed in place.
        own: Mean and variance of its inputs now.
        healthy: Likewise in the healthy network.
        sign: Sign applied to each channel; None for no sign.
        before: Its running mean and variance in the healthy network, float64; None for its present ones.
    """
    (mean, variance), (healthy_mean, healthy_variance) = own, healthy
    running_mean, running_var = (norm.running_mean.double(), norm.running_var.double()) if before is None else before
    signs = torch.ones_like(mean) if sign is None else sign.to(mean)
    live = (variance > 0) & (healthy_variance > 0)
    ratio = torch.where(live, (variance / healthy_variance.clamp(min=1e-12)).sqrt(), torch.ones_like(mean))
    loud = (variance / (running_var + norm.eps)).sqrt() / SILENT
    ratio = torch.where((variance > 0) & ~(healthy_variance > 0), loud.clamp(min=1), ratio)
    norm.running_var.copy_(((running_var + norm.eps) * ratio.square() - norm.eps).clamp(min=0))
    norm.running_mean.copy_(mean - (healthy_mean - running_mean) * ratio * signs)
    if sign is not None:
        norm.weight.mul_(sign.to(norm.weight))


def moments_of(batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Compute mean and variance of each channel (dimension 1) over all batches, float64.

    Sums are of float32 products of matrices; what they lack of the mean is added once it is subtracted.
    """
    counts, means, variances = [], [], []
    for x in batches:
        rows = x.movedim(1, -1).reshape(-1, x.shape[1]).float()
        ones = rows.new_ones(1, len(rows))
        rough = (ones @ rows) / len(rows)
        centred = rows - rough
        rest = ((ones @ centred) / len(rows)).double()
        counts.append(len(rows))
        means.append(rough.double() + rest)
        variances.append((ones @ centred.square_()).double() / len(rows) - rest.square())
    weights = torch.tensor(counts, dtype=torch.float64, device=batches[0].device)[:, None] / sum(counts)
    each = torch.cat(means)
    mean = (weights * each).sum(0)
    variance = (weights * (torch.cat(variances) + (each - mean).square())).sum(0)
    # A channel that float32 cannot tell from a constant one counts as constant.
    return mean, torch.where(variance <= 1e-12 * mean.square(), 0.0, variance)
