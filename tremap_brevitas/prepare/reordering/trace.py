"""Trace the identity of every channel through every operator of one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tremap_brevitas.prepare.reordering.identities import FIXED, Identities, Nodes
from tremap_brevitas.prepare.reordering.labels import Factor, Labels, fixed, labels_from_nodes, slot
from tremap_brevitas.prepare.reordering.rules import Call
from tremap_brevitas.prepare.reordering.table import RULES


@dataclass(frozen=True, eq=False)
class Columns:
    """Inputs of one group of a grouped convolution: columns of some rows of a weight."""

    tensor: str
    rows: Nodes
    nodes: Nodes


@dataclass(frozen=True, eq=False)
class Traced:
    """Result of tracing one forward pass.

    Attributes:
        identities: Which channels are tied to which.
        axes: Nodes along each axis of each parameter and buffer of the model that was used, by name.
        columns: Columns of grouped convolutions; the nodes of the weight's own axis 1 have no meaning there.
    """

    identities: Identities
    axes: Mapping[str, tuple[Nodes | None, ...]]
    columns: tuple[Columns, ...]


@torch.no_grad()
def trace_channels(model: nn.Module, run: Callable[[], Any], inputs: Iterable[Any], *, outputs_free: bool = False) -> Traced:
    """Run a model and trace its channels.

    Args:
        model: The model, in evaluation mode.
        run: Runs it on ``inputs``.
        inputs: Inputs of the model, which do not move.
        outputs_free: Whether the outputs may come in another order.
    """
    recorder = _Recorder(model)
    for tensor in _tensors(inputs):
        recorder.keep(tensor, fixed(tensor.shape))
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            stack.callback(module.register_forward_pre_hook(recorder.entering(name)).remove)
            stack.callback(module.register_forward_hook(recorder.leaving, always_call=True).remove)
        with recorder:
            result = run()
    if not outputs_free:
        for tensor in _tensors(result):
            recorder.stop([tensor], "the network's output")
    recorder.stop_unused(model)
    return Traced(recorder.identities, recorder.axes, tuple(recorder.columns.values()))


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.identities = Identities()
        self.axes: dict[str, tuple[Nodes | None, ...]] = {}
        self.columns: dict[tuple[str, int], Columns] = {}
        self._inside: list[str] = []
        self._labels: dict[int, tuple[Tensor, Labels]] = {}  # holds the tensors, so that no id is reused
        self._by_memory: dict[tuple[Any, ...], Labels] = {}
        self._used: set[int] = set()
        self._by_columns: dict[bytes, str] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            labels = self._parameter(name, tensor)
            self.keep(tensor, labels)
            self._by_memory[_memory(tensor)] = labels

    def entering(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            self._inside.append(name)

        return hook

    def leaving(self, module: nn.Module, args: Any, output: Any) -> None:
        self._inside.pop()

    def keep(self, tensor: Tensor, labels: Labels) -> None:
        for factor in labels.factors:
            self.identities.seen(factor.nodes)
        self._labels[id(tensor)] = tensor, labels

    def stop(self, tensors: Iterable[Tensor], why: str) -> None:
        """Freeze all channels of some tensors."""
        for tensor in tensors:
            labels = self.labels(tensor)
            self.identities.freeze([*labels.all_nodes(), *labels.spoiled], why)

    def stop_unused(self, model: nn.Module) -> None:
        """Freeze parameters that this forward pass did not use, because another pass may use them."""
        for _, tensor in [*model.named_parameters(), *model.named_buffers()]:
            labels = self._labels[id(tensor)][1]
            if id(labels) not in self._used:
                self.identities.freeze(labels.all_nodes(), "not used in the pass")

    def _parameter(self, name: str, tensor: Tensor) -> Labels:
        axes = tuple(self.identities.new(n) if n > 1 else None for n in tensor.shape)
        self.axes[name] = axes
        if tensor.dim() > 1 and axes[1] is not None:
            self._by_columns[axes[1].tobytes()] = name
        return labels_from_nodes(axes)

    def labels(self, tensor: Tensor) -> Labels:
        """Return the labels of a tensor; a tensor from elsewhere is fixed, unless all its elements are equal."""
        known = self._labels.get(id(tensor))
        if known is not None:
            self._used.add(id(known[1]))
            return known[1]
        labels = self._by_memory.get(_memory(tensor))
        self._used.add(id(labels))
        if labels is None:
            labels = labels_from_nodes([self._constant(tensor, dim) for dim in range(tensor.dim())])
        self.keep(tensor, labels)
        return labels

    def _constant(self, tensor: Tensor, dim: int) -> Nodes | None:
        size = tensor.shape[dim]
        if size == 1:
            return None
        with torch.utils._python_dispatch._disable_current_modes():
            alike = size > 0 and bool((tensor == tensor.narrow(dim, 0, 1)).all())
        return self.identities.new(size) if alike else np.full(size, FIXED)

    def columns_of(self, matrix: Labels, groups: int) -> Labels | None:
        """Return the column nodes of a grouped convolution's weight, one row per group; None if it is not a parameter."""
        if len(matrix.dims[1]) != 1:
            return None
        factor = matrix.factor_of(matrix.dims[1][0])
        name = self._by_columns.get(factor.nodes.tobytes())
        if name is None:
            return None
        rows = np.arange(matrix.shape()[0]).reshape(groups, -1)
        for number, some in enumerate(rows):
            if (name, number) not in self.columns:
                self.columns[name, number] = Columns(name, some, self.identities.new(factor.nodes.size))
        nodes = np.stack([self.columns[name, number].nodes for number in range(groups)])
        slots = slot(), slot()
        return Labels(((slots[0],), (slots[1],)), (Factor(slots, nodes),))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        layout = (tuple(first.shape), first.stride(), int(first.storage_offset())) if isinstance(first, Tensor) else None
        result = func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        named = {a.name: a.default_value for a in func._schema.arguments if a.has_default_value()}
        named |= {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)} | kwargs
        in_place = func._schema.is_mutable
        name = name.removesuffix("_") if in_place else name
        module = next((inside for inside in reversed(self._inside) if inside), "")
        where = f"{name} in {module!r}" if module else name
        values = [named.get(a.name) for a in func._schema.arguments]
        call = Call(name, values, named, result, self.labels, self.identities, self.columns_of, where, layout)
        self._follow(call, func._schema.name.startswith("aten::"), in_place)
        return result

    def _follow(self, call: Call, known: bool, in_place: bool) -> None:
        entering = call.tensors()
        for tensor in entering:
            spoiled = self.labels(tensor).spoiled
            if spoiled:
                self.identities.freeze(spoiled, f"its places are told apart by {call.where}")
        rule = RULES.get(call.name) if known else None
        made_labels = None if rule is None else rule(call)
        results = list(call.result) if isinstance(call.result, (list, tuple)) else [call.result]
        listed = made_labels if isinstance(made_labels, list) else [made_labels]
        for index, tensor in enumerate(results):
            if not isinstance(tensor, Tensor):
                continue
            labels = listed[index] if index < len(listed) else None
            if labels is None or labels.shape() != tuple(tensor.shape):
                self.stop(entering, f"not understood: {call.where}")
                labels = fixed(tensor.shape)
            before = self._labels.get(id(tensor))  # an in-place operator returns its argument, sometimes in another shape
            if before is None or before[1].shape() != labels.shape():
                self.keep(tensor, labels)
        if rule is None and not any(isinstance(tensor, Tensor) for tensor in results):
            self.stop(entering, f"not understood: {call.where}")


def _memory(tensor: Tensor) -> tuple[Any, ...]:
    """Identify the storage of a tensor: ``.data`` of a parameter is another object with the same storage."""
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
