"""A new chip and a library of prepared images: which one runs on it, and how well?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.fleet.certify import Deployment, certificate, wrong_cells
from tremap_brevitas.fleet.resilience import ResilienceCurve
from tremap_brevitas.placement import MemoryImage, Placement

Verdict = Literal["exact", "good enough", "retrain"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image of a library.

    Attributes:
        name: What to call it, such as the folder of its bundle.
        image: The codes that its network was trained with.
        accuracy: Accuracy of that network.
    """

    name: str
    image: MemoryImage
    accuracy: float


@dataclass(frozen=True)
class Assignment:
    """Which image a chip gets.

    Attributes:
        chip: Name of the chip.
        image: Name of the image.
        verdict: ``"exact"``: the chip computes the very network of the image. ``"good enough"``: the accuracy expected
            reaches the goal. ``"retrain"``: it does not, on any image.
        accuracy: The image's own if exact, else what the curve predicts.
        error: Relative error of the codes that the chip reads.
        weights_that_differ: Number of weights that it reads differently.
    """

    chip: str
    image: str
    verdict: Verdict
    accuracy: float
    error: float
    weights_that_differ: int


def assign(
    chips: Iterable[FaultMap],
    library: Sequence[Prepared],
    *,
    goal: float,
    curve: ResilienceCurve | None = None,
    deployment: Deployment = "chip_image",
    margin: float = 0.0,
) -> Iterator[Assignment]:
    """Find for each chip the image of a library that serves it best; no network is run.

    An image on which the chip is exact wins, the most accurate if several are. Otherwise every image is judged by the weight
    of the stored bits that the chip has wrong; for the best of them the codes that the chip reads are worked out, and the curve
    says what accuracy to expect. A US patent application of 2026 (2026-0093976) describes matching a chip's fault map to one
    of several prepared models; whoever builds a product on this should look at it.

    Args:
        chips: The chips' own fault maps; taken one by one, so that a generator will do for thousands.
        library: The images, all in placements of one memory.
        goal: Accuracy that a chip must reach.
        curve: Curve of the network; None knows no accuracy but an exact chip's, so that all others need retraining.
        deployment: ``"chip_image"``: the image's codes are written to each chip as the nearest that it can hold.
            ``"group_image"``: as they are.
        margin: How far above the goal a predicted accuracy must lie, such as the curve's ``spread``.

    Yields:
        One assignment a chip, in order.

    Raises:
        ValueError: If the library is empty, its images or a chip are of different memories, or two have the same name.

    Examples:
        >>> from tremap_brevitas import FaultMap, Memory
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> memory = Memory(words=1, word_bits=16)
        >>> placement = linear_placement([LayerCodes("fc", (2,), 8, "twos_complement")], memory)
        >>> images = {"a": MemoryImage(placement, {"fc": [3, 8]}), "b": MemoryImage(placement, {"fc": [2, 8]})}
        >>> library = [Prepared(name, image, 0.9) for name, image in images.items()]
        >>> for found in assign([FaultMap(memory, [0], [0], "A7"), FaultMap(memory, [1], [0], "A8")], library, goal=0.8):
        ...     print(found.chip, found.image, found.verdict)
        A7 b exact
        A8 a retrain
    """
    if not library:
        raise ValueError("the library is empty")
    if len({entry.name for entry in library}) != len(library):
        raise ValueError(f"two images of the library have the same name: {', '.join(sorted(e.name for e in library))}")
    memory = library[0].image.placement.memory
    for entry in library:
        if entry.image.placement.memory != memory:
            raise ValueError(
                f"image {entry.name!r} is for {entry.image.placement.memory}, but {library[0].name!r} for {memory}"
            )
    accuracies = np.array([-entry.accuracy for entry in library])
    for chip in chips:
        check_memory(chip, memory, whose="the library's")
        harm = _harm(chip, library)
        # Exact images first, the most accurate before the others; then the one with the least harm.
        order = np.lexsort((accuracies, harm))
        best = library[order[0]]
        found = certificate(best.image, chip, deployment=deployment)
        error = found.relative_error
        accuracy, verdict = best.accuracy, "exact"
        if not found.bit_exact:
            accuracy, verdict = float("nan"), "retrain"
            if curve is not None:
                accuracy = best.accuracy - (curve.predict(0.0) - curve.predict(error))
                if accuracy >= goal + margin and curve.covers(error):
                    verdict = "good enough"
        elif accuracy < goal:
            verdict = "retrain"
        yield Assignment(chip.chip, best.name, verdict, accuracy, error, found.weights_that_differ)  # type: ignore[arg-type]


def _harm(chip: FaultMap, library: Sequence[Prepared]) -> NDArray[np.float64]:
    """For each image the weight of the stored bits that a chip has wrong: 4 to the power of the bit, over the layer's size."""
    weights: dict[str, NDArray[np.float64]] = {}
    harm = np.zeros(len(library))
    for index, entry in enumerate(library):
        placement = entry.image.placement
        if placement.digest not in weights:
            weights[placement.digest] = _bit_weights(chip, placement)
        wrong = wrong_cells(entry.image, chip)
        if wrong.any():
            harm[index] = weights[placement.digest] @ wrong
    return harm


def _bit_weights(chip: FaultMap, placement: Placement) -> NDArray[np.float64]:
    found = np.zeros(len(chip))  # a cell that holds no bit of a weight harms nobody
    for sites in placement.sites(chip.cells):
        found += np.bincount(sites.source, weights=4.0**sites.bit / sites.layer.size, minlength=len(chip))
    return found
