"""Plan which chips to merge for a target accuracy, and how many retraining steps each group needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tremap_brevitas.faults import FaultMap, MergedFaultMap
from tremap_brevitas.faults.merge import merge
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.certificate import certificate
from tremap_brevitas.planning.cost import fault_costs
from tremap_brevitas.planning.group import group_chips
from tremap_brevitas.planning.resilience import ResilienceCurve


@dataclass(frozen=True, eq=False)
class PlannedGroup:
    """A group of chips to merge, and the expected cost and result of its retraining.

    Attributes:
        merged: Their merged map, conflicts left free.
        error: Relative error of the network's codes under it, before retraining.
        steps: Steps after which the goal is expected; None if no measured number is enough.
        accuracy: Accuracy expected after the steps that the plan allows.
        conflict_error: Upper bound of the relative error caused by the group's conflicts.
    """

    merged: MergedFaultMap
    error: float
    steps: int | None
    accuracy: float
    conflict_error: float


def plan_groups(
    chips: Sequence[FaultMap],
    image: MemoryImage,
    curve: ResilienceCurve,
    *,
    goal: float,
    steps: int,
    margin: float = 0.0,
    conflict_loss: float = 0.002,
    largest: int | None = None,
    progress: bool = True,
) -> list[PlannedGroup]:
    """Put chips into as few groups as possible, each of which should reach a target accuracy after retraining.

    To choose the amount of retraining by resilience is the idea of Reduce (arXiv 2305.12595), to choose groups by it that of
    eFAT (arXiv 2304.12949); both rules here are this project's own.

    Args:
        chips: The chips' own fault maps.
        image: Codes of the network before any retraining.
        curve: Its resilience curve, over errors of codes.
        goal: Accuracy that every chip must reach.
        steps: Maximum number of retraining steps for a group.
        margin: How far above the goal a predicted accuracy must lie, such as the curve's ``spread``.
        conflict_loss: Accuracy that a group's conflicts may cost its chips, each having an image of its own.
        largest: Maximum number of chips in a group; None for any number.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ValueError: If the goal is out of reach even without faults, the curve is over errors of outputs, or chips and image are
            of different memories.
    """
    if curve.error_of != "codes":
        raise ValueError(f"the curve is over errors of {curve.error_of}; groups go by errors of codes, which add up over chips")
    wanted = goal + margin + conflict_loss
    limit = curve.largest_error(wanted, steps=steps)
    conflict_limit = curve.largest_error(curve.predict(0.0) - conflict_loss)
    costs = partial(fault_costs, image)
    groups = group_chips(
        chips,
        limit=max(limit**2, 1e-300),
        conflict_limit=conflict_limit**2,
        cost=costs,
        largest=largest,
        progress=progress,
    )
    planned = []
    for group in groups:
        merged = merge(group.members, on_conflict="free")
        error = certificate(image, merged, deployment="chip_image").relative_error
        expected = curve.predict(error, steps=steps)
        planned.append(PlannedGroup(merged, error, curve.steps_for(error, wanted), expected, group.conflict_cost**0.5))
    return planned
