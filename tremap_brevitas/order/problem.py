"""One chip and one network: which codes are wrong in given orders, and the cost of each channel in each slot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tremap_brevitas.codes import decode, nearest_reachable
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.order.cost import squared_errors, wrong_codes
from tremap_brevitas.order.faults_in_slots import StuckCodes, stuck_codes
from tremap_brevitas.order.groups import Index
from tremap_brevitas.order.network import Coordinates, LayerSteps, Network, Step
from tremap_brevitas.placement import LayerDifference

_BLOCK = 1 << 22  # entries of an array of hits × channels that is made at once
_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class LayerHits:
    """The hits of one layer; their numbers start at ``first``."""

    entry: LayerSteps
    stuck: StuckCodes
    coordinates: Coordinates
    first: int


@dataclass(frozen=True, eq=False)
class SlotCosts:
    """Cost of each channel in each slot that is hit.

    Attributes:
        slots: Slots of a group that are hit, ascending.
        costs: Shape (slots hit, channels).
    """

    slots: Index
    costs: NDArray[np.float64]


class Problem:
    """The positions hit by a chip's stuck cells ("hits"), and the codes that may be stored there.

    Only hits are considered: time and memory grow with hits times channels of a group.

    Args:
        network: The network.
        chip: The chip's fault map.

    Raises:
        ValueError: If image and map are of different memories.
    """

    def __init__(self, network: Network, chip: FaultMap) -> None:
        check_memory(chip, network.image.placement.memory, whose="the image's")
        self.network = network
        self.layers: list[LayerHits] = []
        first = 0
        for stuck in stuck_codes(network.image.placement, chip):
            entry = network.layers[stuck.layer]
            self.layers.append(LayerHits(entry, stuck, entry.coordinates(stuck.weight), first))
            first += len(stuck.weight)
        self.hits = first

    def wrong(self, orders: Sequence[Index]) -> NDArray[np.bool_]:
        """Return which hits are misread in these orders."""
        result = np.zeros(self.hits, dtype=bool)
        for hits in self.layers:
            stored = self.network.stored[hits.entry.source(hits.coordinates, orders)]
            result[_numbers(hits)] = wrong_codes(stored, hits.stuck.sa0, hits.stuck.sa1, hits.entry.layer)
        return result

    def harm(self, orders: Sequence[Index]) -> NDArray[np.float64]:
        """Return the squared error of each hit times its importance, or over its layer's squared codes, with nearest codes."""
        result = np.zeros(self.hits)
        for hits in self.layers:
            at = hits.entry.source(hits.coordinates, orders)
            result[_numbers(hits)] = self._harm(hits, _ALL, at)
        return result

    def differences(self, orders: Sequence[Index]) -> tuple[LayerDifference, ...]:
        """Return what the chip reads differently in these orders, in slots, with the nearest codes stored."""
        result = []
        for hits in self.layers:
            layer, stuck = hits.entry.layer, hits.stuck
            stored = self.network.stored[hits.entry.source(hits.coordinates, orders)]
            wanted = decode(stored, bit_width=layer.bit_width, encoding=layer.encoding)
            read = nearest_reachable(wanted, sa0=stuck.sa0, sa1=stuck.sa1, bit_width=layer.bit_width, encoding=layer.encoding)
            wrong = read != wanted
            if wrong.any():
                result.append(LayerDifference(layer.name, stuck.weight[wrong], wanted[wrong], read[wrong]))
        return tuple(result)

    def touching(self, orders: Sequence[Index], some: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Count for each group how many of some hits it moves."""
        counts = np.zeros(len(orders), dtype=np.int64)
        for step, hits, _, moved in self._steps(None, orders):
            counts[step.group] += np.count_nonzero(some[_numbers(hits)][moved])
        return counts

    def costs(
        self,
        group: int,
        orders: Sequence[Index],
        weights: NDArray[np.float64] | None,
        *,
        harm: float = 0.0,
        only: NDArray[np.bool_] | None = None,
    ) -> SlotCosts:
        """Return the cost of each channel of a group in each of its slots, with the other groups' orders fixed.

        Args:
            group: Number of the group.
            orders: Current orders.
            weights: Cost of each hit that is wrong. None: 1 each.
            harm: Cost of one unit of harm, in addition.
            only: The hits that count; None: all.
        """
        channels = self.network.groups[group].channels
        rows: list[tuple[Index, NDArray[np.float64]]] = []
        for step, hits, coordinates, moved in self._steps(group, orders):
            chosen = np.flatnonzero(moved if only is None else moved & only[_numbers(hits)])
            for begin in range(0, len(chosen), max(1, _BLOCK // channels)):
                block = chosen[begin : begin + max(1, _BLOCK // channels)]
                rows.append(self._block(step, hits, coordinates, block, orders, weights, harm))
        if not rows:
            return SlotCosts(np.empty(0, dtype=np.int64), np.empty((0, channels)))
        slots, at = np.unique(np.concatenate([slot for slot, _ in rows]), return_inverse=True)
        total = np.zeros((len(slots), channels))
        begin = 0
        for slot, values in rows:
            row = at[begin : begin + len(slot)]
            total[row] += values  # the slots of one block differ
            begin += len(slot)
        return SlotCosts(slots, total)

    def _block(
        self,
        step: Step,
        hits: LayerHits,
        coordinates: Coordinates,
        block: Index,
        orders: Sequence[Index],
        weights: NDArray[np.float64] | None,
        harm: float,
    ) -> tuple[Index, NDArray[np.float64]]:
        """Return the slots of some hits, each once, and the costs there."""
        here = [axis[block] for axis in coordinates]
        position = here[step.axis]
        slot, part = step.slot[position], step.part[position]
        wide = [axis[:, None] for axis in here]
        wide[step.axis] = step.index.T[part]
        steps = hits.entry.steps
        for earlier in reversed(steps[: steps.index(step)]):
            wide = earlier.undo(wide, orders[earlier.group])
        at = hits.entry.at(wide)
        stuck = hits.stuck
        wrong = wrong_codes(self.network.stored[at], stuck.sa0[block, None], stuck.sa1[block, None], hits.entry.layer)
        values = wrong.astype(np.float64)
        count = np.ones(len(block)) if weights is None else weights[hits.first + block]
        slots, row = np.unique(slot, return_inverse=True)
        if harm:
            values *= count[:, None]
            values += harm * self._harm(hits, block, at)
            count = np.ones(len(block))
        gather = csr_matrix((count, (row, np.arange(len(block)))), shape=(len(slots), len(block)))
        return slots, gather @ values

    def _harm(self, hits: LayerHits, which: Index | slice, at: Index) -> NDArray[np.float64]:
        zeros, ones = hits.stuck.sa0[which], hits.stuck.sa1[which]
        if at.ndim == 2:
            zeros, ones = zeros[:, None], ones[:, None]
        values = squared_errors(self.network.stored[at], zeros, ones, hits.entry.layer)
        values *= self.network.scales[hits.stuck.layer]
        if self.network.importance is not None:
            values *= self.network.importance[at]
        return values

    def _steps(
        self, group: int | None, orders: Sequence[Index]
    ) -> Iterator[tuple[Step, LayerHits, Coordinates, NDArray[np.bool_]]]:
        """Return the steps of one group, or of all, with coordinates after each step and the hits that it moves."""
        for hits in self.layers:
            coordinates = hits.coordinates
            if group is not None and all(step.group != group for step in hits.entry.steps):
                continue
            for step in reversed(hits.entry.steps):
                if group is None or step.group == group:
                    yield step, hits, coordinates, step.moves(coordinates)
                coordinates = step.undo(coordinates, orders[step.group])


def _numbers(hits: LayerHits) -> slice:
    return slice(hits.first, hits.first + len(hits.stuck.weight))
