"""Decide which chips to merge: as few groups as possible, none with too costly a union."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from tremap_brevitas.faults.distinct import sorted_distinct
from tremap_brevitas.faults.fault_map import FaultMap, check_same_memory
from tremap_brevitas.printable import counted

Cost = Callable[[FaultMap], ArrayLike]


@dataclass(frozen=True, eq=False, repr=False)
class Group:
    """Chips that share one retraining.

    Attributes:
        members: Their fault maps, in the order in which they came.
        cost: Sum of the costs of the union's cells.
        conflicts: Cells that are stuck at 0 on one member and at 1 on another.
        conflict_cost: Sum of their costs.
        fits: Whether both costs are within the limits; False only for a chip that exceeds one by itself.
    """

    members: tuple[FaultMap, ...]
    cost: float
    conflicts: int
    conflict_cost: float
    fits: bool

    def __repr__(self) -> str:
        return (
            f"Group({counted(len(self.members), 'chip')}, cost {self.cost:.4g}, {counted(self.conflicts, 'conflict')} of cost "
            f"{self.conflict_cost:.4g}{'' if self.fits else ', too much'})"
        )


def group_chips(
    chips: Sequence[FaultMap],
    *,
    limit: float,
    conflict_limit: float = np.inf,
    cost: Cost | None = None,
    largest: int | None = None,
    progress: bool = True,
) -> list[Group]:
    """Put chips into as few groups as possible, such that no group's union costs more than a limit.

    A chip costs a group only the cells that the group does not have yet: chips whose faults overlap, such as one lot's at
    several voltages, come together. Greedy: the most expensive chip first, each into the group where it adds least; then
    each group, the smallest first, is dissolved if its chips fit into the others, until none can be. Deterministic. Time:
    chips × groups × faults of a chip.

    Args:
        chips: Fault maps of one memory.
        limit: Largest cost of a union.
        conflict_limit: Largest cost of a group's conflicts, which no image of the group can satisfy.
        cost: Function from a map to the cost of each of its cells, such as ``functools.partial(fault_costs, image)``: a number
            that depends on the cell and its stuck value alone. None counts cells. A cell that two chips have at different
            values counts with the larger of the two costs, in the union and among the conflicts.
        largest: Maximum number of chips in a group; None for any number.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The groups, each with its chips in the order given.

    Raises:
        ValueError: If there is no chip, the chips differ in memory, a limit is not positive, or the costs of a map are
            negative or not one for each cell.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> memory = Memory(words=8, word_bits=8)
        >>> a, b = FaultMap(memory, [1, 2, 3], [0, 0, 1], "a"), FaultMap(memory, [40, 41], [0, 0], "b")
        >>> c = FaultMap(memory, [2, 3], [0, 1], "c")
        >>> group_chips([a, b, c], limit=3, progress=False)
        [Group(2 chips, cost 3, 0 conflicts of cost 0), Group(1 chip, cost 2, 0 conflicts of cost 0)]
    """
    if not limit > 0 or not conflict_limit >= 0:
        raise ValueError(f"limit must be positive and conflict_limit not negative, got {limit} and {conflict_limit}")
    if largest is not None and largest < 1:
        raise ValueError(f"largest must be at least 1, got {largest}")
    fleet = _Fleet(chips, cost)
    groups = _Groups(fleet, _Limits(limit, conflict_limit, len(chips) if largest is None else largest))
    with tqdm(total=len(chips), desc="grouping", unit="chip", leave=False, disable=not progress) as bar:
        for index in np.argsort(-fleet.alone, kind="stable"):
            groups.add(int(index), groups.best(int(index)))
            bar.update()
        while groups.dissolve_one():
            bar.set_postfix(groups=len(groups.chips))
    return groups.closed()


def in_arrival_order(
    chips: Sequence[FaultMap], *, limit: float, conflict_limit: float = np.inf, cost: Cost | None = None
) -> list[Group]:
    """Fill groups with the chips in the given order, as a baseline for other groupings.

    Raises:
        ValueError: As [group_chips][tremap_brevitas.planning.group.group_chips].
    """
    fleet = _Fleet(chips, cost)
    groups = _Groups(fleet, _Limits(limit, conflict_limit, len(chips)))
    for index in range(len(chips)):
        last = len(groups.chips) - 1
        groups.add(index, last if groups.fits(index, last) else None)
    return groups.closed()


class _Limits(NamedTuple):
    cost: float
    conflict_cost: float
    chips: int


class _Fleet:
    """The fleet's cells that are stuck on two or more chips, renumbered; other cells cost the same in any group."""

    def __init__(self, chips: Sequence[FaultMap], cost: Cost | None) -> None:
        check_same_memory(chips)
        self.chips = chips
        every = np.sort(np.concatenate([chip.cells for chip in chips]), kind="stable")
        shared = sorted_distinct(every[1:][every[1:] == every[:-1]])
        table = np.zeros((2, len(shared)))  # by stuck value
        self.at: list[NDArray[np.int64]] = []
        self.stuck_at: list[NDArray[np.uint8]] = []
        self.own: list[NDArray[np.float64]] = []
        self.alone = np.zeros(len(chips))
        for index, chip in enumerate(chips):
            costs = _costs(chip, cost)
            at = np.searchsorted(shared, chip.cells)
            known = at < len(shared)
            known[known] = shared[at[known]] == chip.cells[known]
            self.at.append(at[known])
            self.stuck_at.append(chip.stuck_at[known])
            self.own.append(costs[known])
            self.alone[index] = costs.sum()
            table[self.stuck_at[-1], self.at[-1]] = self.own[-1]
        # By status: healthy, stuck at 0, stuck at 1, in conflict.
        self.costs = np.stack([np.zeros(len(shared)), table[0], table[1], table.max(axis=0)])


