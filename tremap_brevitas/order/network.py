"""A network prepared for reordering: its stored codes in one array, and how orders move them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tremap_brevitas.codes import encode
from tremap_brevitas.order.groups import ChannelGroup, Index, check_groups
from tremap_brevitas.placement import MemoryImage, PlacedLayer

Coordinates = list[Index]


@dataclass(frozen=True, eq=False)
class Step:
    """Effect of one group on one axis of one layer.

    Attributes:
        group: Number of the group.
        axis: Axis of the weight.
        index: Shape (channels, k): indices of each channel along the axis.
        slot: For each index along the axis, the slot that it belongs to; -1 for none.
        part: For each index along the axis, which of the k of its slot it is.
        within: Another axis, and for each index along that, whether the group acts there; None: everywhere.
    """

    group: int
    axis: int
    index: Index
    slot: Index
    part: Index
    within: tuple[int, NDArray[np.bool_]] | None

    def moves(self, coordinates: Coordinates) -> NDArray[np.bool_]:
        """Return which of these coordinates the group moves."""
        moved = self.slot[coordinates[self.axis]] >= 0
        if self.within is not None:
            other, only = self.within
            moved = moved & only[coordinates[other]]
        return moved

    def undo(self, coordinates: Coordinates, order: Index) -> Coordinates:
        """Return the coordinates before the step of what lies at these coordinates after it."""
        before = np.arange(len(self.slot))
        before[self.index] = self.index[order]
        result = list(coordinates)
        here = coordinates[self.axis]
        result[self.axis] = before[here]
        if self.within is not None:
            other, only = self.within
            result[self.axis] = np.where(only[coordinates[other]], result[self.axis], here)
        return result


@dataclass(frozen=True, eq=False)
class LayerSteps:
    """One layer: the start of its codes in the array of all stored codes, and the steps of the groups, in sequence."""

    layer: PlacedLayer
    offset: int
    strides: tuple[int, ...]
    steps: tuple[Step, ...]

    def coordinates(self, weight: Index) -> Coordinates:
        """Return the index along every axis for flat indices."""
        return list(np.unravel_index(weight, self.layer.shape))

    def at(self, coordinates: Coordinates) -> Index:
        """Return the index into the array of all stored codes."""
        terms = [c * s for c, s in zip(coordinates, self.strides, strict=True)]
        terms.sort(key=lambda term: term.size)  # small ones first: only the last sums are of hits × channels
        flat = np.int64(self.offset) + terms[0]
        for term in terms[1:]:
            flat = flat + term
        return flat

    def source(self, coordinates: Coordinates, orders: Sequence[Index]) -> Index:
        """Return which stored code lies at these coordinates with given orders of the groups."""
        for step in reversed(self.steps):
            coordinates = step.undo(coordinates, orders[step.group])
        return self.at(coordinates)


class Network:
    """An image and its groups of channels; prepared once, used for every chip.

    Args:
        image: The network's codes, and where they lie.
        groups: Its groups of channels.
        importance: For each layer by name the cost of an error of each weight, in the shape of the weight, not negative;
            layers that are missing have cost 1 over the sum of their squared codes.

    Raises:
        ValueError: If the groups are not of this network, or an importance is of no layer, of another shape or negative.
    """

    def __init__(
        self, image: MemoryImage, groups: Sequence[ChannelGroup], *, importance: Mapping[str, ArrayLike] | None = None
    ) -> None:
        self.image, self.groups = image, tuple(groups)
        check_groups(self.groups, image.placement)
        steps: dict[str, list[Step]] = {layer.name: [] for layer in image.placement.layers}
        for number, group in enumerate(self.groups):
            for side in group.sides:
                shape = image.placement.layer(side.layer).shape
                slot = np.full(shape[side.axis], -1)
                part = np.zeros(shape[side.axis], dtype=np.int64)
                slot[side.index] = np.arange(side.channels)[:, None]
                part[side.index] = np.arange(side.index.shape[1])
                within = None
                if side.within is not None:
                    other, only = side.within
                    within = (other, np.isin(np.arange(shape[other]), only))
                steps[side.layer].append(Step(number, side.axis, side.index, slot, part, within))
        self.layers: list[LayerSteps] = []
        offset = 0
        for layer in image.placement.layers:
            strides = tuple(int(n) for n in np.append(np.cumprod(layer.shape[:0:-1])[::-1], 1))
            self.layers.append(LayerSteps(layer, offset, strides, tuple(steps[layer.name])))
            offset += layer.size
        self._weighed = frozenset(importance or {})
        self.importance = self._importances(importance or {})

    @cached_property
    def stored(self) -> NDArray[np.unsignedinteger]:
        """Stored bits of every code, layer after layer."""
        wide = max(layer.bit_width for layer in self.image.placement.layers) > 8
        return np.concatenate(
            [
                encode(self.image.codes[layer.name].reshape(-1), bit_width=layer.bit_width, encoding=layer.encoding).astype(
                    np.uint16 if wide else np.uint8
                )
                for layer in self.image.placement.layers
            ]
        )

    @cached_property
    def scales(self) -> list[float]:
        """Factor of a squared error in each layer, beside its importance.

        1 where importances are given, which contain everything; else 1 over the sum of the layer's squared codes.
        """
        return [
            1.0 if layer.name in self._weighed else 1 / max(self.image.squares[layer.name], 1.0)
            for layer in self.image.placement.layers
        ]

    @property
    def identity(self) -> list[Index]:
        """The orders that move nothing."""
        return [np.arange(group.channels) for group in self.groups]

    @property
    def importance_digest(self) -> str | None:
        """SHA-256 over the importances; None if there are none."""
        return None if self.importance is None else hashlib.sha256(self.importance.astype("<f8").tobytes()).hexdigest()

    def _importances(self, given: Mapping[str, ArrayLike]) -> NDArray[np.float64] | None:
        """Return the importances of all stored codes; None if there are none."""
        if not given:
            return None
        names = [layer.name for layer in self.image.placement.layers]
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise ValueError(f"importance of layers {unknown}, but there are {', '.join(names)}")
        result = np.ones(self.image.placement.weights)
        for entry in self.layers:
            if entry.layer.name in given:
                values = np.asarray(given[entry.layer.name], dtype=np.float64)
                if values.shape != entry.layer.shape or not np.all((values >= 0) & np.isfinite(values)):
                    raise ValueError(
                        f"importance of layer {entry.layer.name!r} must be finite, not negative and of shape "
                        f"{entry.layer.shape}, got shape {values.shape}, least {values.min(initial=0)}"
                    )
                result[entry.offset : entry.offset + entry.layer.size] = values.reshape(-1)
        return result
