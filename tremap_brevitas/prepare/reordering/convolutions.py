"""Channel tracing through convolutions: plain, grouped, depthwise, transposed."""

from __future__ import annotations

from torch import Tensor

from tremap_brevitas.prepare.reordering.labels import Factor, Labels, fixed, one_slot, viewed
from tremap_brevitas.prepare.reordering.rules import Call, Result

KERNEL = "positions of a kernel"


def convolution(call: Call) -> Result:
    """Trace ``aten::convolution``: input (batch, channels, …), weight (out, in / groups, …)."""
    labels, weight, groups = call.labels_of("input"), call.labels_of("weight"), call.named["groups"]
    ndim = len(weight.dims)
    space = range(2, ndim)
    call.stay(weight, space, KERNEL)
    call.stay(labels, space)
    bias = call.labels_of("bias") if isinstance(call.named.get("bias"), Tensor) else None
    pictures = call.joined([(labels, range(ndim))], [0, 1])
    matrix = call.joined([(weight, range(ndim))], [0, 1])
    if pictures is None or matrix is None:
        return None
    if call.named["transposed"]:
        matrix = Labels((matrix.dims[1], matrix.dims[0]), matrix.factors)
    if groups == 1:
        made = call.joined([(pictures, "bi"), (matrix, "oi")], "bo")
    elif call.named["transposed"]:
        made = _depthwise(call, pictures, matrix, groups, transposed=True)
    elif weight.shape()[1] == 1:
        made = _depthwise(call, pictures, matrix, groups, transposed=False)
    else:
        made = _grouped(call, pictures, matrix, groups)
    if made is not None and bias is not None:
        made = call.joined([(made, "bo"), (bias, "o")], "bo")
    if made is None:
        return None
    tail = fixed(call.result.shape[2:])
    return Labels((*made.dims, *tail.dims), (*made.factors, *tail.factors))


def _depthwise(call: Call, pictures: Labels, matrix: Labels, groups: int, *, transposed: bool) -> Labels | None:
    """Trace a depthwise convolution: the filters of an input channel move with it."""
    if transposed:
        # The weight is (in, out / groups, …): one output for each input only.
        if call.labels_of("weight").shape()[:2] != (groups, 1):
            return None
        return call.joined([(pictures, "bc"), (Labels((matrix.dims[1],), matrix.factors), "c")], "bc")
    per_input = call.labels_of("weight").shape()[0] // groups
    rows = call.joined([(matrix, "oi")], "o")
    if rows is None:
        return None
    if per_input == 1:
        return call.joined([(pictures, "bc"), (rows, "c")], "bc")
    wide = viewed(rows, [groups, per_input])
    outputs = None if wide is None else _copies(call, pictures, per_input)
    if wide is None or outputs is None:
        return None
    return call.joined([(outputs, "bo"), (rows, "o")], "bo")


def _copies(call: Call, pictures: Labels, count: int) -> Labels | None:
    """Return labels in which each channel is repeated several times, one copy after the other."""
    labels = one_slot(pictures, 1, call.identities, call.where)
    (number,) = labels.dims[1] or (None,)
    if number is None:
        return None
    factor = labels.factor_of(number)
    if len(factor.slots) > 1:
        return None
    nodes = call.identities.parts(factor.nodes, ("filters of", call.where), count).reshape(-1)
    others = tuple(other for other in labels.factors if other is not factor)
    return Labels(labels.dims, (*others, Factor(factor.slots, nodes)), ())


def _grouped(call: Call, pictures: Labels, matrix: Labels, groups: int) -> Labels | None:
    """Trace a grouped convolution: each group of outputs has its own inputs."""
    shape = call.labels_of("weight").shape()
    inputs = viewed(pictures, [pictures.shape()[0], groups, shape[1]])
    rows = call.joined([(matrix, "oi")], "o")
    outputs = None if rows is None else viewed(rows, [groups, shape[0] // groups])
    if inputs is None or rows is None or outputs is None:
        return None
    columns = call.columns(matrix, groups)
    tied: Labels | None = inputs
    if columns is None:
        call.stay(inputs, [2])
        call.stay(matrix, [1])
    else:
        tied = call.joined([(inputs, "bgi"), (columns, "gi")], "bgi")
    made = None if tied is None else call.joined([(tied, "bgi"), (outputs, "go")], "bgo")
    return None if made is None else viewed(made, [pictures.shape()[0], shape[0]])
