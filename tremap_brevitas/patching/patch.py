"""Choose new codes where a chip would misread them, from a bundle's image, its moments and the chip's map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from tremap_brevitas.codes import code_range, nearest_reachable
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.moments import InputMoments, LayerMoments
from tremap_brevitas.patching.descent import descend
from tremap_brevitas.patching.reachable import Reachable
from tremap_brevitas.placement import MemoryImage, PlacedLayer, Placement, StuckBits
from tremap_brevitas.placement.certificate import Certificate, LayerDifference, certificate, certificate_of
from tremap_brevitas.printable import counted, printable

Masks = tuple[NDArray[np.int32], NDArray[np.int32]]


@dataclass(frozen=True)
class PatchedLayer:
    """Result for one layer that a chip misreads.

    Attributes:
        layer: Its name.
        channels: Output channels that were chosen anew.
        differ_before: Weights that the chip reads differently from the trained ones if it is given the image as it is.
        differ_after: Weights that it reads differently from the trained ones once it is patched.
        before: Error of the layer's output with the image as it is: root mean square over that of the output; None where the
            inputs of the layer have no moments.
        nearest: The same with the nearest codes that the chip can hold.
        after: The same with the codes chosen.
        reason: Why the layer has its nearest codes; empty if they were chosen by its output.
    """

    layer: str
    channels: int
    differ_before: int
    differ_after: int
    before: float | None
    nearest: float | None
    after: float | None
    reason: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Patch:
    """Memory image chosen for one chip.

    Attributes:
        chip: Name of the chip.
        image: The codes to write into it: the chip reads exactly these.
        before: Certificate of the chip for the image that was patched.
        after: Certificate of its own codes, compared with the trained ones.
        layers: The layers that were hit.
    """

    chip: str
    image: MemoryImage
    before: Certificate
    after: Certificate
    layers: tuple[PatchedLayer, ...]

    @property
    def error_before(self) -> float:
        """Root of the summed squared relative errors of the layers' outputs, with the original image."""
        return _combined(layer.before for layer in self.layers)

    @property
    def nearest_error(self) -> float:
        """The same error with the nearest codes."""
        return _combined(layer.nearest for layer in self.layers)

    @property
    def error(self) -> float:
        """The same error with the chosen codes."""
        return _combined(layer.after for layer in self.layers)

    def __str__(self) -> str:
        rows = [
            (
                printable(r.layer),
                r.channels,
                f"{r.differ_before} -> {r.differ_after}",
                *("unknown" if e is None else f"{e:.4f}" for e in (r.before, r.nearest, r.after)),
                r.reason,
            )
            for r in self.layers
        ]
        heads = ["layer", "channels", "weights that differ", "as written", "nearest codes", "patched", "note"]
        table = tabulate(rows, heads, tablefmt="plain", disable_numparse=True, colalign=("left", *["right"] * 5, "left"))
        table = "\n".join(line.rstrip() for line in table.splitlines())
        return (
            f"{table}\nchip {printable(self.chip)!r}: weights that differ {self.before.weights_that_differ} -> "
            f"{self.after.weights_that_differ}; relative error of the outputs, all layers together: {self.error_before:.4f} as "
            f"written, {self.nearest_error:.4f} with the nearest codes, {self.error:.4f} patched"
        )

    def __repr__(self) -> str:
        return f"Patch({self.chip!r}, {counted(len(self.layers), 'layer')}, error {self.error_before:.4g} -> {self.error:.4g})"


def patch(image: MemoryImage, moments: InputMoments, fault_map: FaultMap, *, sweeps: int = 1, progress: bool = True) -> Patch:
    """Choose the codes of every output channel that a chip misreads, to minimize the error of the channel's output.

    All other channels keep their codes. Neither data nor a network is needed: the moments give the effect of an error of one
    weight on an output, and which other weights can cancel it. Layers without moments (biases, embeddings) get their nearest
    codes.

    Args:
        image: The codes that the network was trained with.
        moments: Moments of its layers' inputs.
        fault_map: The chip's own fault map, with all of its stuck cells.
        sweeps: Passes over the weights of a channel.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ValueError: If image, moments and map do not belong together, or the chip reads every code correctly.

    Examples:
        The two inputs are always equal. The first weight, 5, has its lowest bit stuck at 0: the second one compensates for it.

        >>> from tremap_brevitas import Memory
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> placement = linear_placement([LayerCodes("fc", (1, 2), 8, "twos_complement")], Memory(words=1, word_bits=16))
        >>> image = MemoryImage(placement, {"fc": [[5, 7]]})
        >>> layer = LayerMoments.of("fc", [[[1, 1], [1, 1]]], [[0, 0]], [[[5, 7]]], 0.5, samples=9)
        >>> moments, chip = InputMoments({"fc": layer}, image.digest), FaultMap(placement.memory, [0], [0], "A7")
        >>> patched = patch(image, moments, chip, progress=False)
        >>> patched.image.codes["fc"].tolist(), patched.after.weights_that_differ
        ([[4, 8]], 2)
        >>> print(patched)
        layer      channels    weights that differ    as written    nearest codes    patched  note
        fc                1                 1 -> 2        0.0833           0.0833     0.0000
        chip 'A7': weights that differ 1 -> 2; relative error of the outputs, all layers together: 0.0833 as written,
            0.0833 with the nearest codes, 0.0000 patched
    """
    if sweeps < 1:
        raise ValueError(f"sweeps must be at least 1, got {sweeps}")
    check_memory(fault_map, image.placement.memory, whose="the image's")
    if moments.image != image.digest:
        raise ValueError(f"the moments belong to an image of digest {moments.image}, but this one's is {image.digest}")
    before = certificate(image, fault_map)
    if before.bit_exact:
        raise ValueError(f"chip {fault_map.chip!r} reads every code of the image correctly: there is nothing to patch")
    return patched(before, moments, stuck_masks(image.placement, fault_map), sweeps=sweeps, progress=progress)


