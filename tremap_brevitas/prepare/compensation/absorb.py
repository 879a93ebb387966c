"""Find layers whose output goes only into a BatchNorm, which can absorb a factor and a sign for each channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode


class Traced:
    """Call counts and BatchNorm successors of a model's layers, recorded in one forward pass.

    Attributes:
        calls: How often each layer was called.
        absorbers: For each layer whose output goes into one BatchNorm and nowhere else, the name of that BatchNorm.
    """

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.absorbers: dict[str, str] = {}


@torch.no_grad()
def trace_successors(model: nn.Module, run: Callable[[], Any], layers: list[str]) -> Traced:
    """Run a model once and record where each layer's output goes.

    Args:
        model: The model, in evaluation mode.
        run: Runs it.
        layers: Names of the layers to record.
    """
    trace = Traced()
    modules = dict(model.named_modules())
    norms = {name: m for name, m in modules.items() if isinstance(m, _BatchNorm) and m.track_running_stats and m.affine}
    recorder = _Recorder()
    handles = []
    outputs: dict[str, Tensor] = {}

    def after(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            trace.calls[name] = trace.calls.get(name, 0) + 1
            value = getattr(output, "value", output)
            if isinstance(value, Tensor) and _channels_come_second(module, value):
                outputs[name] = value
                recorder.watch(name, value)

        return hook

    def enter(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            recorder.inside.append(name)

        return hook

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        recorder.inside.pop()

    calls: dict[str, int] = {}

    def count(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            calls[name] = calls.get(name, 0) + 1

        return hook

    try:
        for name in layers:
            handles.append(modules[name].register_forward_hook(after(name)))
        for name, norm in norms.items():
            handles.append(norm.register_forward_pre_hook(count(name)))
            handles.append(norm.register_forward_pre_hook(enter(name)))
            handles.append(norm.register_forward_hook(leave, always_call=True))
        with recorder:
            result = run()
    finally:
        for handle in handles:
            handle.remove()
    returned = {id(t) for t in _tensors(result)}
    for name in layers:
        users = recorder.users.get(name, set())
        (only,) = users if len(users) == 1 else (None,)
        if trace.calls.get(name) == 1 and only is not None and calls.get(only) == 1 and id(outputs[name]) not in returned:
            trace.absorbers[name] = only
    return trace


def _channels_come_second(layer: nn.Module, output: Tensor) -> bool:
    """Check that what a BatchNorm takes for channels, dimension 1, are the layer's own: not so after a Linear on sequences."""
    return output.dim() == (len(layer.kernel_size) if isinstance(layer, _ConvNd) else 0) + 2


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records in which BatchNorm, or elsewhere (None), each watched tensor is used."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inside: list[str] = []
        self.users: dict[str, set[str | None]] = {}
        self._watched: dict[int, tuple[str, Tensor]] = {}  # holds the tensors, so that no id is reused

    def watch(self, name: str, tensor: Tensor) -> None:
        self._watched[id(tensor)] = (name, tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            if id(tensor) in self._watched:
                name = self._watched[id(tensor)][0]
                self.users.setdefault(name, set()).add(self.inside[-1] if self.inside else None)
        return func(*args, **(kwargs or {}))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
