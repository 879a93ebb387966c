"""Find the quantized weights of a model, and its quantized biases, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any, NamedTuple

from brevitas.nn.mixin.parameter import QuantBiasMixin, QuantWeightMixin
from brevitas.proxy.parameter_quant import BiasQuantProxyFromInjector
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from torch import nn

from tremap_brevitas.codes import Encoding
from tremap_brevitas.placement import PlacedLayer, Placement
from tremap_brevitas.proxy import FaultyWeightProxy
from tremap_brevitas.proxy.guards import same_weight

Patterns = Sequence[str] | str | None


class WeightSlot(NamedTuple):
    """One quantized weight of a model: slot ``slot`` of ``proxy``, the weight of the module ``name``.

    In the case of a bias, the name is that of the layer followed by ``.bias``.
    """

    name: str
    module: nn.Module
    proxy: Any
    slot: int

    @property
    def parameter(self) -> nn.Parameter:
        """The float weight or bias."""
        parameter: nn.Parameter = self.proxy.tracked_parameter_list[self.slot]
        return parameter

    @property
    def is_bias(self) -> bool:
        """Whether the slot is a bias."""
        return isinstance(self.proxy, BiasQuantProxyFromInjector)


def weight_slots(
    model: nn.Module, *, include: Patterns = None, exclude: Patterns = None, biases: bool = False
) -> list[WeightSlot]:
    """Return all layers of a model whose weights are quantized, in the order of ``named_modules``.

    Layers with float weights are left out. A bias that can hold faults comes after its layer's weight.

    Args:
        model: A model with Brevitas layers.
        include: Keep only layers whose dotted name matches one of these patterns (``*`` and ``?`` as in a shell).
        exclude: Leave out layers whose dotted name matches one of these.
        biases: Whether to list all quantized biases, including those that cannot hold faults.

    Raises:
        ValueError: If a pattern matches no quantized layer.
        TypeError: If ``model`` is not a module.
    """
    check_type("model", model, nn.Module)
    slots = []
    for name, module in _outside_quantizers(model):
        if isinstance(module, QuantWeightMixin) and module.weight_quant.tensor_quant is not None:
            slots.append(WeightSlot(name, module, module.weight_quant, _slot(name, module, "weight")))
        if isinstance(module, QuantBiasMixin) and module.bias is not None and module.bias_quant.tensor_quant is not None:
            bias = f"{name}.bias" if name else "bias"
            if biases or isinstance(module.bias_quant, FaultyWeightProxy):
                slots.append(WeightSlot(bias, module, module.bias_quant, _slot(name, module, "bias")))
    if not slots:
        raise ValueError(f"{type(model).__name__} has no layer with a quantized weight")
    names = [entry.name for entry in slots]
    for argument, patterns in (("include", include), ("exclude", exclude)):
        for pattern in _patterns(patterns):
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f"{argument}={pattern!r} matches no quantized layer; there are {', '.join(names)}")
    if include is not None:
        slots = [f for f in slots if any(fnmatchcase(f.name, p) for p in _patterns(include))]
    return [f for f in slots if not any(fnmatchcase(f.name, p) for p in _patterns(exclude))]


def _outside_quantizers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield what ``named_modules`` yields, without what lies in quantizers: nine modules of ten, and no layers."""
    seen: set[nn.Module] = set()
    waiting = [("", model)]
    while waiting:
        name, module = waiting.pop()
        if module in seen or isinstance(module, QuantProxyFromInjector):
            continue
        seen.add(module)
        yield name, module
        inside = [(f"{name}.{child}" if name else child, found) for child, found in module.named_children()]
        waiting += reversed(inside)


def _slot(name: str, module: nn.Module, parameter: str) -> int:
    """Return the index of a layer's parameter among those of its quantizer."""
    quantizer = getattr(module, f"{parameter}_quant")
    tracked = [other for other in quantizer.tracked_module_list if getattr(other, parameter) is not None]
    for slot, other in enumerate(tracked):
        if other is module:
            return slot
    raise ValueError(
        f"layer {name!r}: its {parameter} quantizer does not list it; share a quantizer by passing it as {parameter}_quant, "
        f"not by assigning it"
    )


def faulty_slots(model: nn.Module) -> list[WeightSlot]:
    """Return the quantized weights of a model that can hold faults.

    Raises:
        ValueError: If there is none.
    """
    slots = [entry for entry in weight_slots(model) if isinstance(entry.proxy, FaultyWeightProxy)]
    if not slots:
        raise ValueError(
            f"no weight quantizer of {type(model).__name__} can hold faults; build it with Faulty… quantizers, or call "
            f"make_faulty(model)"
        )
    return slots


