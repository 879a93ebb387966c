"""The quantized weights of a model, found by name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from brevitas.nn.mixin.parameter import QuantWeightMixin
from torch import nn

from tremap_brevitas.codes import Encoding
from tremap_brevitas.placement import PlacedLayer, Placement
from tremap_brevitas.proxy import FaultyWeightProxy

Patterns = Sequence[str] | str | None


class WeightSlot(NamedTuple):
    """One quantized weight of a model: slot ``slot`` of ``proxy``, the weight of ``module``, which is called ``name``."""

    name: str
    module: nn.Module
    proxy: Any
    slot: int


def weight_slots(model: nn.Module, *, include: Patterns = None, exclude: Patterns = None) -> list[WeightSlot]:
    """All layers of a model whose weights are quantized, in the order of ``named_modules``.

    Layers with float weights are none of them.

    Args:
        model: A model with Brevitas layers.
        include: Keep only layers whose dotted name matches one of these patterns (``*`` and ``?`` as in a shell).
        exclude: Leave out layers whose dotted name matches one of these.

    Raises:
        ValueError: If a pattern matches no quantized layer.
    """
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, QuantWeightMixin) or module.weight_quant.tensor_quant is None:
            continue
        tracked = module.weight_quant.tracked_module_list
        slot = next((i for i, other in enumerate(tracked) if other is module), None)
        if slot is None:
            raise ValueError(
                f"layer {name!r}: its weight quantizer does not know it; share a quantizer by passing it as weight_quant, "
                f"not by assigning it"
            )
        found.append(WeightSlot(name, module, module.weight_quant, slot))
    if not found:
        raise ValueError(f"{type(model).__name__} has no layer with a quantized weight")
    names = [entry.name for entry in found]
    for argument, patterns in (("include", include), ("exclude", exclude)):
        for pattern in _patterns(patterns):
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f"{argument}={pattern!r} matches no quantized layer; there are {', '.join(names)}")
    if include is not None:
        found = [f for f in found if any(fnmatchcase(f.name, p) for p in _patterns(include))]
    return [f for f in found if not any(fnmatchcase(f.name, p) for p in _patterns(exclude))]


def faulty_slots(model: nn.Module) -> list[WeightSlot]:
    """Those quantized weights of a model that can hold faults.

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
        ValueError: If one is not there, or differs in shape, bit width or sign.
    """
    slots = {entry.name: entry for entry in faulty_slots(model)}
    for layer in placement.layers:
        entry = slots.get(layer.name)
        if entry is None:
            raise ValueError(
                f"layer {layer.name!r} of the placement is not among the layers of the model that can hold faults: "
                f"{', '.join(slots)}"
            )
        _check_layer(entry, layer)
    return {layer.name: slots[layer.name] for layer in placement.layers}


def checked_slots(model: nn.Module, placement: Placement) -> list[WeightSlot]:
    """All weights of a model that can hold faults, once those of a placement were found to match and to be finite.

    Raises:
        ValueError: If a layer of the placement is not in the model or does not match, or a weight is NaN or infinite.
    """
    for entry in matching_slots(model, placement).values():
        try:
            entry.proxy.check_finite(entry.slot)
        except ValueError as error:
            raise ValueError(f"layer {entry.name!r}: {error}") from None
    return faulty_slots(model)


def check_enabled(name: str, proxy: Any) -> None:
    """Check that a layer computes with codes at all.

    Raises:
        ValueError: If its weight quantizer is switched off.
    """
    if not proxy.is_quant_enabled:
        raise ValueError(
            f"layer {name!r}: its weight quantizer is disabled, so it computes with float weights and has no codes"
        )


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
    module: Any = entry.module
    check_enabled(entry.name, entry.proxy)
    check_narrow(entry.name, entry.proxy, layer.encoding)
    found = {
        "shape": tuple(module.weight.shape),
        "bit width": entry.proxy.codes_bit_width,
        "signed codes": bool(entry.proxy.is_signed),
    }
    placed = {"shape": layer.shape, "bit width": layer.bit_width, "signed codes": layer.signed}
    for what in found:
        if found[what] != placed[what]:
            raise ValueError(
                f"layer {entry.name!r}: {what} {found[what]} in the model, but the placement holds {placed[what]}; place the "
                f"model again"
            )


def _patterns(patterns: Patterns) -> Sequence[str]:
    return [patterns] if isinstance(patterns, str) else patterns or []
