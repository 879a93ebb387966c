"""What one chip reads of one memory image, from the files alone. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.codes import decode, encode, nearest_reachable
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.placement.image import MemoryImage
from tremap_brevitas.placement.layer import LayerSites

Deployment = Literal["group_image", "chip_image"]


@dataclass(frozen=True, eq=False)
class LayerDifference:
    """Weights of one layer that a chip reads differently.

    Attributes:
        layer: Name of the layer.
        weight: Flat, row-major indices, ascending.
        trained: Codes that the network was trained with.
        read: Codes that the chip reads.
    """

    layer: str
    weight: NDArray[np.int64]
    trained: NDArray[np.int32]
    read: NDArray[np.int32]


@dataclass(frozen=True, eq=False, repr=False)
class Certificate:
    """What one chip makes of one memory image.

    Attributes:
        chip: Name of the chip.
        image: The image that the certificate is for.
        differences: For each layer that is affected, the weights that read differently.
    """

    chip: str
    image: MemoryImage
    differences: tuple[LayerDifference, ...]

    @property
    def bit_exact(self) -> bool:
        """Whether the chip computes exactly the network that was trained."""
        return not self.differences

    @property
    def weights_that_differ(self) -> int:
        """Number of weights that read differently."""
        return sum(len(d.weight) for d in self.differences)

    @property
    def worst_error(self) -> int:
        """Largest difference, in LSB."""
        return max((int(np.abs(d.read - d.trained).max()) for d in self.differences), default=0)

    @property
    def rms_error(self) -> float:
        """Root of the mean squared difference over all weights of the image, in LSB."""
        squares = sum(float(np.square((d.read - d.trained).astype(np.float64)).sum()) for d in self.differences)
        return float(np.sqrt(squares / self.image.placement.weights))

    @property
    def relative_error(self) -> float:
        """Root of the sum over layers of squared differences over squared codes: noise to signal, all layers together.

        A difference counts for more in a layer of small codes or of few weights, which is where it does more harm.
        """
        total = 0.0
        for d in self.differences:
            wrong = float(np.square(d.read - d.trained, dtype=np.float64).sum())
            total += wrong / max(self.image.squares[d.layer], 1.0)
        return float(np.sqrt(total))

    def read(self) -> dict[str, NDArray[Any]]:
        """All codes that the chip reads, by layer."""
        return with_differences(self.image.codes, self.differences)

    def __repr__(self) -> str:
        verdict = (
            "bit-exact" if self.bit_exact else f"{self.weights_that_differ} weights differ, by {self.worst_error} LSB at most"
        )
        return f"Certificate(chip {self.chip!r}: {verdict})"


def certificate(image: MemoryImage, chip: FaultMap, *, deployment: Deployment = "group_image") -> Certificate:
    """Work out which weights a chip reads differently from what was trained, and by how much.

    Only faults and stored bits are looked at: no network is run. A chip whose stuck values equal the stored bits
    is *bit-exact*, member of the group or not, and its accuracy is the network's by construction.

    Args:
        image: The codes that the network was trained with (its read-back codes).
        chip: The chip's own fault map.
        deployment: ``"group_image"``: the image is written as it is, the same for every chip. ``"chip_image"``: each chip gets
            its own, in which every trained code is replaced by the nearest that the chip can hold.

    Raises:
        ValueError: If image and map are of different memories, or ``deployment`` is unknown.

    Examples:
        >>> from tremap_brevitas import FaultMap, Memory
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> memory = Memory(words=1, word_bits=16)
        >>> placement = linear_placement([LayerCodes("fc", (2,), 8, "twos_complement")], memory)
        >>> image = MemoryImage(placement, {"fc": [3, -1]})
        >>> certificate(image, FaultMap(memory, cells=[0, 15], stuck_at=[1, 1], chip="good"))
        Certificate(chip 'good': bit-exact)
        >>> certificate(image, FaultMap(memory, cells=[15], stuck_at=[0], chip="bad"))
        Certificate(chip 'bad': 1 weights differ, by 128 LSB at most)
    """
    check_deployment(deployment)
    placement = image.placement
    check_memory(chip, placement.memory, whose="the image's")
    wrong = wrong_cells(image, chip)
    if not wrong.any():
        return Certificate(chip.chip, image, ())
    hit = placement.sites(chip.cells[wrong])
    if deployment == "group_image":
        stuck_at = chip.stuck_at[wrong]
        found = [_misread(image, sites, stuck_at) for sites in hit]
    else:
        # All stuck bits of a weight, not only the wrong ones: the nearest reachable code depends on every one of them.
        weights = {sites.layer.name: _grouped(sites)[0] for sites in hit}
        found = [
            _rewritten(image, chip, sites, weights[sites.layer.name])
            for sites in placement.sites(chip.cells)
            if sites.layer.name in weights
        ]
    return Certificate(chip.chip, image, tuple(difference for difference in found if len(difference.weight)))


def check_deployment(deployment: str) -> None:
    """Check it.

    Raises:
        ValueError: If it is unknown.
    """
    if deployment not in ("group_image", "chip_image"):
        raise ValueError(f"deployment must be 'group_image' or 'chip_image', got {deployment!r}")


def wrong_cells(image: MemoryImage, chip: FaultMap) -> NDArray[np.bool_]:
    """Which of a chip's stuck cells do not hold what is stored there, in any tile."""
    wrong = np.zeros(len(chip), dtype=bool)
    for tile in range(image.placement.tiles):
        cell = chip.cells + tile * image.placement.memory.cells
        stored = (image.bits[cell >> 3] >> (cell & 7).astype(np.uint8)) & 1
        wrong |= stored != chip.stuck_at
    return wrong