def matching_slots(model: nn.Module, placement: Placement) -> dict[str, WeightSlot]:
    """Find the layers of a placement in a model.

    Raises:
        ValueError: If one is not there, or differs in shape, bit width or sign, or two cannot be told apart.
        TypeError: If an argument has another type.
    """
    check_type("model", model, nn.Module)
    check_type("placement", placement, Placement)
    slots = {entry.name: entry for entry in faulty_slots(model)}
    for layer in placement.layers:
        entry = slots.get(layer.name)
        if entry is None:
            raise ValueError(
                f"layer {layer.name!r} of the placement is not among the layers of the model that can hold faults: "
                f"{', '.join(slots)}"
            )
        _check_layer(entry, layer)
    matched = {layer.name: slots[layer.name] for layer in placement.layers}
    check_told_apart(matched.values())
    return matched


def checked_slots(model: nn.Module, placement: Placement) -> list[WeightSlot]:
    """Return all weights of a model that can hold faults, after checking them against a placement.

    Raises:
        ValueError: If a layer of the placement is not in the model or does not match, or a weight is NaN or infinite.
    """
    for entry in matching_slots(model, placement).values():
        try:
            entry.proxy.check_finite(entry.slot)
        except ValueError as error:
            raise ValueError(f"layer {entry.name!r}: {error}") from None
    return faulty_slots(model)


def check_type(argument: str, value: object, kind: type) -> None:
    """Check the type of an argument, and reject a list or another argument in its place.

    Raises:
        TypeError: If it has another type.
    """
    if not isinstance(value, kind):
        name = "torch.nn.Module" if kind is nn.Module else kind.__name__
        raise TypeError(f"{argument} must be of type {name}, got {type(value).__name__}")


def check_told_apart(entries: Iterable[WeightSlot]) -> None:
    """Check that no two layers share one weight and one quantizer, because then they cannot be told apart.

    Raises:
        ValueError: If two do.
    """
    sharing = [entry for entry in entries if len(entry.proxy.tracked_module_list) > 1]
    for a, b in combinations(sharing, 2):
        if a.proxy is b.proxy and same_weight(a.parameter, b.parameter):
            raise ValueError(
                f"layers {a.name!r} and {b.name!r} share one weight and one quantizer, so that two copies in the memory cannot "
                f"be told apart; give each layer a quantizer of its own, or place the weight once: leave out {b.name!r}, which "
                f"then computes with what is read for {a.name!r}"
            )


def check_enabled(name: str, proxy: Any) -> None:
    """Check that the weight quantization of a layer is enabled.

    Raises:
        ValueError: If its weight quantizer is disabled, or has no values yet.
    """
    if any(parameter.is_meta for parameter in proxy.tracked_parameter_list):
        raise ValueError(f"layer {name!r}: it is on the meta device, where tensors have no values; load the model first")
    if not proxy.is_quant_enabled:
        raise ValueError(f"layer {name!r}: its quantizer is disabled, so it computes with floats and has no codes")


def check_narrow(name: str, proxy: Any, encoding: Encoding) -> None:
    """Check that sign-magnitude, which has no lowest code, can hold a layer's codes.

    Raises:
        ValueError: If it cannot.
    """
    if encoding == "sign_magnitude" and proxy.is_signed and not proxy.is_narrow_range:
        raise ValueError(
            f"layer {name!r}: its codes go down to {-(1 << (proxy.codes_bit_width - 1))}, which sign-magnitude cannot hold; "
            f"use a narrow-range quantizer"
        )


def _check_layer(entry: WeightSlot, layer: PlacedLayer) -> None:
    check_enabled(entry.name, entry.proxy)
    check_narrow(entry.name, entry.proxy, layer.encoding)
    own = {
        "shape": tuple(entry.parameter.shape),
        "bit width": entry.proxy.codes_bit_width,
        "signed codes": bool(entry.proxy.is_signed),
    }
    placed = {"shape": layer.shape, "bit width": layer.bit_width, "signed codes": layer.signed}
    for what in own:
        if own[what] != placed[what]:
            raise ValueError(
                f"layer {entry.name!r}: {what} {own[what]} in the model, but the placement holds {placed[what]}; place the "
                f"model again"
            )


def _patterns(patterns: Patterns) -> Sequence[str]:
    return [patterns] if isinstance(patterns, str) else patterns or []
