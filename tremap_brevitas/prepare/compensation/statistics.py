"""What follows a layer once its codes have changed: BatchNorm statistics, the sign of its channels, biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def follow_(norm: Any, twin: Any, own: Sequence[Tensor], healthy: Sequence[Tensor], sign: Tensor | None) -> None:
    """Let a BatchNorm follow what its layer gives now.

    Its statistics become those that give each channel's output the mean and the variance that it has in the healthy network
    on the same images. A few hundred images say more about the ratio of the two than about either.

    Args:
        norm: The BatchNorm, changed in place.
        twin: The same in the healthy network.
        own: What comes in now, batch by batch.
        healthy: What comes in in the healthy network, for the same images.
        sign: Sign that each channel has got; None for none.
    """
    (mean, variance), (healthy_mean, healthy_variance) = moments_of(own), moments_of(healthy)
    signs = torch.ones_like(mean) if sign is None else sign.to(mean)
    live = (variance > 0) & (healthy_variance > 0)
    ratio = torch.where(live, (variance / healthy_variance.clamp(min=1e-12)).sqrt(), torch.ones_like(mean))
    norm.running_var.copy_(((twin.running_var.double() + norm.eps) * ratio.square() - norm.eps).clamp(min=0))
    norm.running_mean.copy_(mean - (healthy_mean - twin.running_mean.double()) * ratio * signs)
    if sign is not None:
        norm.weight.mul_(sign.to(norm.weight))


def moments_of(batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel (dimension 1) over all batches, float64."""
    dims = [d for d in range(batches[0].dim()) if d != 1]
    count = sum(x.numel() // x.shape[1] for x in batches)
    mean = torch.stack([x.sum(dims, dtype=torch.float64) for x in batches]).sum(0) / count
    shape = [1, -1] + [1] * (len(dims) - 1)
    squares = [(x - mean.reshape(shape).to(x)).square().sum(dims, dtype=torch.float64) for x in batches]
    return mean, torch.stack(squares).sum(0) / count
