"""Channel tracing for operators that move elements without changing them: views, slices, concatenation, padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from tremap_brevitas.prepare.reordering.identities import FIXED, Nodes
from tremap_brevitas.prepare.reordering.labels import (
    Factor,
    Labels,
    fresh,
    labels_from_nodes,
    one_slot,
    selected,
    slot,
    viewed,
    with_dim,
)
from tremap_brevitas.prepare.reordering.rules import Call, Result


def _first(call: Call) -> Labels:
    return call.labels(call.tensors()[0])


def same(call: Call) -> Result:
    """Trace an operator that returns the tensor itself, or a copy."""
    return _first(call)


def strided(call: Call) -> Result:
    """Trace ``as_strided`` if it moves no element, as in pooling to one position in channels-last order."""
    if call.layout is None:
        return None
    shape, strides, offset = call.layout
    moved = call.named.get("storage_offset") not in (None, offset)
    if moved or tuple(call.named["size"]) != shape:
        return None
    one_by_one = zip(shape, strides, call.named["stride"], strict=True)
    return _first(call) if all(size == 1 or before == after for size, before, after in one_by_one) else None


def view(call: Call) -> Result:
    """Trace a reshape."""
    return viewed(_first(call), call.result.shape)


def permute(call: Call) -> Result:
    """Trace ``permute``, ``transpose``, ``t``."""
    labels = _first(call)
    ndim = len(labels.dims)
    order = list(range(ndim))
    if call.name == "permute":
        order = [d % ndim for d in call.named["dims"]]
    elif ndim:
        a, b = (0, ndim - 1) if call.name == "t" else (call.named["dim0"] % ndim, call.named["dim1"] % ndim)
        order[a], order[b] = order[b], order[a]
    return Labels(tuple(labels.dims[d] for d in order), labels.factors, labels.spoiled)


def expand(call: Call) -> Result:
    """Trace the expansion of dimensions of size 1: the copies are equal, so their order is free."""
    return _stretched(call, _first(call), call.result.shape)


def _stretched(call: Call, labels: Labels, shape: Sequence[int]) -> Labels:
    labels = Labels((*([()] * (len(shape) - len(labels.dims))), *labels.dims), labels.factors, labels.spoiled)
    for dim, size in enumerate(shape):
        if size != 1 and not labels.dims[dim]:
            labels = with_dim(labels, dim, call.identities.new(size))
    return labels


def repeat(call: Call) -> Result:
    """Trace ``repeat``: whole copies one after the other."""
    labels = _first(call)
    times = call.named["repeats"]
    labels = Labels((*([()] * (len(times) - len(labels.dims))), *labels.dims), labels.factors)
    for dim, count in enumerate(times):
        if count > 1:
            number = slot()
            copies = Factor((number,), call.identities.new(count))
            dims = (*labels.dims[:dim], (number, *labels.dims[dim]), *labels.dims[dim + 1 :])
            labels = Labels(dims, (*labels.factors, copies))
    return labels


def pick(call: Call) -> Result:
    """Trace ``slice``, ``select``, ``flip``, ``roll``, ``narrow``."""
    labels = _first(call)
    ndim = len(labels.dims)
    named = call.named
    if call.name in ("flip", "roll"):
        for position, d in enumerate(named["dims"]):
            step = None if call.name == "flip" else named["shifts"][position]
            labels = selected(
                labels,
                d % ndim,
                _turned(step),
                call.identities,
                call.where,
            )
        return labels
    dim = named["dim"] % ndim
    if call.name == "select":
        labels = selected(labels, dim, lambda places: places[[named["index"]]], call.identities, call.where)
        return Labels((*labels.dims[:dim], *labels.dims[dim + 1 :]), labels.factors, labels.spoiled)
    start, end, step = (named.get(name) for name in ("start", "end", "step"))
    return selected(labels, dim, lambda places: places[start : end : step or 1], call.identities, call.where)


def pieces(call: Call) -> Result:
    """Trace ``split``, ``split_with_sizes``, ``chunk``, ``unbind``."""
    labels = _first(call)
    dim = call.named["dim"] % len(labels.dims)
    result: list[Labels | None] = []
    start = 0
    for piece in call.result:
        count = 1 if call.name == "unbind" else piece.shape[dim]
        one = selected(labels, dim, _between(start, start + count), call.identities, call.where)
        if call.name == "unbind":
            one = Labels((*one.dims[:dim], *one.dims[dim + 1 :]), one.factors, one.spoiled)
        result.append(one)
        start += count
    return result


def _between(start: int, end: int) -> Callable[[Nodes], Nodes]:
    return lambda places: places[start:end]


def _turned(shift: int | None) -> Callable[[Nodes], Nodes]:
    return lambda places: places[::-1] if shift is None else np.roll(places, shift)


def cat(call: Call) -> Result:
    """Trace concatenation: the parts stay separate along that dimension and are tied along all others."""
    tensors: list[Tensor] = [tensor for tensor in call.named["tensors"] if tensor.numel() or tensor.dim() > 1]
    parts = [call.labels(tensor) for tensor in tensors]
    ndim = call.result.dim()
    if call.name == "stack":
        dim = call.named.get("dim", 0) % ndim
        parts = [Labels((*one.dims[:dim], (), *one.dims[dim:]), one.factors) for one in parts]
    else:
        dim = call.named.get("dim", 0) % ndim
    columns = []
    for number, one in enumerate(parts):
        factors = list({id(factor): factor for factor in map(one.factor_of, one.dims[dim])}.values())
        if len(factors) == 1 and set(factors[0].slots) == set(one.dims[dim]):
            one = one_slot(one, dim, call.identities, call.where)
            factors = [one.factor_of(one.dims[dim][0])]
        if len(factors) > 1 or any(len(factor.slots) > 1 for factor in factors):
            # Positions in several dimensions together are not traced further, which is enough for a maximum over all of them.
            hidden = [node for factor in factors for node in factor.nodes.reshape(-1).tolist()]
            columns.append(call.identities.hidden(one.shape()[dim], hidden, f"concatenated in {call.where}"))
        elif factors:
            call.identities.seen(factors[0].nodes)
            columns.append(call.identities.parts(factors[0].nodes, ("part", call.where, number), 1).reshape(-1))
        else:
            columns.append(np.full(1, FIXED))
    rest = [d for d in range(ndim) if d != dim]
    others = call.joined([(one, range(ndim)) for one in _without(parts, dim)], rest)
    if others is None:
        return None
    joint = labels_from_nodes([np.concatenate(columns)])
    dims = list(others.dims)
    dims.insert(dim, joint.dims[0])
    return Labels(tuple(dims), (*others.factors, *joint.factors))


def _without(parts: list[Labels], dim: int) -> list[Labels]:
    """Return the parts without the dimension along which they are concatenated."""
    result = []
    for one in parts:
        gone = set(one.dims[dim])
        factors = tuple(factor for factor in one.factors if not gone & set(factor.slots))
        lost = {s for factor in one.factors if gone & set(factor.slots) for s in factor.slots}
        result.append(Labels(tuple(() if set(d) & lost else d for d in one.dims), factors))
    return result


def pad(call: Call) -> Result:
    """Trace constant padding: the added elements are equal, so their order is free."""
    labels = _first(call)
    ndim = len(labels.dims)
    widths: list[int] = list(call.named["pad"])
    for number in range(len(widths) // 2):
        dim, (before, after) = ndim - 1 - number, widths[2 * number : 2 * number + 2]
        if before == after == 0:
            continue
        if before < 0 or after < 0:
            return None
        size = math.prod(labels.size(s) for s in labels.dims[dim])
        labels = one_slot(labels, dim, call.identities, call.where)
        old: Any = np.full(1, FIXED)
        if labels.dims[dim]:
            factor = labels.factor_of(labels.dims[dim][0])
            if len(factor.slots) > 1:
                return None
            old = factor.nodes
            labels = Labels(
                (*labels.dims[:dim], (), *labels.dims[dim + 1 :]), tuple(f for f in labels.factors if f is not factor)
            )
        added = call.identities.new(before + after)
        call.identities.seen(added)
        assert len(old) == size
        labels = with_dim(labels, dim, np.concatenate([added[:before], old, added[before:]]))
    return labels


def pixel_shuffle(call: Call) -> Result:
    """Trace ``pixel_shuffle``: r × r channels become one image of r times the size."""
    labels, factor = _first(call), call.named["upscale_factor"]
    shape = labels.shape()
    *lead, channels, height, width = shape
    n = len(lead)
    wide = viewed(labels, [*lead, channels // factor**2, factor, factor, height, width])
    if wide is None:
        return None
    order = [*range(n), n, n + 3, n + 1, n + 4, n + 2]
    return viewed(Labels(tuple(wide.dims[d] for d in order), wide.factors), call.result.shape)


def uniform_like(call: Call) -> Result:
    """Trace ``zeros_like`` and similar operators."""
    return fresh(call.result.shape, call.identities)
