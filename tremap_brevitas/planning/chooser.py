"""Choose the best of a library's images for one chip after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.patching import patch
from tremap_brevitas.placement.certificate import certificate
from tremap_brevitas.placement.chip_result import ChipResult
from tremap_brevitas.planning.assignment import Assignment, Preparation, Prepared, Verdict
from tremap_brevitas.planning.library import Library
from tremap_brevitas.planning.output_error import output_error
from tremap_brevitas.planning.resilience import ResilienceCurve

if TYPE_CHECKING:
    from tremap_brevitas.order import ChipOrder, Hardware
    from tremap_brevitas.planning.in_order import OrderedShelf


class Chooser:
    """Chooses an image for a chip, as [assign][tremap_brevitas.planning.assign.assign] says; a job for several cores.

    Args:
        library: The images.
        goal: Accuracy that a chip must reach.
        curve: Curve of the network.
        deployment: Who gets an image.
        margin: How far above the goal a predicted accuracy must lie.
        ordered: Finds orders; None for none.
        hardware: What the accelerator has beside free channels.
    """

    def __init__(
        self,
        library: Sequence[Prepared],
        *,
        goal: float,
        curve: ResilienceCurve | None,
        deployment: Preparation,
        margin: float,
        ordered: OrderedShelf | None,
        hardware: Hardware | None,
    ) -> None:
        self._library, self._goal, self._curve, self._margin = tuple(library), goal, curve, margin
        self._deployment, self._ordered, self._hardware = deployment, ordered, hardware
        as_they_lie = "chip_image" if deployment == "patched" else deployment
        self._shelf = Library([entry.image for entry in library], deployment=as_they_lie)
        self._accuracies = np.array([entry.accuracy for entry in library], dtype=np.float64)

    def __call__(self, chip: FaultMap, /) -> Assignment:
        """Choose an image for a chip."""
        chosen, served = self._chosen(chip)
        return chosen if served is None else self._in_order(chip, *served)

    def plain(self, chip: FaultMap, /) -> Any:
        """The choice without the network that its order has; for ``from_plain``."""
        from tremap_brevitas.order.work import plain_order

        chosen, served = self._chosen(chip)
        return chosen, None if served is None else (served[0], plain_order(served[1]))

    def from_plain(self, chip: FaultMap, plain: Any, /) -> Assignment:
        """The choice, of what ``plain`` returned."""
        chosen: Assignment
        chosen, served = plain
        if served is None:
            return chosen
        assert self._ordered is not None
        return self._in_order(chip, served[0], self._ordered.from_plain(served[0], chip, served[1]))

    def _chosen(self, chip: FaultMap) -> tuple[Assignment, tuple[int, ChipOrder] | None]:
        """The choice among the images as they lie; then image and order of a chip that is exact in an order."""
        seen, as_they_lie = self._seen(chip)
        errors, differ, worst = self._shelf.read_by(seen)
        exact = (differ == 0) & as_they_lie
        if self._deployment == "patched" or (self._curve is not None and self._curve.error_of == "outputs"):
            errors = np.array([_output_error(entry, seen, self._deployment) for entry in self._library])
        expected, covered = _expected(self._accuracies, errors, exact, self._curve)
        serves = np.where(exact, expected >= self._goal, covered & (expected >= self._goal + self._margin))
        known = np.where(np.isnan(expected), -np.inf, expected)
        # lexsort sorts by the last key first: images that are good enough, exact ones, ones that the curve covers.
        best = np.lexsort((errors, -known, ~covered, ~(serves & exact), ~serves))[0]
        verdict: Verdict = "retrain" if not serves[best] else "exact" if exact[best] else "good enough"
        result = ChipResult(
            chip.chip,
            weights_that_differ=int(differ[best]),
            worst_error=int(worst[best]),
            accuracy=None if np.isnan(expected[best]) else float(expected[best]),
        )
        chosen = Assignment(result, self._library[best].name, verdict, float(errors[best]))
        if self._ordered is None or verdict == "exact":
            return chosen, None
        best_first = np.argsort(-self._accuracies, kind="stable").tolist()
        return chosen, self._ordered.exact(chip, [n for n in best_first if self._accuracies[n] >= self._goal])

    def _seen(self, chip: FaultMap) -> tuple[FaultMap, bool]:
        """A chip as the words of an image meet it, and whether its words can lie there as they are."""
        if not self._hardware:
            return chip, True
        from tremap_brevitas.order import HardwareSetting

        unused = HardwareSetting(self._hardware, self._library[0].image.placement.memory)
        setting = unused.allowed_by(chip)
        return setting.equivalent_map(chip), not setting.used

    def _in_order(self, chip: FaultMap, number: int, order: ChipOrder) -> Assignment:
        entry = self._library[number]
        result = ChipResult(chip.chip, weights_that_differ=0, worst_error=0, accuracy=float(entry.accuracy))
        return Assignment(result, entry.name, "exact in order", 0.0, order)


def _output_error(entry: Prepared, chip: FaultMap, deployment: Preparation) -> float:
    assert entry.moments is not None
    if deployment != "patched":
        proof = certificate(entry.image, chip, deployment=deployment)
    elif not (proof := certificate(entry.image, chip)).bit_exact:
        proof = patch(entry.image, entry.moments, chip, progress=False).after
    return output_error(proof, entry.moments)


def _expected(
    accuracies: NDArray[np.float64], errors: NDArray[np.float64], exact: NDArray[np.bool_], curve: ResilienceCurve | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the expected accuracy of each image (NaN if unknown), and whether the measurements cover it."""
    if curve is None:
        return np.where(exact, accuracies, np.nan), exact
    lost = curve.predict(0.0) - curve.predict_untrained(errors)
    return np.where(exact, accuracies, accuracies - lost), exact | (errors <= curve.largest_untrained)
