"""A lower bound on the number of wrong codes, which no channel order can avoid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.order.assign import best_order
from tremap_brevitas.order.cost import wrong_codes
from tremap_brevitas.order.groups import Index
from tremap_brevitas.order.network import LayerSteps
from tremap_brevitas.order.problem import LayerHits, Problem

_BLOCK = 1 << 16


def unavoidable(problem: Problem, orders: Sequence[Index]) -> int:
    """Return a lower bound on the number of wrong codes over all channel orders.

    Positions that only one group moves are separated from all others: the best order of that group for them alone is a bound.
    Of the other positions, those count that no code of the layer that agrees with their stuck bits can reach.

    Args:
        problem: Chip and network.
        orders: Good orders: positions that are right in them are skipped.
    """
    alone, owner = _alone(problem)
    total = 0
    for group in range(len(orders)):
        mine = alone & (owner == group)
        if mine.any():
            costs = problem.costs(group, problem.network.identity, None, only=mine)
            total += round(best_order(costs, np.arange(problem.network.groups[group].channels), tie=1.0)[1])
    doubtful = problem.wrong(orders) & ~alone
    for hits in problem.layers:
        for number in np.flatnonzero(doubtful[hits.first : hits.first + len(hits.stuck.weight)]):
            total += not _savable(problem, hits, int(number))
    return total


def _alone(problem: Problem) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the hits that only one step can move, whatever the orders are, and that step's group."""
    alone = np.zeros(problem.hits, dtype=bool)
    owner = np.full(problem.hits, -1)
    for hits in problem.layers:
        moves = [step.moves(hits.coordinates) for step in hits.entry.steps]
        where = slice(hits.first, hits.first + len(hits.stuck.weight))
        for number, step in enumerate(hits.entry.steps):
            others = [other for other in hits.entry.steps if other is not step]
            # Another step on the same axis, or one whose reach depends on it, may move a hit once this one has moved it.
            if any(other.axis == step.axis or (other.within and other.within[0] == step.axis) for other in others):
                continue
            mine = moves[number] & (np.sum(moves, axis=0) == 1)
            alone[where] |= mine
            owner[where][mine] = step.group
    return alone, owner


def _savable(problem: Problem, hits: LayerHits, number: int) -> bool:
    """Check whether any code that can move to a position fits its stuck bits; True if in doubt."""
    stuck, entry = hits.stuck, hits.entry
    axes = [_reach(entry, axis, int(index[number])) for axis, index in enumerate(hits.coordinates)]
    first, *rest = axes
    width = max(1, _BLOCK // int(np.prod([len(axis) for axis in rest])))
    for begin in range(0, len(first), width):
        at = entry.at(list(np.ix_(first[begin : begin + width], *rest)))
        stored = problem.network.stored[at]
        if not wrong_codes(stored, stuck.sa0[number], stuck.sa1[number], entry.layer).all():
            return True
    return False


def _reach(entry: LayerSteps, axis: int, index: int) -> Index:
    """Return the indices along one axis from which a code can move to this index."""
    reach = np.zeros(entry.layer.shape[axis], dtype=bool)
    reach[index] = True
    for step in reversed(entry.steps):
        if step.axis == axis:
            parts = np.unique(step.part[reach & (step.slot >= 0)])
            reach[step.index[:, parts]] = True
    return np.flatnonzero(reach)
