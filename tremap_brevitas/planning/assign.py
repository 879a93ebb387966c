"""Choose a prepared image for a new chip, and predict its accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.moments import InputMoments
from tremap_brevitas.patching import patch
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.certificate import Deployment, certificate, check_deployment
from tremap_brevitas.placement.chip_result import ChipResult
from tremap_brevitas.planning.library import Library
from tremap_brevitas.planning.output_error import output_error
from tremap_brevitas.planning.resilience import ResilienceCurve

if TYPE_CHECKING:
    from tremap_brevitas.order import ChannelGroup, ChipOrder, SearchOptions
    from tremap_brevitas.planning.in_order import OrderedShelf

Verdict = Literal["exact", "exact in order", "good enough", "retrain"]
Preparation = Deployment | Literal["patched"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """One prepared image of a library.

    Attributes:
        name: Its name, such as the folder of its bundle.
        image: The codes that its network was trained with.
        accuracy: Accuracy of that network.
        moments: Moments of its layers' inputs, which a curve over errors of outputs needs; None for none.
        groups: Groups of channels of its network, which orders need; None for none.
    """

    name: str
    image: MemoryImage
    accuracy: float
    moments: InputMoments | None = None
    groups: tuple[ChannelGroup, ...] | None = None


@dataclass(frozen=True)
class Assignment:
    """The image chosen for a chip.

    Attributes:
        result: Result of the image on the chip; its accuracy is predicted by the curve, or the image's own if no weight
            differs; None if neither is known.
        image: Name of the image.
        verdict: ``"exact"``: the chip computes exactly the network of the image, which reaches the goal. ``"exact in
            order"``: the same, with its channels in an order that suits the chip. ``"good enough"``: the expected accuracy
            reaches the goal. ``"retrain"``: it does not, on any image.
        error: Relative error of the codes that the chip reads; patched, or with a curve over errors of outputs, of the outputs.
        order: The order of a chip that is exact in order; else None.
    """

    result: ChipResult
    image: str
    verdict: Verdict
    error: float
    order: ChipOrder | None = field(default=None, compare=False, repr=False)


def assign(
    chips: Iterable[FaultMap],
    library: Sequence[Prepared],
    *,
    goal: float,
    curve: ResilienceCurve | None = None,
    deployment: Preparation = "chip_image",
    margin: float = 0.0,
    orders: bool | SearchOptions = False,
) -> Iterator[Assignment]:
    """Find for each chip the best image of a library, without running a network.

    For every image the codes that the chip reads are determined, and the curve predicts the accuracy. An image that
    reaches the goal wins over every one that does not. Of several that do, one on which the chip is exact wins, the most
    accurate if several are; else the one with the highest expected accuracy. A chip for which no image is good enough is named
    with the image to retrain from: the one with the highest expected accuracy (errors beyond the curve come last), or, where no
    accuracy is known, with the least error.
    A US patent application of 2026 (2026-0093976) describes matching a chip's fault map to one of several prepared models;
    check it before you build a product on this.

    Args:
        chips: The chips' own fault maps; taken one by one, so that a generator is enough for thousands.
        library: The images, all in placements of one memory.
        goal: Accuracy that a chip must reach.
        curve: Curve of the network, over errors of codes, or of outputs, for which every image needs moments: that takes some
            milliseconds more a chip and image. With None only exact chips have a known accuracy, and all others need
            retraining.
        deployment: ``"chip_image"``: the image's codes are written to each chip as the nearest that it can hold.
            ``"group_image"``: as they are. ``"patched"``: each chip's are chosen anew by the moments, as ``tremap patch`` does;
            the curve is then over errors of outputs, of patched chips.
        margin: How far above the goal a predicted accuracy must lie, such as the curve's ``spread``.
        orders: Whether to look for an order of the channels in which a chip is exact, and how. Only for images that have groups
            of channels (at least one must) and whose own accuracy reaches the goal; the most accurate is tried first. Such a
            chip gets an image of its own. Use spare rows and columns before: give the maps that are left after
            [repaired][tremap_brevitas.faults.array.repair.repaired].

    Yields:
        One assignment a chip, in order.

    Raises:
        ValueError: If the library is empty, its images or a chip are of different memories, two have the same name,
            ``deployment`` is unknown, an image has no moments and they are needed, or chips are patched and the curve is over
            errors of codes; or orders are asked for, and no image has groups of channels, or all chips get one image.

    Examples:
        >>> from tremap_brevitas import FaultMap, Memory
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> memory = Memory(words=1, word_bits=16)
        >>> placement = linear_placement([LayerCodes("fc", (2,), 8, "twos_complement")], memory)
        >>> images = {"a": MemoryImage(placement, {"fc": [3, 8]}), "b": MemoryImage(placement, {"fc": [2, 8]})}
        >>> library = [Prepared(name, image, 0.9) for name, image in images.items()]
        >>> for chosen in assign([FaultMap(memory, [0], [0], "A7"), FaultMap(memory, [1], [0], "A8")], library, goal=0.8):
        ...     print(chosen.result.chip, chosen.image, chosen.verdict)
        A7 b exact
        A8 a retrain
    """
    if not library:
        raise ValueError("the library is empty")
    if len({entry.name for entry in library}) != len(library):
        raise ValueError(f"two images of the library have the same name: {', '.join(sorted(e.name for e in library))}")
    if deployment != "patched":
        check_deployment(deployment)
    memory = library[0].image.placement.memory
    for entry in library:
        if entry.image.placement.memory != memory:
            raise ValueError(
                f"image {entry.name!r} is for {entry.image.placement.memory}, but {library[0].name!r} for {memory}"
            )
    patched = deployment == "patched"
    if curve is not None and curve.error_of == "compensated outputs":
        raise ValueError("the curve is over errors of compensated outputs, but chips of a library are not compensated")
    by_outputs = patched or (curve is not None and curve.error_of == "outputs")
    if patched and curve is not None and curve.error_of != "outputs":
        raise ValueError("patched chips have wrong codes on purpose: their curve must be over errors of outputs, not of codes")
    bare = next((entry.name for entry in library if entry.moments is None), None)
    if by_outputs and bare is not None:
        raise ValueError(f"the curve needs errors of outputs, but image {bare!r} has no moments; export it with moments=")
    ordered = _ordered(library, deployment, orders)
    shelf = Library([entry.image for entry in library], deployment="chip_image" if deployment == "patched" else deployment)
    accuracies = np.array([entry.accuracy for entry in library], dtype=np.float64)
    for fault_map in chips:
        check_memory(fault_map, memory, whose="the library's")
        errors, differ, worst = shelf.read_by(fault_map)
        exact = differ == 0
        if by_outputs:
            errors = np.array([_output_error(entry, fault_map, deployment) for entry in library])
        expected, covered = _expected(accuracies, errors, exact, curve)
        serves = np.where(exact, expected >= goal, covered & (expected >= goal + margin))
        known = np.where(np.isnan(expected), -np.inf, expected)
        # lexsort sorts by the last key first: images that are good enough, exact ones, ones that the curve covers.
        best = np.lexsort((errors, -known, ~covered, ~(serves & exact), ~serves))[0]
        verdict: Verdict = "retrain" if not serves[best] else "exact" if exact[best] else "good enough"
        result = ChipResult(
            fault_map.chip,
            weights_that_differ=int(differ[best]),
            worst_error=int(worst[best]),
            accuracy=None if np.isnan(expected[best]) else float(expected[best]),
        )
        chosen = Assignment(result, library[best].name, verdict, float(errors[best]))
        if ordered is not None and verdict != "exact":
            able = [n for n in np.argsort(-accuracies, kind="stable").tolist() if accuracies[n] >= goal]
            served = ordered.exact(fault_map, able)
            if served is not None:
                number, order = served
                result = ChipResult(fault_map.chip, weights_that_differ=0, worst_error=0, accuracy=float(accuracies[number]))
                chosen = Assignment(result, library[number].name, "exact in order", 0.0, order)
        yield chosen


def _ordered(library: Sequence[Prepared], deployment: Preparation, orders: bool | SearchOptions) -> OrderedShelf | None:
    """Return what finds orders; None if no orders are wanted."""
    if orders is False:
        return None
    if deployment == "group_image":
        raise ValueError("orders give each chip an image of its own; with deployment 'group_image' all chips get one")
    if all(entry.groups is None for entry in library):
        raise ValueError("orders are asked for, but no image has groups of channels; export with groups=")
    from tremap_brevitas.planning.in_order import OrderedShelf  # here, since SciPy takes a while

    return OrderedShelf([(entry.image, entry.groups) for entry in library], None if orders is True else orders)


def _output_error(entry: Prepared, chip: FaultMap, deployment: Preparation) -> float:
    assert entry.moments is not None
    if deployment != "patched":
        proof = certificate(entry.image, chip, deployment=deployment)
    elif not (proof := certificate(entry.image, chip)).bit_exact:
        proof = patch(entry.image, entry.moments, chip).after
    return output_error(proof, entry.moments)


def _expected(
    accuracies: NDArray[np.float64], errors: NDArray[np.float64], exact: NDArray[np.bool_], curve: ResilienceCurve | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the expected accuracy of each image (NaN if unknown), and whether the measurements cover it."""
    if curve is None:
        return np.where(exact, accuracies, np.nan), exact
    lost = curve.predict(0.0) - curve.predict_untrained(errors)
    return np.where(exact, accuracies, accuracies - lost), exact | (errors <= curve.largest_untrained)
