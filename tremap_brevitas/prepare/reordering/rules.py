"""Channel tracing rules for torch operators; operators not listed here freeze their inputs.

A rule takes a [Call][tremap_brevitas.prepare.reordering.rules.Call] and returns the labels of the result, a list of them for
several results, or None if it cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from tremap_brevitas.prepare.reordering.identities import Identities
from tremap_brevitas.prepare.reordering.joining import joined
from tremap_brevitas.prepare.reordering.labels import Labels, fixed, fresh, viewed

Layout: TypeAlias = "tuple[tuple[int, ...], tuple[int, ...], int]"
Result: TypeAlias = "Labels | list[Labels | None] | None"


@dataclass(frozen=True)
class Call:
    """One call of an operator.

    Attributes:
        name: Its name, without ``aten::`` and the underscore of in-place operators.
        args: All its arguments in the order of its signature, defaults filled in.
        named: The same by name.
        result: Its result.
        labels: Finds the labels of a tensor among the arguments.
        identities: The graph.
        columns: For the weight of a grouped convolution: labels (groups, inputs of a group) of its columns.
        where: The operation and the module in which it ran, for messages.
        layout: Shape, strides and offset of its first argument before it ran; None if that is not a tensor.
    """

    name: str
    args: Sequence[Any]
    named: dict[str, Any]
    result: Any
    labels: Callable[[Tensor], Labels]
    identities: Identities
    columns: Callable[[Labels, int], Labels | None]
    where: str
    layout: Layout | None

    def labels_of(self, name: str) -> Labels:
        """Return the labels of a tensor argument."""
        return self.labels(self.named[name])

    def tensors(self) -> list[Tensor]:
        """Return all tensor arguments, also those in lists."""
        flat: list[Any] = []
        for value in self.args:
            flat.extend(value if isinstance(value, (list, tuple)) else [value])
        return [value for value in flat if isinstance(value, Tensor)]

    def joined(self, operands: Sequence[tuple[Labels, Sequence[Any]]], out: Sequence[Any]) -> Labels | None:
        """See [joined][tremap_brevitas.prepare.reordering.joining.joined]."""
        return joined(operands, out, self.identities, self.where)

    def stay(self, labels: Labels, dims: Sequence[int], what: str = "") -> None:
        """Freeze the channels along some dimensions."""
        for dim in dims:
            for s in labels.dims[dim]:
                self.identities.freeze(labels.factor_of(s).nodes.reshape(-1).tolist(), what or f"mixed in {self.where}")


def elementwise(call: Call) -> Result:
    """Trace elementwise operators, with broadcasting."""
    operands = [call.labels(tensor) for tensor in call.tensors()]
    return _elementwise(call, operands, call.result.dim())


def _elementwise(call: Call, operands: list[Labels], ndim: int) -> Labels | None:
    return call.joined([(one, range(ndim - len(one.dims), ndim)) for one in operands], range(ndim))


def uniform(call: Call) -> Result:
    """Label a tensor of a single value: its positions are not tied to anything."""
    return fresh(call.result.shape, call.identities)


def _dims(call: Call, ndim: int) -> list[int]:
    dims = call.named.get("dim")
    if dims is None or dims == []:
        return list(range(ndim))
    return [d % max(ndim, 1) for d in (dims if isinstance(dims, (list, tuple)) else [dims])] if ndim else []


def reduction(call: Call) -> Result:
    """Trace a sum, mean, maximum … over some dimensions, which does not depend on the order."""
    labels = call.labels(call.tensors()[0])
    ndim = len(labels.dims)
    gone = _dims(call, ndim)
    first = call.result if isinstance(call.result, Tensor) else call.result[0]
    kept: list[Any] = [d for d in range(ndim) if d not in gone]
    values = call.joined([(labels, range(ndim))], kept)
    if values is None:
        return None
    if first.dim() == ndim and gone:  # keepdim
        dims = iter(values.dims)
        values = Labels(tuple(() if d in gone else next(dims) for d in range(ndim)), values.factors)
    if isinstance(call.result, Tensor):
        return values
    # The second result holds positions; if it is used, the order counts.
    return [values, Labels(values.dims, values.factors, tuple(_along(labels, gone)))]


def _along(labels: Labels, dims: Sequence[int]) -> list[int]:
    return [node for d in dims for s in labels.dims[d] for node in labels.factor_of(s).nodes.reshape(-1).tolist()]


def positions(call: Call) -> Result:
    """Trace ``argmax`` and similar operators, which return positions along some dimensions."""
    labels = call.labels(call.tensors()[0])
    call.identities.freeze(_along(labels, _dims(call, len(labels.dims))), f"its places are told apart by {call.where}")
    return fixed(call.result.shape)


def sorting(call: Call) -> Result:
    """Trace ``sort`` and ``topk``: the values do not depend on the input's order."""
    labels = call.labels(call.tensors()[0])
    ndim = len(labels.dims)
    (dim,) = _dims(call, ndim) or [0]
    if call.named.get("dim") is None:
        return None
    rest = [d for d in range(ndim) if d != dim]
    values = call.joined([(labels, range(ndim))], rest)
    if values is None:
        return None
    last = fixed([call.result[0].shape[dim]])
    dims = list(values.dims)
    dims.insert(dim, last.dims[0])
    values = Labels(tuple(dims), (*values.factors, *last.factors))
    return [values, Labels(values.dims, values.factors, tuple(_along(labels, [dim])))]


def softmax(call: Call) -> Result:
    """Trace ``softmax``: each element depends on all others along a dimension, in any order."""
    labels = call.labels(call.tensors()[0])
    ndim = len(labels.dims)
    gone = _dims(call, ndim)
    rest = [d for d in range(ndim) if d not in gone]
    total = call.joined([(labels, range(ndim))], rest)
    return None if total is None else call.joined([(labels, range(ndim)), (total, rest)], range(ndim))


