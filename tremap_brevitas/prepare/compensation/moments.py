"""Lay out a layer's weight as matrices, and its inputs as rows that these matrices multiply."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def as_matrices(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return a layer's weight as (groups, output channels of a group, inputs of one output)."""
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, _ConvTransposeNd):  # (in, out / groups, …): an output sees the kernel the other way round
        kernel = tuple(range(2, weight.dim()))
        parts = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        flipped = parts.flip([d + 1 for d in kernel]).transpose(1, 2)
        return flipped.reshape(groups, weight.shape[1], -1)
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def as_weight(layer: nn.Module, matrices: Tensor, shape: torch.Size) -> Tensor:
    """Return matrices in the shape of the weight; the inverse of [as_matrices][]."""
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, _ConvTransposeNd):
        flipped = matrices.reshape(groups, shape[1], shape[0] // groups, *shape[2:])
        return flipped.transpose(1, 2).flip(list(range(3, 3 + len(shape) - 2))).reshape(shape)
    return matrices.reshape(shape)


def has_rows(layer: nn.Module) -> bool:
    """Check whether the inputs of a layer can be laid out as rows."""
    return isinstance(layer, (nn.Linear, _ConvNd))


def rows_of(layer: nn.Module, x: Tensor, *, samples: int | None = None) -> Tensor:
    """Return inputs of a layer as (groups, samples, inputs of one output), float32: a row times a matrix row is one output.

    Args:
        layer: The layer.
        x: Input of the layer.
        samples: Maximum number of rows, evenly spread; None for all.
    """
    if isinstance(layer, nn.Linear):
        rows = x.reshape(1, -1, x.shape[-1])
        at = _spread_evenly(rows.shape[1], samples, x.device)
        return (rows if at is None else rows[:, at]).float()
    if not isinstance(layer, _ConvNd):
        raise TypeError(f"inputs of a {type(layer).__name__} cannot be laid out as rows")
    dims = len(layer.kernel_size)
    x = x.float()
    if x.dim() == dims + 1:
        x = x[None]
    kernel, dilation = layer.kernel_size, layer.dilation
    if isinstance(layer, _ConvTransposeNd):
        x = _spread(x, layer)
        stride: Any = (1,) * dims
    else:
        x = _padded(x, layer)
        stride = layer.stride
    for d in range(dims):
        reach = dilation[d] * (kernel[d] - 1) + 1
        x = x.unfold(2 + d, reach, stride[d])[..., :: dilation[d]]
    # (N, C, positions…, kernel…) -> (groups, N · positions, C / groups · kernel)
    positions, inputs = x.shape[2 : 2 + dims], x.shape[1] // layer.groups * math.prod(kernel)
    x = x.movedim(1, 1 + dims)
    at = _spread_evenly(x.shape[0] * math.prod(positions), samples, x.device)
    if at is not None:  # select first: laying out the rows copies every input once for each position of the kernel
        x = x[torch.unravel_index(at, (x.shape[0], *positions))]
    return x.reshape(-1, layer.groups, inputs).transpose(0, 1)


def _spread_evenly(count: int, samples: int | None, device: torch.device) -> Tensor | None:
    """Select evenly spaced rows up to a maximum; None for all."""
    if samples is None or count <= samples:
        return None
    return torch.linspace(0, count - 1, samples, device=device, dtype=torch.float64).long()


def _padded(x: Tensor, layer: _ConvNd) -> Tensor:
    if layer.padding == "valid":
        return x
    if layer.padding == "same" or layer.padding_mode != "zeros":
        pads = list(layer._reversed_padding_repeated_twice)
    else:
        sizes: Any = layer.padding
        pads = [size for size in reversed(sizes) for _ in range(2)]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return nn.functional.pad(x, pads, mode=mode)


def _spread(x: Tensor, layer: _ConvTransposeNd) -> Tensor:
    """Insert zeros between and around the inputs, which makes a transposed convolution an ordinary one."""
    pads: list[int] = []
    for d, size in enumerate(layer.kernel_size):
        stride = layer.stride[d]
        if stride > 1:
            shape = list(x.shape)
            shape[2 + d] = (shape[2 + d] - 1) * stride + 1
            wide = x.new_zeros(shape)
            wide[(slice(None),) * (2 + d) + (slice(None, None, stride),)] = x
            x = wide
        around = layer.dilation[d] * (size - 1) - int(layer.padding[d])
        pads[:0] = [around, around + layer.output_padding[d]]
    return nn.functional.pad(x, pads)


def _gram(rows: Tensor, block: int = 144) -> Tensor:
    """Compute ``rows' rows``, multiplying only the blocks on and above the diagonal."""
    columns = rows.shape[-1]
    if columns <= block:
        return rows.mT @ rows
    gram = rows.new_empty(rows.shape[0], columns, columns)
    for begin in range(0, columns, block):
        end = begin + block
        gram[:, begin:end, begin:] = rows[..., begin:end].mT @ rows[..., begin:]
        gram[:, end:, begin:end] = gram[:, begin:end, end:].mT
    return gram


class Sums:
    """Running float64 sums over a layer's inputs, and over pairs of inputs and healthy inputs.

    Args:
        samples: Maximum number of rows from one batch, evenly spread; more rows add little.
    """

    def __init__(self, *, samples: int) -> None:
        self.samples = samples
        self.rows = 0
        self.own = self.cross = self.first = self.healthy_first = torch.zeros((), dtype=torch.float64)

    def add(self, layer: nn.Module, x: Tensor, healthy: Tensor | None) -> None:
        """Add a batch of inputs, and the inputs of the same images in the healthy network."""
        rows = rows_of(layer, x, samples=self.samples)
        wanted = rows if healthy is None else rows_of(layer, healthy, samples=self.samples)
        own = _gram(rows)
        cross = own if healthy is None else wanted.mT @ rows
        self.own, self.cross = own.double() + self.own.to(own.device), cross.double() + self.cross.to(cross.device)
        ones = rows.new_ones(1, rows.shape[1])
        self.first = (ones @ rows)[:, 0].double() + self.first.to(rows.device)
        self.healthy_first = (ones @ wanted)[:, 0].double() + self.healthy_first.to(rows.device)
        self.rows += rows.shape[1]