class _Groups:
    """Groups that are being filled.

    ``status`` has a row for each shared cell and a column for each group: bit 0 if the cell is stuck at 0 on a member, bit 1 if
    it is stuck at 1 on one. A chip's cells are then looked up once for all groups.
    """

    def __init__(self, fleet: _Fleet, limits: _Limits) -> None:
        self.fleet, self.limits = fleet, limits
        self.status = np.zeros((fleet.costs.shape[1], 8), dtype=np.uint8)
        self.cost: list[float] = []
        self.conflict_cost: list[float] = []
        self.chips: list[list[int]] = []

    def best(self, index: int, without: int | None = None) -> int | None:
        """Return the group that can take a chip at the least extra cost."""
        count = len(self.chips)
        if self.fleet.alone[index] > self.limits.cost:
            return None
        status = self.status[self.fleet.at[index], :count]
        # Cells that the group has already cost nothing more, except conflicts.
        least = np.array(self.cost) + self.fleet.alone[index] - self.fleet.own[index] @ (status != 0)
        best, added = None, np.inf
        for group in np.argsort(least - self.cost, kind="stable"):
            if least[group] - self.cost[group] >= added:
                break
            if group == without or least[group] > self.limits.cost or len(self.chips[group]) >= self.limits.chips:
                continue
            cost, conflict_cost = self._with(index, int(group), status[:, group])
            fits = cost <= self.limits.cost and conflict_cost <= self.limits.conflict_cost
            if fits and cost - self.cost[group] < added:
                best, added = int(group), cost - self.cost[group]
        return best

    def fits(self, index: int, group: int) -> bool:
        """Check whether a chip can join a group."""
        if group < 0 or len(self.chips[group]) >= self.limits.chips:
            return False
        cost, conflict_cost = self._with(index, group, self.status[self.fleet.at[index], group])
        return cost <= self.limits.cost and conflict_cost <= self.limits.conflict_cost

    def add(self, index: int, group: int | None) -> None:
        """Add a chip to a group; None creates a new group."""
        if group is None:
            group = len(self.chips)
            if group == self.status.shape[1]:
                self.status = np.concatenate([self.status, np.zeros_like(self.status)], axis=1)
            self.cost.append(0.0)
            self.conflict_cost.append(0.0)
            self.chips.append([])
        at = self.fleet.at[index]
        self.cost[group], self.conflict_cost[group] = self._with(index, group, self.status[at, group])
        self.status[at, group] |= 1 + self.fleet.stuck_at[index]
        self.chips[group].append(index)

    def dissolve_one(self) -> bool:
        """Distribute the chips of the smallest possible group over the others, if they all fit."""
        order = sorted(range(len(self.chips)), key=lambda group: len(self.chips[group]))
        return len(order) > 1 and any(map(self._dissolve, order))

    def _dissolve(self, group: int) -> bool:
        moved: list[tuple[int, int, NDArray[np.uint8], float, float]] = []
        for index in self.chips[group]:
            to = self.best(index, without=group)
            if to is None:
                for chip, was_in, status, cost, conflict_cost in reversed(moved):
                    self.chips[was_in].pop()
                    self.status[self.fleet.at[chip], was_in] = status
                    self.cost[was_in], self.conflict_cost[was_in] = cost, conflict_cost
                return False
            moved.append((index, to, self.status[self.fleet.at[index], to], self.cost[to], self.conflict_cost[to]))
            self.add(index, to)
        for values in (self.cost, self.conflict_cost, self.chips):
            del values[group]
        self.status = np.delete(self.status, group, axis=1)
        return True

    def closed(self) -> list[Group]:
        """Return the groups, sorted by their first chips."""
        groups = []
        for group in sorted(range(len(self.chips)), key=lambda g: min(self.chips[g])):
            members = tuple(self.fleet.chips[index] for index in sorted(self.chips[group]))
            fits = self.cost[group] <= self.limits.cost and self.conflict_cost[group] <= self.limits.conflict_cost
            conflicts = int((self.status[:, group] == 3).sum())
            groups.append(Group(members, self.cost[group], conflicts, self.conflict_cost[group], fits))
        return groups

    def _with(self, index: int, group: int, status: NDArray[np.uint8]) -> tuple[float, float]:
        """Return cost and conflict cost of a group with another chip; ``status`` is that of the chip's cells."""
        at, own = self.fleet.at[index], self.fleet.own[index]
        conflict = (status == 2 - self.fleet.stuck_at[index]).nonzero()[0]
        more = self.fleet.costs[3, at[conflict]]
        cost = self.fleet.alone[index] - float(own[status != 0].sum())
        cost += float((more - self.fleet.costs[status[conflict], at[conflict]]).sum())
        return self.cost[group] + cost, self.conflict_cost[group] + float(more.sum())


def _costs(fault_map: FaultMap, cost: Cost | None) -> NDArray[np.float64]:
    costs = np.ones(len(fault_map)) if cost is None else np.asarray(cost(fault_map), dtype=np.float64)
    if costs.shape != (len(fault_map),) or not np.all(costs >= 0):
        raise ValueError(
            f"chip {fault_map.chip!r}: cost must give a number >= 0 for each of its {len(fault_map)} cells, got {costs}"
        )
    return costs
