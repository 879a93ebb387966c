"""Choose a prepared image for a new chip, and predict its accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import TYPE_CHECKING

from tqdm import tqdm

from tremap_brevitas.cluster.ahead import Ahead
from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.placement.certificate import check_deployment
from tremap_brevitas.planning.assignment import Assignment, Preparation, Prepared
from tremap_brevitas.planning.chooser import Chooser
from tremap_brevitas.planning.resilience import ResilienceCurve

if TYPE_CHECKING:
    from tremap_brevitas.order import Hardware, SearchOptions
    from tremap_brevitas.planning.in_order import OrderedShelf


def assign(
    chips: Iterable[FaultMap],
    library: Sequence[Prepared],
    *,
    goal: float,
    curve: ResilienceCurve | None = None,
    deployment: Preparation = "chip_image",
    margin: float = 0.0,
    orders: bool | SearchOptions = False,
    hardware: Hardware | None = None,
    workers: int = 1,
    progress: bool = True,
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
        hardware: What the accelerator has beside free channels; only with ``orders``. The chips' maps are then of
            ``hardware.chip_memory``. A chip is exact without an order if it is so with nothing scrambled, rotated or inverted.
        workers: Processes to use; the result does not depend on it.
        progress: Whether to show a progress bar on standard error.

    Yields:
        One assignment a chip, in order.

    Raises:
        ValueError: If the library is empty, its images or a chip are of different memories, two have the same name,
            ``deployment`` is unknown, an image has no moments and they are needed, or chips are patched and the curve is over
            errors of codes; or orders are asked for, and no image has groups of channels, or all chips get one image; or
            hardware is given without orders, or the memory cannot have it; or there is no worker.

    Examples:
        >>> from tremap_brevitas import FaultMap, Memory, MemoryImage
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> memory = Memory(words=1, word_bits=16)
        >>> placement = linear_placement([LayerCodes("fc", (2,), 8, "twos_complement")], memory)
        >>> images = {"a": MemoryImage(placement, {"fc": [3, 8]}), "b": MemoryImage(placement, {"fc": [2, 8]})}
        >>> library = [Prepared(name, image, 0.9) for name, image in images.items()]
        >>> chips = [FaultMap(memory, [0], [0], "A7"), FaultMap(memory, [1], [0], "A8")]
        >>> for chosen in assign(chips, library, goal=0.8, progress=False):
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
    ordered = _ordered(library, deployment, orders, hardware)
    chip_memory = memory
    if hardware:
        hardware.check(memory)
        chip_memory = hardware.chip_memory(memory)
    chooser = Chooser(
        library, goal=goal, curve=curve, deployment=deployment, margin=margin, ordered=ordered, hardware=hardware or None
    )
    with Ahead(chooser, workers=workers) as ahead:
        begun = (ahead.begun(_of_memory(chip, chip_memory)) for chip in chips)
        total = len(chips) if isinstance(chips, Sized) else None
        yield from tqdm(ahead.results(begun), desc="assigning", unit="chip", total=total, leave=False, disable=not progress)


def _of_memory(chip: FaultMap, memory: Memory) -> FaultMap:
    check_memory(chip, memory, whose="the library's")
    return chip


def _ordered(
    library: Sequence[Prepared], deployment: Preparation, orders: bool | SearchOptions, hardware: Hardware | None
) -> OrderedShelf | None:
    """Return what finds orders; None if no orders are wanted."""
    if orders is False:
        if hardware:
            raise ValueError(f"hardware ({hardware}) is set by what finds orders; ask for orders as well")
        return None
    if deployment == "group_image":
        raise ValueError("orders give each chip an image of its own; with deployment 'group_image' all chips get one")
    if all(entry.groups is None for entry in library):
        raise ValueError("orders are asked for, but no image has groups of channels; export with groups=")
    from tremap_brevitas.planning.in_order import OrderedShelf  # here, since SciPy takes a while

    return OrderedShelf(
        [(entry.image, entry.groups) for entry in library], None if orders is True else orders, hardware or None
    )