def patched(before: Certificate, moments: InputMoments, masks: Mapping[str, Masks], *, sweeps: int, progress: bool) -> Patch:
    """Choose codes anew for a chip whose stuck bits are given weight by weight.

    Args:
        before: Certificate of the chip for the image.
        moments: Moments of the layers' inputs.
        masks: For each layer that is hit, masks of the bits of each weight that are stuck at 0, and at 1.
        sweeps: Passes over the weights of a channel.
        progress: Whether to show a progress bar on standard error.
    """
    image, codes, layers = before.image, dict(before.image.codes), []
    wrong = {difference.layer: difference for difference in before.differences}
    hit = [placed for placed in image.placement.layers if placed.name in wrong]
    for placed in tqdm(hit, desc="patching", unit="layer", leave=False, disable=not progress):
        name = placed.name
        stuck = _Stuck(placed, *(mask.reshape(-1) for mask in masks[name]))
        layer = moments.layers.get(name)
        if layer is None:
            codes[name], layer_report = _nearest(codes[name], stuck, wrong[name])
        else:
            codes[name], layer_report = _chosen(codes[name], stuck, wrong[name], layer, sweeps)
        layers.append(layer_report)
    chosen = MemoryImage(image.placement, codes)
    # The chosen codes are those read back; certificate(chosen, fault_map) proves it.
    after = certificate_of(before.chip, image, chosen.codes, layers=wrong)
    return Patch(before.chip, chosen, before, after, tuple(layers))


def stuck_masks(placement: Placement, fault_map: FaultMap) -> dict[str, Masks]:
    """Return, for each layer that a chip's stuck cells hit, masks of the bits of each weight that are stuck at 0, and at 1.

    In the shape of the weight.
    """
    return {bits.layer.name: _masks(bits) for bits in placement.stuck_bits(fault_map)}


def _masks(bits: StuckBits) -> Masks:
    sa0, sa1 = np.zeros((2, bits.layer.size), dtype=np.int32)
    sa0[bits.weight], sa1[bits.weight] = bits.sa0, bits.sa1
    return sa0.reshape(bits.layer.shape), sa1.reshape(bits.layer.shape)


@dataclass(frozen=True, eq=False)
class _Stuck:
    """Stuck bits of the weights of a layer, flat."""

    layer: PlacedLayer
    sa0: NDArray[np.int32]
    sa1: NDArray[np.int32]


_Chosen = tuple[NDArray[np.integer[Any]], PatchedLayer]


def _nearest(codes: NDArray[np.integer[Any]], stuck: _Stuck, wrong: LayerDifference) -> _Chosen:
    """Replace misread codes by the nearest readable ones."""
    layer, chosen = stuck.layer, codes.astype(np.int32).reshape(-1)
    at = wrong.weight
    chosen[at] = nearest_reachable(
        chosen[at], sa0=stuck.sa0[at], sa1=stuck.sa1[at], bit_width=layer.bit_width, encoding=layer.encoding
    )
    differ = int((chosen != codes.reshape(-1)).sum())
    reason = "no moments of its inputs: nearest codes"
    return chosen.reshape(codes.shape), PatchedLayer(layer.name, 0, len(at), differ, None, None, None, reason)


def _chosen(
    codes: NDArray[np.integer[Any]], stuck: _Stuck, wrong: LayerDifference, moments: LayerMoments, sweeps: int
) -> _Chosen:
    layer, shape = stuck.layer, codes.shape
    hit = np.unique(moments.places(wrong.weight, shape)[0])
    first = code_range(bit_width=layer.bit_width, encoding=layer.encoding)[0]
    # A quantizer of a narrow range leaves out the lowest code of the memory; so does this, unless stuck bits force it.
    lowest = first + int(first < 0 and int(codes.min()) > first)
    flat, read = codes.reshape(-1), codes.reshape(-1).copy()
    read[wrong.weight] = wrong.read
    squares = np.zeros(3)
    differ = 0
    for group in np.unique(hit // moments.rows).tolist():
        inside = hit[hit // moments.rows == group]
        at, scale = moments.weights(inside, shape), moments.scale[group][inside % moments.rows]
        wanted = flat[at].astype(np.float64)
        reachable = Reachable(stuck.sa0[at], stuck.sa1[at], bit_width=layer.bit_width, encoding=layer.encoding, lowest=lowest)
        chosen = descend(wanted, reachable, scale, moments, group, sweeps=sweeps)
        as_written = moments.squared(group, (read[at] - wanted) * scale)
        squares += [as_written.sum(), chosen.nearest.sum(), chosen.error.sum()]
        read[at] = np.rint(chosen.codes)
        differ += int((chosen.codes != wanted).sum())
    before, nearest, after = np.sqrt(squares / (moments.power.sum() or 1.0)).tolist()
    return read.reshape(shape), PatchedLayer(layer.name, len(hit), len(wrong.weight), differ, before, nearest, after)


def _combined(errors: Iterable[float | None]) -> float:
    return math.sqrt(sum(error**2 for error in errors if error is not None))
