"""Compute the certificate figures of one chip for many memory images, many times faster than one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.codes import Encoding, decode, encode, nearest_formula
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placement import MemoryImage, PlacedLayer, Placement
from tremap_brevitas.placement.certificate import Deployment
from tremap_brevitas.placement.stuck_bits import StuckBits


class Library:
    """Images stored in one array, so that all codes that a chip's faults hit are fetched at once.

    Args:
        images: The images.
        deployment: As for [certificate][tremap_brevitas.placement.certificate].
    """

    def __init__(self, images: Sequence[MemoryImage], *, deployment: Deployment) -> None:
        self._count, self._deployment = len(images), deployment
        placements = {image.placement.digest: image.placement for image in images}
        self._shelves = [
            _Shelf(placement, [(i, image) for i, image in enumerate(images) if image.placement.digest == digest])
            for digest, placement in placements.items()
        ]

    def read_by(self, fault_map: FaultMap) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return ``relative_error``, ``weights_that_differ`` and ``worst_error`` of a chip for each image."""
        squared, differ, worst = np.zeros(self._count), *np.zeros((2, self._count), dtype=np.int64)
        for shelf in self._shelves:
            for hits in shelf.hits(fault_map):
                for index, codes, signal in shelf.images[hits.kind]:
                    trained = codes[hits.weight].astype(np.int32)
                    error = hits.read(trained, self._deployment) - trained
                    differ[index] += np.count_nonzero(error)
                    worst[index] = max(worst[index], error.max(), -error.min())
                    squared[index] += np.square(error, dtype=np.float64) @ signal[hits.layer]
        return np.sqrt(squared), differ, worst


_Kind = tuple[int, Encoding]  # bits of a code, and how it is stored


class _Shelf:
    """The images that share one placement."""

    def __init__(self, placement: Placement, images: Sequence[tuple[int, MemoryImage]]) -> None:
        self._placement = placement
        self._rank = {layer.name: rank for rank, layer in enumerate(placement.layers)}
        kinds: dict[_Kind, list[PlacedLayer]] = {}
        for layer in placement.layers:
            kinds.setdefault((layer.bit_width, layer.encoding), []).append(layer)
        self._start: dict[str, int] = {}
        for layers in kinds.values():
            starts = np.cumsum([0, *(layer.size for layer in layers)]).tolist()
            self._start.update({layer.name: start for layer, start in zip(layers, starts, strict=False)})
        # For each kind: number of the image, its codes, and the weight of a squared error of 1 in each layer.
        self.images = {
            kind: [
                (
                    number,
                    np.concatenate([image.codes[layer.name].reshape(-1) for layer in layers]),
                    np.array([1 / max(image.squares[layer.name], 1.0) for layer in placement.layers]),
                )
                for number, image in images
            ]
            for kind, layers in kinds.items()
        }

    def hits(self, fault_map: FaultMap) -> list[_Hits]:
        """Return the weights that the chip's faults hit, by kind."""
        by_kind: dict[_Kind, list[StuckBits]] = {}
        for bits in self._placement.stuck_bits(fault_map):
            by_kind.setdefault((bits.layer.bit_width, bits.layer.encoding), []).append(bits)
        return [self._joined(kind, layers) for kind, layers in by_kind.items()]

    def _joined(self, kind: _Kind, layers: list[StuckBits]) -> _Hits:
        sizes = [len(bits.weight) for bits in layers]
        return _Hits(
            kind,
            np.concatenate([bits.weight + self._start[bits.layer.name] for bits in layers]),
            np.repeat([self._rank[bits.layer.name] for bits in layers], sizes),
            np.concatenate([bits.sa0 for bits in layers]),
            np.concatenate([bits.sa1 for bits in layers]),
        )


@dataclass(frozen=True, eq=False)
class _Hits:
    """Weights of one kind that faults hit, each listed once with all its stuck bits."""

    kind: _Kind
    weight: NDArray[np.int64]
    layer: NDArray[np.int64]
    sa0: NDArray[np.int32]
    sa1: NDArray[np.int32]

    def read(self, codes: NDArray[np.int32], deployment: Deployment) -> NDArray[np.int32]:
        """Return the codes that the chip reads when these codes are wanted."""
        bit_width, encoding = self.kind
        if deployment == "chip_image":
            read: NDArray[np.int32] = nearest_formula(codes, self.sa0, self.sa1, bit_width=bit_width, encoding=encoding)
            return read
        stored = encode(codes, bit_width=bit_width, encoding=encoding)
        return decode((stored | self.sa1) & ~self.sa0, bit_width=bit_width, encoding=encoding)
