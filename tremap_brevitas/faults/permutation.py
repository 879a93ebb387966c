"""Permutations of the numbers from 0 up."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def permutation(values: ArrayLike | None, name: str, count: int) -> NDArray[np.int64] | None:
    """Check that ``values`` is a permutation of the numbers below ``count``; None stands for the identity.

    Raises:
        TypeError: If they are not integers.
        ValueError: If one is missing.
    """
    if values is None:
        return None
    given = np.asarray(values)
    if given.shape != (count,):
        raise ValueError(f"{name} must be a permutation of 0 to {count - 1}, got shape {given.shape}")
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got {given.dtype}")
    missing = np.setdiff1d(np.arange(count), given)
    if len(missing):
        raise ValueError(f"{name} must be a permutation of 0 to {count - 1}, got one without {missing[0]}")
    order = given.astype(np.int64)
    if np.array_equal(order, np.arange(count)):
        return None
    order.flags.writeable = False
    return order


def inverse(order: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Return the inverse of a permutation; None stands for the identity."""
    if order is None:
        return None
    positions = np.empty_like(order)
    positions[order] = np.arange(len(order))
    return positions
