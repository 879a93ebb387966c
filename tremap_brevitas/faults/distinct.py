"""Draw distinct numbers and remove duplicates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def sorted_distinct(values: Integers) -> Integers:
    """Sort numbers and remove duplicates.

    Like ``np.unique``, which for integers makes a hash table, and takes ten times as long for millions of them.
    """
    ordered = np.sort(values, kind="stable")
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def draw_distinct(rng: np.random.Generator, population: int, count: int) -> Integers:
    """Draw ``count`` distinct numbers below ``population``, sorted; every set is equally likely.

    Draw with repetition, keep what is distinct, drop a random surplus. No label is preferred at any step, hence
    no set is. Above half of the population the rest is drawn instead.
    """
    if 2 * count > population:
        rest = np.ones(population, dtype=bool)
        rest[draw_distinct(rng, population, population - count)] = False
        return np.flatnonzero(rest)
    cells = np.empty(0, dtype=np.int64)
    while len(cells) < count:
        # Expected distinct values of m draws: population * (1 - exp(-m / population)).
        missing = count - len(cells)
        draws = int(missing * (1 + 2 * count / population)) + 16
        cells = sorted_distinct(np.concatenate([cells, rng.integers(population, size=draws)]))
    surplus = len(cells) - count
    if surplus:
        cells = np.delete(cells, rng.choice(len(cells), size=surplus, replace=False))
    return cells


def draw_distinct_in_groups(rng: np.random.Generator, sizes: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """For each group draw ``counts`` distinct numbers below ``sizes``; every set is equally likely.

    Draw what is missing with repetition and keep what is distinct, until nothing is missing: no number is preferred at any
    step. Above half of a group its rest is drawn instead.

    Returns:
        Group and number of each, sorted by both.
    """
    starts = np.cumsum(sizes) - sizes
    most = 2 * counts > sizes
    wanted = np.where(most, sizes - counts, counts)
    keys, group, missing = np.empty(0, np.int64), np.empty(0, np.int64), wanted
    while missing.any():
        new = np.repeat(np.arange(len(sizes)), missing)
        keys = sorted_distinct(np.concatenate([keys, starts[new] + rng.integers(sizes[new])]))
        # Of groups that begin at the same key all but the last are empty.
        group = np.searchsorted(starts, keys, side="right") - 1
        missing = wanted - np.bincount(group, minlength=len(sizes))
    if most.any():
        lengths = sizes[most]
        whole = np.arange(lengths.sum()) + np.repeat(starts[most] - (np.cumsum(lengths) - lengths), lengths)
        rest = most[group]
        keys = np.sort(np.concatenate([keys[~rest], np.setdiff1d(whole, keys[rest], assume_unique=True)]))
        group = np.searchsorted(starts, keys, side="right") - 1
    return group, keys - starts[group]


def numbers_not_in(taken: Integers, ranks: Integers) -> Integers:
    """Return the numbers at these ranks among those that are not in ``taken``, which is sorted and distinct."""
    return ranks + np.searchsorted(taken - np.arange(len(taken)), ranks, side="right")
