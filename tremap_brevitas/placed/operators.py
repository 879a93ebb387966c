"""Find the properties of layers that a layout needs: groups, transposed convolutions, flattened feature maps."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from brevitas.nn import QuantEltwiseAdd
from brevitas.nn.quant_layer import QuantNonLinearActLayer
from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from tremap_brevitas.placement import LayerCodes

UNKNOWN, PLAIN = 0, -1  # besides a number of channels
ELEMENTWISE = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.Sigmoid,
    nn.Tanh,
    QuantNonLinearActLayer,
)
POOLING = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)
FUNCTIONS = {
    *(torch.relu, torch.sigmoid, torch.tanh, torch.clamp),
    *(nn.functional.relu, nn.functional.relu6, nn.functional.hardtanh, nn.functional.dropout),
}
POOLING_FUNCTIONS = {
    *(nn.functional.max_pool1d, nn.functional.max_pool2d, nn.functional.avg_pool1d, nn.functional.avg_pool2d),
    *(nn.functional.adaptive_avg_pool1d, nn.functional.adaptive_avg_pool2d),
    *(nn.functional.adaptive_max_pool1d, nn.functional.adaptive_max_pool2d),
}
METHODS = {"relu", "sigmoid", "tanh", "clamp", "contiguous", "detach"}
SUMS = {operator.add, operator.iadd, torch.add}


def with_operators(model: nn.Module, layers: Sequence[LayerCodes]) -> list[LayerCodes]:
    """Fill in groups, transposed and channels of a model's layers.

    ``channels`` of a linear layer is determined by tracing the model back from it, through activations, pooling, BatchNorm and
    sums, to the convolution whose output is flattened, or to a linear layer or an input that is not flattened. It is 0 where
    this gives no single number, and None in a model that cannot be traced and has no convolution.
    """
    modules = dict(model.named_modules())
    flattened = _channels(model)
    untraced = UNKNOWN if any(isinstance(module, _ConvNd) for module in modules.values()) else None
    filled = []
    for layer in layers:
        module = modules.get(layer.name)
        if isinstance(module, _ConvNd):
            layer = layer._replace(groups=module.groups, transposed=module.transposed)
        elif isinstance(module, nn.Linear):
            channels = untraced if flattened is None else flattened.get(layer.name, UNKNOWN)
            if channels == PLAIN:
                channels = module.in_features
            elif channels and module.in_features % channels:
                channels = UNKNOWN
            layer = layer._replace(channels=channels)
        filled.append(layer)
    return filled


class _Tracer(fx.Tracer):
    """Traces into the user's own modules only."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        package = type(module).__module__.split(".")[0]
        return package in ("torch", "brevitas", "tremap_brevitas") and not isinstance(
            module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        )


def _channels(model: nn.Module) -> dict[str, int] | None:
    """Return for each linear layer the channels of the flattened feature map before it, ``PLAIN`` or ``UNKNOWN``.

    None if the model cannot be traced.
    """
    if "forward" in vars(model):  # the tracer would trace the forward of the class instead
        return None
    try:
        graph = _Tracer().trace(model)
    except Exception:  # a forward pass may raise anything under tracing; the user must then give the channels
        return None
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    modules = dict(model.named_modules(remove_duplicate=False))
    sources = _Sources(modules)
    channels_of: dict[str, int] = {}
    for node in graph.nodes:
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Linear):
            channels = sources.channels_of(node.args[0] if node.args else None, flattened=False)
            for name in names[module]:
                channels_of[name] = channels if channels_of.get(name, channels) == channels else UNKNOWN
    return channels_of


class _Sources:
    """Traces a value back to the layer that computed it."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.known: dict[tuple[fx.Node, bool], int] = {}

    def channels_of(self, value: Any, *, flattened: bool) -> int:
        if not isinstance(value, fx.Node):
            return UNKNOWN
        key = value, flattened
        if key not in self.known:
            self.known[key] = self._find(value, flattened)
        return self.known[key]

    def _find(self, node: fx.Node, flattened: bool) -> int:
        if node.op == "placeholder":
            return UNKNOWN if flattened else PLAIN
        first = node.args[0] if node.args else None
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            if isinstance(module, _ConvNd):
                return module.out_channels if flattened else UNKNOWN
            if isinstance(module, nn.Linear):
                return UNKNOWN if flattened else PLAIN
            if isinstance(module, nn.Flatten):
                return self._flat(first) if (module.start_dim, module.end_dim) == (1, -1) else UNKNOWN
            if isinstance(module, QuantEltwiseAdd):
                return self._sum(node, flattened)
            keeps = isinstance(module, ELEMENTWISE) or (flattened and isinstance(module, POOLING))
            return self.channels_of(first, flattened=flattened) if keeps else UNKNOWN
        if node.op == "call_function" and node.target in SUMS:
            return self._sum(node, flattened)
        named = node.target in (METHODS if node.op == "call_method" else FUNCTIONS)
        if named or (flattened and node.target in POOLING_FUNCTIONS):
            return self.channels_of(first, flattened=flattened)
        return self._flat(first) if _flattens(node) else UNKNOWN

    def _flat(self, value: Any) -> int:
        """Return the channels of a flattened value; an input that is flattened directly keeps the caller's order."""
        at_once = isinstance(value, fx.Node) and value.op == "placeholder"
        return PLAIN if at_once else self.channels_of(value, flattened=True)

    def _sum(self, node: fx.Node, flattened: bool) -> int:
        """Return the channels of a sum: all terms have one shape, so one known term suffices, unless it may be broadcast."""
        parts = {self.channels_of(value, flattened=flattened) for value in node.args}
        told = parts - {UNKNOWN}
        return told.pop() if len(told) == 1 and (UNKNOWN not in parts or told != {1}) else UNKNOWN


def _flattens(node: fx.Node) -> bool:
    """Check whether a node flattens all dimensions but the first: ``flatten(1)``, or a view of ``(batch, -1)``."""
    arguments: list[Any] = list(node.args)
    value, rest = arguments[0] if arguments else None, arguments[1:]
    if node.target in ("flatten", torch.flatten):
        start = rest[0] if rest else node.kwargs.get("start_dim", 0)
        end = rest[1] if len(rest) > 1 else node.kwargs.get("end_dim", -1)
        return (start, end) == (1, -1)
    if node.target in ("view", "reshape", torch.reshape):
        shape = rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest
        return len(shape) == 2 and shape[1] == -1 and _is_batch(shape[0], value)
    return False


def _is_batch(size: Any, value: Any) -> bool:
    """Check whether a number is the first dimension of a value: ``value.size(0)``, ``value.shape[0]``, or 1."""
    if not isinstance(size, fx.Node):
        return bool(size == 1)
    if size.target == "size":
        return size.args == (value, 0)
    shape: Any = size.args[0] if size.target is operator.getitem and size.args[1] == 0 else None
    if not isinstance(shape, fx.Node) or shape.args[0] is not value:
        return False
    return shape.target == "size" or (shape.target is getattr and shape.args[1] == "shape")