def cumulative(call: Call) -> Result:
    """Trace ``cumsum``: the result depends on the order along a dimension."""
    labels = call.labels(call.tensors()[0])
    call.stay(labels, _dims(call, len(labels.dims)))
    return labels


def batch_norm(call: Call) -> Result:
    """Trace BatchNorm: one value of each parameter for each channel of dimension 1."""
    labels = call.labels_of("input")
    ndim = len(labels.dims)
    operands: list[Any] = [(labels, range(ndim))]
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(call.named.get(name), Tensor):
            operands.append((call.labels_of(name), [1]))
    values = call.joined(operands, range(ndim))
    return [values, *[fixed(tensor.shape) for tensor in call.result[1:]]]


def layer_norm(call: Call) -> Result:
    """Trace LayerNorm: the order along the normalized dimensions does not matter."""
    labels = call.labels_of("input")
    ndim = len(labels.dims)
    over = range(ndim - len(call.named["normalized_shape"]), ndim)
    total = call.joined([(labels, range(ndim))], range(over[0]))
    if total is None:
        return None
    operands: list[Any] = [(labels, range(ndim)), (total, range(over[0]))]
    operands += [(call.labels_of(name), over) for name in ("weight", "bias") if isinstance(call.named.get(name), Tensor)]
    return [call.joined(operands, range(ndim)), *[fixed(tensor.shape) for tensor in call.result[1:]]]


def group_norm(call: Call) -> Result:
    """Trace GroupNorm: channels stay in their group."""
    labels, groups = call.labels_of("input"), call.named["group"]
    shape = labels.shape()
    wide = viewed(labels, [shape[0], groups, shape[1] // groups, *shape[2:]])
    if wide is None:
        return None
    ndim = len(wide.dims)
    total = call.joined([(wide, range(ndim))], [0, 1])
    operands: list[Any] = [(wide, range(ndim)), (total, [0, 1])]
    for name in ("weight", "bias"):
        if isinstance(call.named.get(name), Tensor):
            affine = viewed(call.labels_of(name), [groups, shape[1] // groups])
            if affine is None:
                return None
            operands.append((affine, [1, 2]))
    values = None if total is None else call.joined(operands, range(ndim))
    return None if values is None else [viewed(values, shape), *[fixed(tensor.shape) for tensor in call.result[1:]]]


def product(call: Call) -> Result:
    """Trace ``mm``, ``bmm``, ``addmm``, ``baddbmm``, ``mv``, ``dot``, ``linear``."""
    tensors = [call.labels(tensor) for tensor in call.tensors()]
    names = {
        "mm": ["nk", "km", "nm"],
        "bmm": ["bnk", "bkm", "bnm"],
        "addmm": ["nm", "nk", "km", "nm"],
        "baddbmm": ["bnm", "bnk", "bkm", "bnm"],
        "addmv": ["n", "nk", "k", "n"],
        "mv": ["nk", "k", "n"],
        "dot": ["k", "k", ""],
        "linear": ["k", "mk", "m", "m"],
    }[call.name]
    *inputs, out = names
    if call.name == "linear":
        lead = "".join(chr(ord("A") + i) for i in range(len(tensors[0].dims) - 1))
        inputs[0], out = lead + inputs[0], lead + out
    operands = []
    for one, letters in zip(tensors, inputs, strict=False):
        operands.append((one, letters[len(letters) - len(one.dims) :]))
    return call.joined(operands, out)


def attention(call: Call) -> Result:
    """Trace scaled dot-product attention of (batch, heads, positions, channels)."""
    query, key, value = (call.labels_of(name) for name in ("query", "key", "value"))
    weights = call.joined([(query, "bhnd"), (key, "bhmd")], "bhnm")
    if weights is None:
        return None
    mask = call.named.get("attn_mask")
    if isinstance(mask, Tensor):
        weights = call.joined([(weights, "bhnm"), (call.labels(mask), "bhnm"[4 - mask.dim() :])], "bhnm")
    out = None if weights is None else call.joined([(weights, "bhnm"), (value, "bhmd")], "bhnd")
    return [out, *[fixed(r.shape) if isinstance(r, Tensor) else None for r in call.result[1:]]]


def embedding(call: Call) -> Result:
    """Trace an embedding table: the rows stay, their channels may move."""
    table, numbers = call.labels_of("weight"), call.labels_of("indices")
    call.stay(table, [0])
    call.identities.freeze(numbers.all_nodes(), f"numbers of rows in {call.where}")
    ndim = len(numbers.dims)
    return call.joined([(table, ["row", "channel"]), (numbers, range(ndim))], [*range(ndim), "channel"])


def spatial(call: Call) -> Result:
    """Trace pooling, reflection padding and resizing: only the last dimensions are mixed."""
    count = int(next(letter for letter in call.name if letter.isdigit()))
    labels = call.labels(call.tensors()[0])
    ndim = len(labels.dims)
    call.stay(labels, range(ndim - count, ndim))
    results = [call.result] if isinstance(call.result, Tensor) else list(call.result)
    kept = call.joined([(labels, range(ndim))], range(ndim - count))
    if kept is None:
        return None
    made = []
    for one in results:
        tail = fixed(one.shape[ndim - count :])
        made.append(Labels((*kept.dims, *tail.dims), (*kept.factors, *tail.factors)))
    return made[0] if isinstance(call.result, Tensor) else list(made)


def nothing_moves(call: Call) -> Result:
    """Label a new tensor that depends on no other: nothing moves."""
    if call.tensors():
        return None
    return fixed(call.result.shape)
