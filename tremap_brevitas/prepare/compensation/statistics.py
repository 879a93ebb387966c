"""What follows a layer once its codes have changed: BatchNorm statistics, the sign of its channels, biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Statistics = Literal["measured", "matched", "regression"]


def follow_(norm: Any, twin: Any, own: Sequence[Tensor], healthy: Sequence[Tensor], sign: Tensor | None, how: str) -> None:
    """Let a BatchNorm follow what its layer gives now.

    Args:
        norm: The BatchNorm, changed in place.
        twin: The same in the healthy network.
        own: What comes in now, batch by batch.
        healthy: What comes in in the healthy network, for the same images.
        sign: Sign that each channel has got; None for none.
        how: ``"measured"``: the statistics of these batches. ``"matched"``: those that give each channel's output the mean and
            the variance that it has in the healthy network on the same images.
    """
    mean, variance = moments_of(own)
    if how == "measured":
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    else:
        mean_h, variance_h = moments_of(healthy)
        signs = torch.ones_like(mean) if sign is None else sign.to(mean)
        ratio = (variance / variance_h.clamp(min=1e-12)).sqrt()
        if how == "regression":
            slope = _slope(own, healthy, mean, mean_h, variance).abs().clamp(min=0.1)
            ratio = 1 / slope
        live = (variance > 0) & (variance_h > 0)
        ratio = torch.where(live, ratio, torch.ones_like(ratio))
        norm.running_var.copy_((twin.running_var.double() + norm.eps) * ratio.square() - norm.eps)
        norm.running_mean.copy_(mean - (mean_h - twin.running_mean.double()) * ratio * signs)
    if sign is not None:
        norm.weight.mul_(sign.to(norm.weight))


def moments_of(batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel (dimension 1) over all batches, float64."""
    dims = [d for d in range(batches[0].dim()) if d != 1]
    count = sum(x.numel() // x.shape[1] for x in batches)
    mean = sum(x.sum(dims, dtype=torch.float64) for x in batches) / count
    shape = [1, -1] + [1] * (len(dims) - 1)
    variance = sum((x - mean.reshape(shape).to(x)).square().sum(dims, dtype=torch.float64) for x in batches) / count
    return mean, variance  # type: ignore[return-value]


def _slope(own: Any, healthy: Any, mean: Tensor, mean_h: Tensor, variance: Tensor) -> Tensor:
    dims = [d for d in range(own[0].dim()) if d != 1]
    count = sum(x.numel() // x.shape[1] for x in own)
    shape = [1, -1] + [1] * (len(dims) - 1)
    total = sum(
        ((x - mean.reshape(shape).to(x)) * (h - mean_h.reshape(shape).to(h))).sum(dims, dtype=torch.float64)
        for x, h in zip(own, healthy, strict=True)
    )
    return total / count / variance.clamp(min=1e-12)
