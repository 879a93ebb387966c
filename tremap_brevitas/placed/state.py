"""A model, the placement of its codes, and the faults that are live."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placed.faults import check_fault_map, codes_of, faults_by_layer, locate_stuck_bits
from tremap_brevitas.placed.live import Live
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.placed.slots import WeightSlot, check_type, checked_slots, faulty_slots, matching_slots
from tremap_brevitas.placement import MemoryImage, Placement
from tremap_brevitas.printable import counted
from tremap_brevitas.proxy import WeightCodes, WeightFaults
from tremap_brevitas.proxy.weight_faults import fixed_codes


class PlacedState:
    """State of a placed model: the base class of [PlacedModel][tremap_brevitas.PlacedModel], which adds the operations."""

    def __init__(self, model: nn.Module, placement: Placement, *, rule: Rule | None = None) -> None:
        if rule is not None:
            check_type("rule", rule, Rule)
        self._default = Rule() if rule is None else rule
        slots = matching_slots(model, placement)
        self._model, self._placement = model, placement
        self._live = _live_in(slots.values(), placement) or Live(placement, self._default)

    @property
    def model(self) -> nn.Module:
        """The user's model."""
        return self._model

    @property
    def placement(self) -> Placement:
        """Location of each code in the memory."""
        return self._placement

    @property
    def fault_map(self) -> FaultMap | None:
        """The map that is live; None in a healthy memory.

        Raises:
            ValueError: If something other than this object changed the model's faults.
        """
        self._check_live(faulty_slots(self._model))
        return self._live.fault_map

    @property
    def rule(self) -> Rule:
        """How codes are stored under the live map; without one, the default for the next map."""
        return self._live.rule

    # ---------------------------------------------------------------- setting and clearing

    def set_faults_(self, fault_map: FaultMap, *, rule: Rule | None = None) -> None:
        """Set faults: the model then computes with weights as read back from a faulty memory. Replaces earlier faults.

        The float master weights stay as they are. Either all layers get their faults or, on an error, none does.

        Args:
            fault_map: The stuck cells: of one chip, or merged.
            rule: How codes are stored; None for the rule that the model was placed with.

        Raises:
            TypeError: If ``fault_map`` is not a fault map, such as a list of them.
            ValueError: If map and placement are of different memories, a layer does not match the placement any more, or a
                weight is NaN, infinite or on the ``meta`` device.
        """
        check_fault_map(fault_map)
        rule = self.rule_or_default(rule)
        slots = checked_slots(self._model, self._placement)
        self.apply_(
            faults_by_layer(locate_stuck_bits(self._placement, fault_map), rule),
            Live(self._placement, rule, lambda: fault_map),
            slots=slots,
        )

    def clear_faults_(self) -> None:
        """Remove all faults: the model then computes as in a healthy memory."""
        self.apply_({}, Live(self._placement, self._default))

    @contextmanager
    def using(self, fault_map: FaultMap | None, *, rule: Rule | None = None) -> Iterator[None]:
        """Temporarily set the faults of a map, or with None remove all faults, in a ``with`` block.

        Afterwards the earlier faults are live again.

        Examples:
            >>> from brevitas.nn import QuantLinear
            >>> import tremap_brevitas as tm
            >>> memory = tm.Memory(words=1, word_bits=8)
            >>> net = tm.place(tm.make_faulty(QuantLinear(1, 1, bias=False)), memory)
            >>> with net.using(tm.FaultMap(memory, cells=range(8), stuck_at=[1, 0, 0, 1, 0, 0, 0, 0])):
            ...     net.codes("").read_back.item()
            9
            >>> net.fault_map is None
            True
        """
        with self._restoring(lambda: self.clear_faults_() if fault_map is None else self.set_faults_(fault_map, rule=rule)):
            yield

    @contextmanager
    def using_codes(self, codes: Mapping[str, NDArray[Any]]) -> Iterator[None]:
        """Temporarily compute with given codes instead of the model's own, as a real chip does.

        Args:
            codes: Integer array in the shape of the weight for each layer of the placement, such as ``MemoryImage.codes``.

        Raises:
            TypeError: If ``codes`` is not a mapping.
            ValueError: If a layer is missing, or differs in shape or bit width.
        """
        check_type("codes", codes, Mapping)
        image = MemoryImage(self._placement, codes)  # checks names, shapes and ranges
        matching_slots(self._model, self._placement)
        made = {layer.name: fixed_codes(layer, image.codes[layer.name]) for layer in self._placement.layers}
        with self._restoring(lambda: self.apply_(made, Live(self._placement, self._default, fixed=True))):
            yield

    # ---------------------------------------------------------------- reading

    def codes(self, layer: str) -> WeightCodes:
        """Return the integers of one layer's weight under the live faults: ``wanted``, ``stored`` and ``read_back``.

        Raises:
            KeyError: If the placement has no such layer.
            ValueError: If a weight is NaN or infinite.
        """
        self._placement.layer(layer)
        entry = matching_slots(self._model, self._placement)[layer]
        self._check_live([entry])
        return codes_of(entry)

    def memory_image(self) -> MemoryImage:
        """Return the codes that the network computes with under the live faults, as a memory image.

        Written to any chip whose stuck cells are among those faults, at the same values, every code reads back unchanged.

        Raises:
            ValueError: If the model does not match the placement any more, a weight is NaN or infinite, or the network computes
                with what one member reads of an image (``ReadByMembers``): those are not the codes that are written.
        """
        slots = matching_slots(self._model, self._placement)
        self._check_live(slots.values())
        if self._live.read_by is not None:
            raise ValueError(
                f"the model computes with what chip {self._live.read_by!r} reads of its group's image, not with the image; "
                f"after training with ReadByMembers set the merged map: net.set_faults_(merged)"
            )
        return MemoryImage(self._placement, {name: codes_of(entry).read_back for name, entry in slots.items()})

    # ---------------------------------------------------------------- stopping and going on

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save, without the fault map: the model's state, the rule, and digests of placement and map."""
        fault_map = self.fault_map
        return {
            "placement": self._placement.digest,
            "fault_map": None if fault_map is None else fault_map.digest,
            "rule": asdict(self.rule),
            "model": self._model.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, fault_map: FaultMap | None) -> None:
        """Restore a saved state, with the same faults live.

        Args:
            state: Result of ``state_dict``.
            fault_map: The map that was live; maps are saved separately, by ``FaultMap.save``.

        Raises:
            ValueError: If the state belongs to another placement, or the map is not the one that was live. Nothing is changed.
        """
        digest = None if fault_map is None else fault_map.digest
        for name, own in (("placement", self._placement.digest), ("fault_map", digest)):
            if state[name] != own:
                raise ValueError(f"the state was saved with another {name}: {state[name]!r}, but here it is {own!r}")
        self._model.load_state_dict(state["model"])
        if fault_map is None:
            self.clear_faults_()
        else:
            self.set_faults_(fault_map, rule=Rule(**state["rule"]))

    # ---------------------------------------------------------------- inside the package

    def apply_(self, faults: Mapping[str, WeightFaults], live: Live, *, slots: Iterable[WeightSlot] | None = None) -> None:
        """Set the faults of every layer, and none in layers without faults; strategies call it at every step.

        Args:
            faults: Faults of the layers that have any, by name.
            live: The record of the map and the rule that the faults come from.
            slots: The weights of the model that can hold faults, if they are known and checked already.
        """
        live = replace(live, layers=frozenset(faults))
        for entry in faulty_slots(self._model) if slots is None else slots:
            if entry.name in faults:
                entry.proxy.set_fault_slot(entry.slot, replace(faults[entry.name], origin=live))
            elif entry.proxy.fault_slot(entry.slot) is not None:
                entry.proxy.set_fault_slot(entry.slot, None)
        self._live = live

    def rule_or_default(self, rule: Rule | None) -> Rule:
        """Return the rule given, or the one that the model was placed with."""
        if rule is not None:
            check_type("rule", rule, Rule)
        return self._default if rule is None else rule

    def _check_live(self, slots: Iterable[WeightSlot]) -> None:
        for entry in slots:
            faults = entry.proxy.fault_slot(entry.slot)
            if (faults.origin if faults else None) is not (self._live if entry.name in self._live.layers else None):
                raise ValueError(
                    f"layer {entry.name!r}: something other than this placed model changed its faults, such as a second placed "
                    f"model of the same model, or restore; set or clear the faults again"
                )

    @contextmanager
    def _restoring(self, change: Callable[[], None]) -> Iterator[None]:
        live: Live | None = self._live
        before = [(entry, entry.proxy.fault_slot(entry.slot)) for entry in faulty_slots(self._model)]
        inside = self._live
        try:
            change()
            inside = self._live
            yield
        except GeneratorExit:
            # A generator that holds the block open may be closed much later; faults that were set since then stay.
            live = live if self._live is inside else None
            raise
        finally:
            if live is not None:
                self._live = live
                for entry, faults in before:
                    entry.proxy.set_fault_slot(entry.slot, faults)

    def __deepcopy__(self, memo: dict[int, Any]) -> PlacedState:
        # The placement is frozen and can be large; the twin shares it.
        twin = copy.copy(self)
        twin._model = copy.deepcopy(self._model, memo)
        return twin

    def __repr__(self) -> str:
        weights, layers = self._placement.weights, len(self._placement.layers)
        live = "given codes" if self._live.fixed else self._live.fault_map or "a healthy memory"
        return f"{type(self).__name__}({type(self._model).__name__}, {counted(weights, 'weight')}, layers: {layers}; {live})"


def _live_in(slots: Iterable[WeightSlot], placement: Placement) -> Live | None:
    """Return what another placed model of the same model and placement has set, so that both agree."""
    for entry in slots:
        faults = entry.proxy.fault_slot(entry.slot)
        if faults is not None and isinstance(faults.origin, Live) and faults.origin.placement == placement:
            return faults.origin
    return None
