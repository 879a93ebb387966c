"""Compare what one chip reads of a memory image with what was trained. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.placement.chip_result import ChipResult
from tremap_brevitas.placement.image import MemoryImage
from tremap_brevitas.placement.stuck_bits import StuckBits, merged_bits

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
    """Comparison of the codes that one chip reads with those of the memory image.

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
        """Whether the chip computes exactly the trained network."""
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
    def result(self) -> ChipResult:
        """Summary in figures; the accuracy is NaN because it is not measured."""
        return ChipResult(self.chip, weights_that_differ=self.weights_that_differ, worst_error=self.worst_error)

    @property
    def rms_error(self) -> float:
        """Root mean square difference over all weights of the image, in LSB."""
        squares = sum(float(np.square((d.read - d.trained).astype(np.float64)).sum()) for d in self.differences)
        return float(np.sqrt(squares / self.image.placement.weights))

    @property
    def relative_error(self) -> float:
        """Noise-to-signal ratio: root of the sum over layers of squared differences over squared codes.

        A difference counts for more in a layer of small codes or of few weights, which is where it does more harm.
        """
        total = 0.0
        for d in self.differences:
            wrong = float(np.square(d.read - d.trained, dtype=np.float64).sum())
            total += wrong / max(self.image.squares[d.layer], 1.0)
        return float(np.sqrt(total))

    def read(self) -> dict[str, NDArray[Any]]:
        """Return all codes that the chip reads, by layer."""
        return with_differences(self.image.codes, self.differences)

    def __repr__(self) -> str:
        return f"Certificate(chip {self.chip!r}: {self.result})"


def certificate(image: MemoryImage, fault_map: FaultMap, *, deployment: Deployment = "group_image") -> Certificate:
    """Determine which weights a chip reads differently from what was trained, and by how much.

    Only faults and stored bits are compared: no network is run. A chip whose stuck values equal the stored bits
    is *bit-exact*, member of the group or not, and its accuracy is the network's by construction.

    Args:
        image: The codes that the network was trained with (its read-back codes).
        fault_map: The chip's own fault map.
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
        Certificate(chip 'bad': 1 weight differs, by 128 LSB at most)
    """
    check_deployment(deployment)
    placement = image.placement
    check_memory(fault_map, placement.memory, whose="the image's")
    wrong = (image.stored(fault_map.cells) != fault_map.stuck_at).any(axis=0)
    if not wrong.any():
        return Certificate(fault_map.chip, image, ())
    if deployment == "group_image":
        hit = merged_bits(placement.sites(fault_map.cells[wrong]), fault_map.stuck_at[wrong])
        differences = [_misread(image, bits) for bits in hit]
    else:
        # All stuck bits of a weight, not only the wrong ones: the nearest reachable code depends on every one of them.
        differences = [_rewritten(image, bits) for bits in placement.stuck_bits(fault_map)]
    return Certificate(fault_map.chip, image, tuple(d for d in differences if len(d.weight)))


def check_deployment(deployment: str) -> None:
    """Check the name of a deployment.

    Raises:
        ValueError: If it is unknown.
    """
    if deployment not in ("group_image", "chip_image"):
        raise ValueError(f"deployment must be 'group_image' or 'chip_image', got {deployment!r}")


def _misread(image: MemoryImage, bits: StuckBits) -> LayerDifference:
    """Return what a chip reads when these bits are wrong (in a reused memory: wrong in some tile)."""
    trained = image.codes[bits.layer.name].reshape(-1)[bits.weight].astype(np.int32)
    return _where_changed(bits.layer.name, bits.weight, trained, bits.read_back(trained))


def _rewritten(image: MemoryImage, bits: StuckBits) -> LayerDifference:
    """Return what a chip reads when its weights are written to it as the nearest code that it can hold."""
    trained = image.codes[bits.layer.name].reshape(-1)[bits.weight].astype(np.int32)
    wrong = bits.activated(trained) != 0
    bits, trained = bits.at(wrong), trained[wrong]
    return _where_changed(bits.layer.name, bits.weight, trained, bits.nearest(trained))


def _where_changed(
    layer: str, weights: NDArray[np.int64], trained: NDArray[np.int32], read: NDArray[np.int32]
) -> LayerDifference:
    changed = read != trained
    if changed.all():
        return LayerDifference(layer, weights, trained, read)
    return LayerDifference(layer, weights[changed], trained[changed], read[changed])


def with_differences(codes: Mapping[str, NDArray[Any]], differences: Iterable[LayerDifference]) -> dict[str, NDArray[Any]]:
    """Return the codes as they are read; layers without a difference are the given arrays."""
    read = dict(codes)
    for difference in differences:
        changed = np.array(read[difference.layer])
        changed.reshape(-1)[difference.weight] = difference.read
        read[difference.layer] = changed
    return read


def certificate_of(
    chip: str, image: MemoryImage, read: Mapping[str, NDArray[Any]], *, layers: Iterable[str] | None = None
) -> Certificate:
    """Create a certificate from the codes that a chip is known to read, whatever was written to it.

    Args:
        chip: Name of the chip.
        image: The codes that the network was trained with.
        read: Codes that the chip reads, by layer, in the shape of the weight.
        layers: Layers to compare, if all others are known to be equal; None for all.
    """
    differences = []
    wanted = set(image.codes) if layers is None else set(layers)
    for name in [name for name in image.codes if name in wanted]:
        trained, got = image.codes[name].reshape(-1), read[name].reshape(-1)
        weights = np.flatnonzero(trained != got)
        if len(weights):
            differences.append(LayerDifference(name, weights, trained[weights].astype(np.int32), got[weights].astype(np.int32)))
    return Certificate(chip, image, tuple(differences))
