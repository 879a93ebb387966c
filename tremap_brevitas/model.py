"""What a user does to a model: make it faulty, place it, set and clear faults, read its codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

import brevitas.config
import numpy as np
from brevitas.nn.mixin.parameter import QuantWeightMixin
from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.codes import Encoding
from tremap_brevitas.core import StuckAt
from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.placement import (
    LayerCodes,
    LayerSites,
    MemoryImage,
    PlacedLayer,
    Placement,
    linear_placement,
)
from tremap_brevitas.proxy import FaultyWeightProxy, WeightCodes, WeightFaults
from tremap_brevitas.proxy.weight_faults import Gradient, Store, fixed_codes, weight_faults
from tremap_brevitas.quant.base import COUNTERPARTS, why_not

Model = TypeVar("Model", bound=nn.Module)
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


def make_faulty(model: Model, *, include: Patterns = None, exclude: Patterns = None) -> Model:
    """Let the weight quantizers of a finished Brevitas model hold faults, in place.

    Weights, learned scales and the optimizer that knows them stay the very same objects, and until faults are set the
    model computes what it computed before, bit for bit. Layers that can hold faults already are left as they are.

    Args:
        model: A model built with Brevitas layers, trained or not.
        include: Convert only layers whose dotted name matches one of these patterns; default all.
        exclude: Leave out layers whose dotted name matches one of these.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: If the model has no quantized weight, a pattern matches no quantized layer, or a layer that is left out
            shares its quantizer with one that is not.
        TypeError: If a quantizer cannot hold faults (binary, A2Q, floating point …): names layer and reason.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> model = nn.Sequential(QuantLinear(10, 5, bias=False), nn.ReLU(), QuantLinear(5, 2, bias=False))
        >>> make_faulty(model)[0].weight_quant.__class__.__name__
        'FaultyWeightQuantProxyFromInjector'
    """
    slots = weight_slots(model, include=include, exclude=exclude)
    proxies: dict[int, WeightSlot] = {}
    for entry in slots:
        if isinstance(entry.proxy, FaultyWeightProxy):
            continue
        reason = why_not(entry.proxy.quant_injector)
        if reason is None and type(entry.proxy) not in COUNTERPARTS:
            reason = f"its proxy is a {type(entry.proxy).__name__}"
        if reason is None and brevitas.config.JIT_ENABLED and list(entry.proxy.parameters()):
            reason = "under BREVITAS_JIT=1 its learned scale is compiled in; build the model with the faulty quantizer instead"
        if reason is not None:
            raise TypeError(
                f"layer {entry.name!r}: its weight quantizer cannot hold stuck-at faults: {reason}; leave the layer out with "
                f"exclude={entry.name!r}"
            )
        proxies[id(entry.proxy)] = entry
    converted = {entry.name for entry in slots}
    for entry in weight_slots(model):
        if id(entry.proxy) in proxies and entry.name not in converted:
            shared = proxies[id(entry.proxy)].name
            raise ValueError(f"layer {entry.name!r} is left out, but shares its weight quantizer with layer {shared!r}")
    for entry in proxies.values():
        counterpart = COUNTERPARTS[type(entry.proxy)]
        _swap(entry.proxy, counterpart.proxy, counterpart.int_quant_name, counterpart.faulty_int_quant)
    return model


def restore(model: Model) -> Model:
    """Turn every faulty weight quantizer of a model into the plain Brevitas one, in place: undoes ``make_faulty``.

    Faults that are set are cleared. Weights and learned scales stay the same objects.

    Raises:
        ValueError: If the model has no faulty weight quantizer.
        TypeError: Under ``BREVITAS_JIT=1``, if a quantizer has a learned scale.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False)
        >>> restore(make_faulty(fc)).weight_quant.__class__.__name__
        'WeightQuantProxyFromInjector'
    """
    slots = {id(e.proxy): e for e in faulty_slots(model)}.values()
    for entry in slots:
        if brevitas.config.JIT_ENABLED and list(entry.proxy.parameters()):
            raise TypeError(
                f"layer {entry.name!r}: under BREVITAS_JIT=1 its learned scale is compiled in; build the model with the plain "
                f"quantizer and load this one's state dict instead"
            )
    clear_faults_(model)
    plain = {counterpart.proxy: (kind, counterpart) for kind, counterpart in COUNTERPARTS.items()}
    for entry in slots:
        kind, counterpart = plain[type(entry.proxy)]
        for name in ("_faults", "_handed_down", "_slices", "_learned_bit_width", "_below"):
            entry.proxy.__dict__.pop(name, None)
        _swap(entry.proxy, kind, counterpart.int_quant_name, counterpart.plain_int_quant)
    return model


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


def place(
    model: nn.Module,
    memory: Memory,
    *,
    include: Patterns = None,
    exclude: Patterns = None,
    reuse: bool = False,
    encoding: Encoding = "twos_complement",
) -> Placement:
    """Place the weights of a model in a memory, in the linear layout.

    Layers lie one after the other in the order of ``named_modules``, each from a word boundary; see
    [linear_placement][tremap_brevitas.placement.linear_placement].

    Args:
        model: A model whose weight quantizers can hold faults.
        memory: The memory.
        include: Place only layers whose dotted name matches one of these patterns; default all.
        exclude: Leave out layers whose dotted name matches one of these.
        reuse: Whether a memory that is too small is loaded tile by tile; one cell then hits several weights.
        encoding: How signed codes are stored. Unsigned ones are always stored in plain binary.

    Raises:
        ValueError: If a pattern matches no quantized layer, a layer's quantizer cannot hold faults, its codes do not fit the
            encoding, or the memory is too small (the message says how many bits are missing) and ``reuse`` is False.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> model = make_faulty(nn.Sequential(QuantLinear(10, 5, bias=False), QuantLinear(5, 2, bias=False)))
        >>> print(place(model, Memory(words=16, word_bits=32)))
        60 weights of 2 layers in 16 of 16 words of 32 bits
          words        0 to       12: 0 (5×10), 8 bits twos_complement, 4 codes a word
          words       13 to       15: 1 (2×5), 8 bits twos_complement, 4 codes a word
    """
    if encoding == "binary":
        raise ValueError("encoding='binary' is for unsigned codes and needs no saying; choose how signed codes are stored")
    layers = []
    for name, module, proxy, _ in weight_slots(model, include=include, exclude=exclude):
        if not isinstance(proxy, FaultyWeightProxy):
            raise ValueError(
                f"layer {name!r}: its weight quantizer cannot hold faults; call make_faulty(model), build it with a Faulty… "
                f"quantizer, or leave it out with exclude={name!r}"
            )
        _check_enabled(name, proxy)
        signed = bool(proxy.is_signed)  # type: ignore[attr-defined]
        _check_narrow(name, proxy, encoding)
        weight: Any = module.weight
        layers.append(LayerCodes(name, tuple(weight.shape), proxy.codes_bit_width, encoding if signed else "binary"))
    return linear_placement(layers, memory, reuse=reuse)


def set_faults_(
    model: nn.Module,
    placement: Placement,
    fault_map: FaultMap,
    *,
    store: Store = "nearest",
    gradient: Gradient = "identity",
) -> None:
    """Let the model compute with weights as they come back from a faulty memory; replaces all faults set before.

    The float master weights stay as they are. Either all layers get their faults or, on an error, none does.

    Args:
        model: The model that ``placement`` was made for, or one with the same layers.
        placement: Where each code lies.
        fault_map: The stuck cells: of one chip, or merged.
        store: What is written. ``"nearest"``: the code whose read-back is nearest. ``"plain"``: the quantized code itself, as
            in TRE-Map.
        gradient: ``"identity"``: straight through for every weight. ``"zero_fully_stuck"``: none for a weight all of whose
            bits are stuck, since nothing it could do changes what is read. The scale's gradient then loses that weight's
            share through rounding, and keeps its share through dequantization.

    Raises:
        ValueError: If map and placement differ in memory, a layer of the placement is not in the model or differs in shape,
            bit width or sign, a weight is NaN or infinite, or an option is unknown.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> from tremap_brevitas import random_fault_maps
        >>> fc, memory = make_faulty(QuantLinear(10, 5, bias=False)), Memory(words=16, word_bits=32)
        >>> chip, = random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> set_faults_(fc, place(fc, memory), chip, store="nearest")
        >>> codes = fc.weight_quant.codes()
        >>> bool((codes.read_back != codes.wanted).any())
        True
    """
    check_options(store, gradient)
    slots = checked_slots(model, placement)
    sites = sites_of(placement, fault_map)
    apply_sites_(slots, [(s, fault_map.stuck_at[s.source]) for s in sites], store=store, gradient=gradient)


def clear_faults_(model: nn.Module) -> None:
    """Let the model compute as in a healthy memory.

    Raises:
        ValueError: If the model has no faulty weight quantizer.
    """
    for entry in faulty_slots(model):
        entry.proxy.set_fault_slot(entry.slot, None)


@contextmanager
def using_faults(
    model: nn.Module,
    placement: Placement,
    fault_map: FaultMap,
    *,
    store: Store = "nearest",
    gradient: Gradient = "identity",
) -> Iterator[None]:
    """[set_faults_][tremap_brevitas.set_faults_] for a ``with`` block; afterwards what was set before is set again.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> from tremap_brevitas import FaultMap
        >>> fc, memory = make_faulty(QuantLinear(1, 1, bias=False)), Memory(words=1, word_bits=8)
        >>> with using_faults(fc, place(fc, memory), FaultMap(memory, range(8), [1, 0, 0, 1, 0, 0, 0, 0])):
        ...     fc.weight_quant.codes().read_back.item()
        9
    """
    with _restoring(model):
        set_faults_(model, placement, fault_map, store=store, gradient=gradient)
        yield


@contextmanager
def using_codes(model: nn.Module, placement: Placement, codes: Mapping[str, NDArray[Any]]) -> Iterator[None]:
    """Let the model compute with given integer codes, whatever its weights are: a network as a chip really runs it.

    Args:
        model: The model that ``placement`` was made for.
        placement: Its layers get the codes.
        codes: Integer array in the shape of the weight for each layer of the placement, such as ``MemoryImage.codes``.

    Raises:
        ValueError: If a layer is missing, or differs in shape or bit width.
    """
    image = MemoryImage(placement, codes)  # checks names, shapes and ranges
    slots = matching_slots(model, placement)
    with _restoring(model):
        for layer in placement.layers:
            entry = slots[layer.name]
            entry.proxy.set_fault_slot(entry.slot, fixed_codes(layer, image.codes[layer.name]))
        yield


def layer_codes(model: nn.Module, layer: str) -> WeightCodes:
    """Integers of one layer's weight under the faults now set: ``wanted``, ``stored`` and ``read_back``.

    Raises:
        KeyError: If the model has no such layer with a faulty weight quantizer.
        ValueError: If a weight is NaN or infinite.
    """
    for entry in faulty_slots(model):
        if entry.name == layer:
            return _codes(entry)
    raise KeyError(f"no layer {layer!r} that can hold faults; there are {', '.join(e.name for e in faulty_slots(model))}")


def memory_image(model: nn.Module, placement: Placement) -> MemoryImage:
    """The codes that the network computes with under the faults now set, as a memory image.

    Written to any chip whose stuck cells are among those faults, at the same values, every code reads back unchanged.

    Raises:
        ValueError: If model and placement do not match, or a weight is NaN or infinite.
    """
    slots = matching_slots(model, placement)
    return MemoryImage(placement, {name: _codes(entry).read_back for name, entry in slots.items()})


# ------------------------------------------------------------------------------------------- for the rooms next door


def check_options(store: str, gradient: str) -> None:
    """Check ``store`` and ``gradient``.

    Raises:
        ValueError: If one is unknown.
    """
    if store not in ("plain", "nearest"):
        raise ValueError(f"store must be 'plain' or 'nearest', got {store!r}")
    if gradient not in ("identity", "zero_fully_stuck"):
        raise ValueError(f"gradient must be 'identity' or 'zero_fully_stuck', got {gradient!r}")


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


def sites_of(placement: Placement, fault_map: FaultMap) -> list[LayerSites]:
    """Find the stuck bits of weights.

    Raises:
        ValueError: If the map is of another memory.
    """
    if fault_map.memory != placement.memory:
        raise ValueError(
            f"the fault map of chip {fault_map.chip!r} is of a memory of {fault_map.memory}, the placement's has "
            f"{placement.memory}"
        )
    return placement.sites(fault_map.cells)


def apply_sites_(
    slots: Iterable[WeightSlot],
    sites: Sequence[tuple[LayerSites, NDArray[np.uint8]]],
    *,
    store: Store,
    gradient: Gradient,
) -> None:
    """Give every layer among ``slots`` its stuck bits, and those without any a healthy memory."""
    made: dict[str, WeightFaults] = {
        bits.layer.name: weight_faults(bits, stuck, store=store, gradient=gradient) for bits, stuck in sites if len(stuck)
    }
    for entry in slots:
        if entry.name in made or entry.proxy.fault_slot(entry.slot) is not None:
            entry.proxy.set_fault_slot(entry.slot, made.get(entry.name))


def _codes(entry: WeightSlot) -> WeightCodes:
    try:
        codes: WeightCodes = entry.proxy.codes(entry.slot)
    except ValueError as error:
        raise ValueError(f"layer {entry.name!r}: {error}") from None
    return codes


def _check_enabled(name: str, proxy: Any) -> None:
    if not proxy.is_quant_enabled:
        raise ValueError(
            f"layer {name!r}: its weight quantizer is disabled, so it computes with float weights and has no codes"
        )


def _check_narrow(name: str, proxy: Any, encoding: Encoding) -> None:
    if encoding == "sign_magnitude" and proxy.is_signed and not proxy.is_narrow_range:
        raise ValueError(
            f"layer {name!r}: its codes go down to {-(1 << (proxy.codes_bit_width - 1))}, which sign-magnitude cannot hold; "
            f"use a narrow-range quantizer"
        )


def _check_layer(entry: WeightSlot, layer: PlacedLayer) -> None:
    module: Any = entry.module
    _check_enabled(entry.name, entry.proxy)
    _check_narrow(entry.name, entry.proxy, layer.encoding)
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


@contextmanager
def _restoring(model: nn.Module) -> Iterator[None]:
    before = [(entry, entry.proxy.fault_slot(entry.slot)) for entry in faulty_slots(model)]
    try:
        yield
    finally:
        for entry, faults in before:
            entry.proxy.set_fault_slot(entry.slot, faults)


def _swap(proxy: Any, proxy_class: type, int_quant_name: str, int_quant_class: type) -> None:
    # Changing the class of the two objects, as torch.nn.utils.parametrize does, is the one way that keeps every Parameter, and
    # every reference that scale searches hold to the proxy.
    proxy.quant_injector = proxy.quant_injector.let(**{int_quant_name: int_quant_class, "proxy_class": proxy_class})
    proxy.__class__ = proxy_class
    for module in proxy.tracked_module_list:  # Brevitas remembers whom to tell of a slice
        module._cached_sub_tensor_slice_list_modules = None
    if brevitas.config.JIT_ENABLED:
        proxy.init_tensor_quant()
        return
    int_quant = getattr(getattr(proxy.tensor_quant, "_orig_mod", proxy.tensor_quant), int_quant_name)
    int_quant.__class__ = int_quant_class
    if issubclass(proxy_class, FaultyWeightProxy):
        int_quant.stuck_at = StuckAt()
    else:
        del int_quant.stuck_at
    proxy._cached_weight = None
    for module in proxy.modules():  # scale searches keep the method of the class that was
        if hasattr(module, "proxy_forward"):
            module.proxy_forward = proxy.forward


def _patterns(patterns: Patterns) -> Sequence[str]:
    return [patterns] if isinstance(patterns, str) else patterns or []