def _grouped(sites: LayerSites) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None]:
    """Weights hit, ascending; where the sites of each begin; the order that brings a weight's sites together, if not as is."""
    order, weight = None, sites.weight
    if sites.layer.order is not None:
        order = np.argsort(weight, kind="stable")
        weight = weight[order]
    first = np.flatnonzero(np.append(True, weight[1:] != weight[:-1]))
    return weight[first], first, order


def _misread(image: MemoryImage, sites: LayerSites, stuck_at: NDArray[np.uint8]) -> LayerDifference:
    """What a chip reads when these are its wrong bits (in a reused memory: wrong in some tile)."""
    layer = sites.layer
    weights, first, order = _grouped(sites)
    bits, stuck = np.left_shift(1, sites.bit), stuck_at[sites.source]
    if order is not None:
        bits, stuck = bits[order], stuck[order]
    ones = np.add.reduceat(bits * stuck, first).astype(np.int32)
    zeros = np.add.reduceat(bits, first).astype(np.int32) - ones
    trained = image.codes[layer.name].reshape(-1)[weights].astype(np.int32)
    stored = encode(trained, bit_width=layer.bit_width, encoding=layer.encoding)
    read = decode((stored | ones) & ~zeros, bit_width=layer.bit_width, encoding=layer.encoding)
    return _where_changed(layer.name, weights, trained, read)


def _rewritten(image: MemoryImage, chip: FaultMap, sites: LayerSites, weights: NDArray[np.int64]) -> LayerDifference:
    """What a chip reads when these weights are written to it as the nearest code that it can hold."""
    layer = sites.layer
    at = np.minimum(np.searchsorted(weights, sites.weight), len(weights) - 1)
    mine = weights[at] == sites.weight
    bits = np.left_shift(1, sites.bit[mine])
    stuck = chip.stuck_at[sites.source[mine]]
    # Every bit of a weight appears once, so that a sum of bits is their union; floats hold 16 bits exactly.
    sa0, sa1 = (
        np.bincount(at[mine][stuck == value], weights=bits[stuck == value], minlength=len(weights)).astype(np.int32)
        for value in (0, 1)
    )
    trained = image.codes[layer.name].reshape(-1)[weights].astype(np.int32)
    read = nearest_reachable(trained, sa0=sa0, sa1=sa1, bit_width=layer.bit_width, encoding=layer.encoding)
    return _where_changed(layer.name, weights, trained, read)


def _where_changed(
    layer: str, weights: NDArray[np.int64], trained: NDArray[np.int32], read: NDArray[np.int32]
) -> LayerDifference:
    changed = read != trained
    if changed.all():
        return LayerDifference(layer, weights, trained, read)
    return LayerDifference(layer, weights[changed], trained[changed], read[changed])


def with_differences(codes: Mapping[str, NDArray[Any]], differences: Iterable[LayerDifference]) -> dict[str, NDArray[Any]]:
    """Codes as they are read; layers without a difference are the arrays given."""
    read = dict(codes)
    for difference in differences:
        changed = np.array(read[difference.layer])
        changed.reshape(-1)[difference.weight] = difference.read
        read[difference.layer] = changed
    return read


def certificate_of(
    chip: str, image: MemoryImage, read: Mapping[str, NDArray[Any]], *, layers: Iterable[str] | None = None
) -> Certificate:
    """Certificate from the codes that a chip is known to read, whatever was written to it.

    Args:
        chip: Name of the chip.
        image: The codes that the network was trained with.
        read: What the chip reads, by layer, in the shape of the weight.
        layers: Layers that are looked at, the others being known to be right; None for all.
    """
    differences = []
    for name in image.codes if layers is None else [name for name in image.codes if name in set(layers)]:
        trained = image.codes[name]
        flat, found = trained.reshape(-1), read[name].reshape(-1)
        weights = np.flatnonzero(flat != found)
        if len(weights):
            differences.append(LayerDifference(name, weights, flat[weights].astype(np.int32), found[weights].astype(np.int32)))
    return Certificate(chip, image, tuple(differences))
