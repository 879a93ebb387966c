"""Lay out a layer's weight as matrices, and its inputs as rows that these matrices multiply."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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
    rows, places = _by_place(layer, x, samples)
    return rows.unflatten(-1, (places, -1)).mT.flatten(-2)  # type: ignore[no-untyped-call]


def _by_place(layer: nn.Module, x: Tensor, samples: int | None) -> tuple[Tensor, int]:
    """Return the rows in another order of columns, and the number of places of the kernel.

    All channels of the first place come first. Channels that lie side by side in memory are copied as they are.
    """
    if isinstance(layer, nn.Linear):
        rows = x.reshape(1, -1, x.shape[-1])
        at = _spread_evenly(rows.shape[1], samples, x.device)
        return (rows if at is None else rows[:, at]).float(), 1
    if not isinstance(layer, _ConvNd):
        raise TypeError(f"inputs of a {type(layer).__name__} cannot be laid out as rows")
    dims = len(layer.kernel_size)
    x = x.float()
    if x.dim() == dims + 1:
        x = x[None]
    if isinstance(layer, _ConvTransposeNd):
        x = _spread(x, layer)
        stride: Any = (1,) * dims
    else:
        x = _padded(x, layer)
        stride = layer.stride
    sizes, kernel, dilation = x.shape[2:], layer.kernel_size, layer.dilation
    positions = [(sizes[d] - dilation[d] * (kernel[d] - 1) - 1) // stride[d] + 1 for d in range(dims)]
    count = x.shape[0] * math.prod(positions)
    at = _spread_evenly(count, samples, x.device)
    image, *position = torch.unravel_index(torch.arange(count, device=x.device) if at is None else at, (x.shape[0], *positions))
    # Where each row and each place of the kernel lies among all pixels.
    pixel, offset = image, torch.zeros(1, dtype=torch.int64, device=x.device)
    for d in range(dims):
        pixel = pixel * sizes[d] + position[d] * stride[d]
        offset = (offset[:, None] * sizes[d] + torch.arange(kernel[d], device=x.device) * dilation[d]).reshape(-1)
    pixels = x.movedim(1, -1).reshape(-1, x.shape[1])
    rows = pixels[(pixel[:, None] + offset).reshape(-1)]
    rows = rows.reshape(len(pixel), len(offset), layer.groups, -1).movedim(2, 0)
    return rows.flatten(-2), len(offset)


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


class Moments(NamedTuple):
    """Means over all rows of a layer's inputs, float64.

    Attributes:
        second: Products of two inputs, (groups, inputs, inputs).
        cross: Products of a healthy input (rows) and an input, likewise.
        mean: The inputs, (groups, inputs).
        healthy_mean: The healthy inputs, likewise.
    """

    second: Tensor
    cross: Tensor
    mean: Tensor
    healthy_mean: Tensor


class Sums:
    """Running float64 sums over a layer's inputs, and over pairs of inputs and healthy inputs.

    Args:
        samples: Maximum number of rows from one batch, evenly spread; more rows add little.
    """

    def __init__(self, *, samples: int) -> None:
        self.samples = samples
        self.rows = 0
        self._places = 1
        self._sums: tuple[Tensor, ...] = ()

    def add(self, layer: nn.Module, x: Tensor, healthy: Tensor | None) -> None:
        """Add a batch of inputs, and the inputs of the same images in the healthy network."""
        rows, self._places = _by_place(layer, x, self.samples)
        wanted = rows if healthy is None else _by_place(layer, healthy, self.samples)[0]
        own = _gram(rows)
        cross = own if healthy is None else wanted.mT @ rows
        ones = rows.new_ones(1, rows.shape[1])
        sums = own, cross, (ones @ rows)[:, 0], (ones @ wanted)[:, 0]
        if self._sums:
            for total, more in zip(self._sums, sums, strict=True):
                total.add_(more)
        else:
            self._sums = tuple(more.double() for more in sums)
        self.rows += rows.shape[1]

    def means(self) -> Moments:
        """Return the means, their inputs in the order of the weight."""
        second, cross, mean, healthy_mean = (total / self.rows for total in self._sums)
        return Moments(*map(self._sorted, (second, cross)), *(self._in_order(x, 1) for x in (mean, healthy_mean)))

    def _sorted(self, products: Tensor) -> Tensor:
        return self._in_order(self._in_order(products, 1), 2)

    def _in_order(self, x: Tensor, dim: int) -> Tensor:
        """Put the inputs of one dimension into the order of the weight: place by place of a channel."""
        if self._places == 1:
            return x
        apart: Tensor = x.unflatten(dim, (self._places, -1))  # type: ignore[no-untyped-call]
        return apart.transpose(dim, dim + 1).flatten(dim, dim + 1)
