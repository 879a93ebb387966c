"""Assign the channels of one group to slots, with the other groups' orders fixed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tremap_brevitas.order.groups import Index
from tremap_brevitas.order.problem import SlotCosts


def best_order(hit: SlotCosts, current: Index, *, tie: float, rng: np.random.Generator | None = None) -> tuple[Index, float]:
    """Return the order of least cost of one group, and its cost.

    Args:
        hit: Slots hit and costs.
        current: Current order.
        tie: Costs that differ by less count as equal. Of equal orders, the one that moves fewest channels out of slots that
            are hit is taken, or, with ``rng``, any.
        rng: Draws among equal orders.

    Returns:
        The order, and its cost.
    """
    rows, channels = hit.costs.shape
    if not rows:
        return current, 0.0
    if rng is None:
        extra = np.full((rows, channels), tie / (2 * rows))
        extra[np.arange(rows), current[hit.slots]] = 0.0
    else:
        extra = rng.random((rows, channels)) * (tie / (2 * rows))
    row, channel = linear_sum_assignment(hit.costs + extra)
    return filled(hit.slots, channel, current), float(hit.costs[row, channel].sum())


def filled(slots: Index, channel: Index, current: Index) -> Index:
    """Return an order with these channels in these slots; as many of the others as possible stay in place.

    Examples:
        >>> filled(np.array([0]), np.array([2]), np.arange(4))
        array([2, 1, 0, 3])
    """
    order = current.copy()
    order[slots] = channel
    free = np.ones(len(current), dtype=bool)
    free[slots] = False
    used: NDArray[np.bool_] = np.zeros(len(current), dtype=bool)
    used[channel] = True
    homeless = np.flatnonzero(free & used[current])  # slots whose channel went elsewhere
    free_channels = ~used
    free_channels[current[free & ~used[current]]] = False
    order[homeless] = np.flatnonzero(free_channels)
    return order
