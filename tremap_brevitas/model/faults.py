"""Setting and clearing faults, and reading the codes that the model computes with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.model.slots import WeightSlot, check_type, checked_slots, faulty_slots, matching_slots
from tremap_brevitas.placement import LayerSites, MemoryImage, Placement
from tremap_brevitas.proxy import WeightCodes, WeightFaults
from tremap_brevitas.proxy.weight_faults import Gradient, Store, fixed_codes, weight_faults


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
            bit width or sign, a weight is NaN, infinite or on the ``meta`` device, or an option is unknown.
        TypeError: If an argument is of another kind, such as a list of maps.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(10, 5, bias=False)), tm.Memory(words=16, word_bits=32)
        >>> chip, = tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> tm.set_faults_(fc, tm.place(fc, memory), chip, store="nearest")
        >>> codes = fc.weight_quant.codes()
        >>> bool((codes.read_back != codes.wanted).any())
        True
    """
    check_options(store, gradient)
    slots = checked_slots(model, placement)
    apply_sites_(slots, located(placement, fault_map), store=store, gradient=gradient)


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
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(1, 1, bias=False)), tm.Memory(words=1, word_bits=8)
        >>> chip = tm.FaultMap(memory, cells=range(8), stuck_at=[1, 0, 0, 1, 0, 0, 0, 0])
        >>> with tm.using_faults(fc, tm.place(fc, memory), chip):
        ...     fc.weight_quant.codes().read_back.item()
        9
    """
    with _restoring(model):
        set_faults_(model, placement, fault_map, store=store, gradient=gradient)
        yield


@contextmanager
def without_faults(model: nn.Module) -> Iterator[None]:
    """[clear_faults_][tremap_brevitas.clear_faults_] for a ``with`` block; afterwards what was set before is set again.

    A layer that was given faults meanwhile keeps them: a generator that holds this block open may be thrown away much later.
    """
    before = [(entry, entry.proxy.fault_slot(entry.slot)) for entry in faulty_slots(model)]
    clear_faults_(model)
    try:
        yield
    finally:
        for entry, faults in before:
            if entry.proxy.fault_slot(entry.slot) is None:
                entry.proxy.set_fault_slot(entry.slot, faults)


@contextmanager
def using_codes(model: nn.Module, placement: Placement, codes: Mapping[str, NDArray[Any]]) -> Iterator[None]:
    """Let the model compute with given integer codes, whatever its weights are: a network as a chip really runs it.

    Args:
        model: The model that ``placement`` was made for.
        placement: Its layers get the codes.
        codes: Integer array in the shape of the weight for each layer of the placement, such as ``MemoryImage.codes``.

    Raises:
        ValueError: If a layer is missing, or differs in shape or bit width.
        TypeError: If an argument is of another kind.
    """
    check_type("model", model, nn.Module)
    check_type("placement", placement, Placement)
    check_type("codes", codes, Mapping)
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
        ValueError: If model and placement do not match, a weight is NaN or infinite, or the network reads an image as one of
            its members does (``ReadByMembers``): those are not the codes that are written.
    """
    slots = matching_slots(model, placement)
    for name, entry in slots.items():
        faults = entry.proxy.fault_slot(entry.slot)
        if faults is not None and faults.read_by is not None:
            raise ValueError(
                f"layer {name!r} computes with what chip {faults.read_by!r} reads of its group's image, not with the image; "
                f"after training with ReadByMembers set the merged map: tm.set_faults_(model, placement, merged)"
            )
    return MemoryImage(placement, {name: _codes(entry).read_back for name, entry in slots.items()})


def check_options(store: str, gradient: str) -> None:
    """Check ``store`` and ``gradient``.

    Raises:
        ValueError: If one is unknown.
    """
    if store not in ("plain", "nearest"):
        raise ValueError(f"store must be 'plain' or 'nearest', got {store!r}")
    if gradient not in ("identity", "zero_fully_stuck"):
        raise ValueError(f"gradient must be 'identity' or 'zero_fully_stuck', got {gradient!r}")


def sites_of(placement: Placement, fault_map: FaultMap) -> list[LayerSites]:
    """Find the stuck bits of weights.

    Raises:
        ValueError: If the map is of another memory.
        TypeError: If it is no map.
    """
    if isinstance(fault_map, (list, tuple)):
        raise TypeError(f"fault_map must be one FaultMap, got a {type(fault_map).__name__}; merge several with tm.merge")
    check_type("fault_map", fault_map, FaultMap)
    check_memory(fault_map, placement.memory, whose="the placement's")
    return placement.sites(fault_map.cells)


def located(placement: Placement, fault_map: FaultMap) -> list[tuple[LayerSites, NDArray[np.uint8]]]:
    """The stuck bits of weights, with the value of each."""
    return [(sites, fault_map.stuck_at[sites.source]) for sites in sites_of(placement, fault_map)]


def apply_sites_(
    slots: Iterable[WeightSlot],
    sites: Sequence[tuple[LayerSites, NDArray[np.uint8]]],
    *,
    store: Store,
    gradient: Gradient,
) -> None:
    """Give every layer among ``slots`` its stuck bits, and those without any a healthy memory."""
    made = {bits.layer.name: weight_faults(bits, stuck, store=store, gradient=gradient) for bits, stuck in sites if len(stuck)}
    apply_faults_(slots, made)


def apply_faults_(slots: Iterable[WeightSlot], faults: Mapping[str, WeightFaults]) -> None:
    """Give every layer among ``slots`` its faults, and those without any a healthy memory."""
    for entry in slots:
        if entry.name in faults or entry.proxy.fault_slot(entry.slot) is not None:
            entry.proxy.set_fault_slot(entry.slot, faults.get(entry.name))


def _codes(entry: WeightSlot) -> WeightCodes:
    try:
        codes: WeightCodes = entry.proxy.codes(entry.slot)
    except ValueError as error:
        raise ValueError(f"layer {entry.name!r}: {error}") from None
    return codes


@contextmanager
def _restoring(model: nn.Module) -> Iterator[None]:
    before = [(entry, entry.proxy.fault_slot(entry.slot)) for entry in faulty_slots(model)]
    try:
        yield
    finally:
        for entry, faults in before:
            entry.proxy.set_fault_slot(entry.slot, faults)
