"""Build the matrices for the descent from a placed layer and its stuck bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tremap_brevitas.codes import MAX_TABLE_BIT_WIDTH, decode, encode
from tremap_brevitas.placed.slots import WeightSlot
from tremap_brevitas.placement import PlacedLayer, StuckBits
from tremap_brevitas.prepare.compensation.conflicts import Clashes
from tremap_brevitas.prepare.compensation.layer import LayerProblem
from tremap_brevitas.prepare.compensation.moments import as_matrices
from tremap_brevitas.prepare.compensation.reachable import CodeRule, writable
from tremap_brevitas.printable import counted
from tremap_brevitas.proxy.weight_faults import Store


def problem_of(
    entry: WeightSlot,
    placed: PlacedLayer,
    *,
    healthy: NDArray[np.int32],
    read: NDArray[np.int32],
    stuck: StuckBits | None,
    store: Store,
) -> LayerProblem:
    """Build the problem of one layer.

    Args:
        entry: The layer.
        placed: Its location in the memory.
        healthy: Codes of its float weights without faults.
        read: Codes that it reads under the faults that are set.
        stuck: Its stuck bits; None for none.
        store: Rule by which codes are stored.
    """
    module: Any = entry.module
    shape, device = entry.parameter.shape, entry.parameter.device
    quantized = module.quant_weight()
    sa0, sa1 = masks_of(placed, stuck, device)
    lowest = 0 if placed.encoding == "binary" else -(1 << (placed.bit_width - 1)) + bool(entry.proxy.is_narrow_range)
    return LayerProblem(
        module,
        codes=torch.from_numpy(healthy).to(device),
        read=torch.from_numpy(read).to(device),
        scale=quantized.scale.detach(),
        zero_point=quantized.zero_point.detach(),
        sa0=sa0.reshape(shape),
        sa1=sa1.reshape(shape),
        **anchors_of(entry)._asdict(),
        rule=CodeRule(placed.bit_width, placed.encoding, store, lowest),
    )


def masks_of(placed: PlacedLayer, stuck: StuckBits | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the masks of bits stuck at 0 and at 1 of every weight of a layer, flat, int64."""
    sa0, sa1 = np.zeros((2, placed.size), dtype=np.int64)
    if stuck is not None:
        sa0[stuck.weight], sa1[stuck.weight] = stuck.sa0, stuck.sa1
    return torch.from_numpy(sa0).to(device), torch.from_numpy(sa1).to(device)


class Anchors(NamedTuple):
    """Bounds on the float weights that keep a layer's scales and zero points unchanged.

    Attributes:
        held: Weights whose floats must stay: the largest of each scale by magnitude; with a zero point the smallest and the
            largest. Mask in the shape of the weight.
        least: Smallest float that every weight may have without changing scale and zero point.
        most: Largest, likewise.
    """

    held: Tensor
    least: Tensor
    most: Tensor


def anchors_of(entry: WeightSlot) -> Anchors:
    """Find the weights that determine a layer's scales and zero points.

    Most quantizers take the scale from the largest magnitude, those with a zero point from the smallest and the largest
    weight. Quantizers with another rule are noticed afterwards, because their scale changes.
    """
    weight = entry.parameter.detach()
    module: Any = entry.module
    scale = module.quant_weight().scale
    index: NDArray[Any] = np.indices(tuple(weight.shape)).reshape(weight.dim(), -1)
    if getattr(entry.proxy, "group_size", None):
        index[entry.proxy.group_dim] //= entry.proxy.group_size
    elif scale.numel() == 1:
        index[:] = 0
    else:
        index[[d for d in range(weight.dim()) if scale.shape[d] == 1]] = 0
    group = np.ravel_multi_index(tuple(index), tuple(weight.shape))
    values = weight.cpu().reshape(-1).double().numpy()
    most, held = _largest(values if not entry.proxy.is_signed else np.abs(values), group)
    least, also = (-most, held) if entry.proxy.is_signed else _largest(-values, group)
    least = least if entry.proxy.is_signed else -least

    def shaped(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(weight.device).reshape(weight.shape)

    return Anchors(shaped(held | also), shaped(least), shaped(most))


def _largest(values: NDArray[np.float64], group: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the largest value of each entry's group, and a mask with one entry of each group that has it."""
    order = np.lexsort((values, group))
    last = np.append(group[order][1:] != group[order][:-1], True)
    at = order[last]
    held = np.zeros(len(values), dtype=bool)
    held[at] = True
    largest = np.zeros(int(group.max()) + 1)
    largest[group[at]] = values[at]
    return largest[group], held


def clashes_of(problem: LayerProblem, placed: PlacedLayer, members: Sequence[StuckBits | None]) -> tuple[Clashes | None, str]:
    """Collect the conflicting weights of a layer: with a bit stuck at 0 on one member and at 1 on another.

    Returns:
        The weights, and why none are collected although there are some. Then the group's map decides, as for any other weight.
    """
    layer, rule = problem.layer, problem.rule
    device, shape = problem.sa0.device, layer.weight.shape
    pairs = [masks_of(placed, stuck, device) for stuck in members]
    sa0, sa1 = (torch.stack(masks) for masks in zip(*pairs, strict=True))
    at_zero, at_one = _union(sa0), _union(sa1)
    hit = as_matrices(layer, ((at_zero & at_one) != 0).reshape(shape))
    group, row, column = (hit & ~problem.held).nonzero(as_tuple=True)
    if not len(row):
        return None, ""
    if rule.bit_width > MAX_TABLE_BIT_WIDTH:
        return None, f"codes of {rule.bit_width} bits: {counted(len(row), 'conflicting weight')} by the merged map alone"
    at = group, row, column
    weight = as_matrices(layer, torch.arange(placed.size, device=device).reshape(shape))[at]
    options: Any = {"bit_width": rule.bit_width, "encoding": rule.encoding}
    codes = range(rule.start + (rule.encoding == "sign_magnitude"), rule.start + rule.columns)
    clashes = Clashes(
        group=group,
        row=row,
        column=column,
        sa0=sa0[:, weight].T.contiguous(),
        sa1=sa1[:, weight].T.contiguous(),
        stored=torch.from_numpy(encode(list(codes), **options).astype(np.int64)).to(device),
        decoded=torch.from_numpy(decode(list(range(rule.columns)), **options).astype(np.float64)).to(device),
        allowed=writable(problem.sa0[at], problem.sa1[at], codes, rule),
        scale=problem.scale[at],
        zero_point=problem.zero_point[at],
    )
    return clashes, ""


def _union(masks: Tensor) -> Tensor:
    union = masks[0]
    for other in masks[1:]:
        union = union | other
    return union
