"""Draw the stuck cells of a bank with an uneven distribution over its columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.analysis.statistics import CROWDED
from tremap_brevitas.faults.distinct import Integers, draw_distinct_in_groups, numbers_not_in
from tremap_brevitas.faults.memory import Memory


def in_few_columns(
    rng: np.random.Generator, memory: Memory, faults: Integers, column_share: float, column_faults: float
) -> Integers:
    """Draw distinct cells for each bank, with a share of them in few columns."""
    height, width = memory.words_per_bank, memory.word_bits
    least = min(CROWDED, height)
    share = column_share * faults
    # Below the least, all or nothing: the expectation is the share either way.
    some = np.where(rng.random(memory.banks) * least < share, least, 0)
    gathered = np.where(share < least, some, np.minimum(_rounded(rng, share), faults))
    gathered[faults < least] = 0
    columns = np.clip(_rounded(rng, gathered / column_faults), gathered > 0, gathered // least)
    columns = np.minimum(np.maximum(columns, -(-gathered // height)), width)
    # Faults that the other columns cannot hold go to the picked ones after all.
    gathered = gathered + np.maximum(faults - gathered - (width - columns) * height, 0)

    bank, column = draw_distinct_in_groups(rng, np.full(memory.banks, width), columns)
    before = np.cumsum(columns) - columns
    # Number only the cells of the picked columns, column by column: first so many in each, then the others anywhere.
    base = np.minimum(least, gathered // np.maximum(columns, 1))
    line, word = draw_distinct_in_groups(rng, np.full(len(bank), height), base[bank])
    numbers = line * height + word
    given = base * columns
    of, place = draw_distinct_in_groups(rng, columns * height - given, gathered - given)
    more = numbers_not_in(numbers, place + before[of] * height - (np.cumsum(given) - given)[of])
    line, word = np.divmod(np.concatenate([numbers, more]), height)
    in_columns = (bank[line] * height + word) * width + column[line]

    of, place = draw_distinct_in_groups(rng, (width - columns) * height, faults - gathered)
    rank, word = np.divmod(place, height)
    rest = numbers_not_in(bank * width + column, of * width - before[of] + rank) - of * width
    return np.concatenate([in_columns, (of * height + word) * width + rest])


def in_correlated_columns(rng: np.random.Generator, memory: Memory, faults: Integers, correlation: float) -> Integers:
    """Draw distinct cells for each bank, distributed over columns by a Dirichlet distribution.

    ``correlation`` is how much likelier than by chance two faults of a bank share a column: above 0; with 1 all share one.
    """
    height, width = memory.words_per_bank, memory.word_bits
    hit = np.flatnonzero(faults)
    concentration = (1 - correlation) / max(correlation * width, 1e-9)
    if concentration < 1e-9:
        shares = np.eye(width)[rng.integers(width, size=len(hit))]
    else:
        shares = rng.dirichlet(np.full(width, concentration), size=len(hit))
    counts = rng.multinomial(faults[hit], shares)
    over = np.maximum(counts - height, 0).sum(axis=1)
    counts = np.minimum(counts, height)
    for bank in np.flatnonzero(over):  # faults beyond a full column go anywhere else in the bank
        counts[bank] += rng.multivariate_hypergeometric(height - counts[bank], over[bank])
    column, word = draw_distinct_in_groups(rng, np.full(counts.size, height), counts.reshape(-1))
    line, bit = np.divmod(column, width)
    cells: Integers = (hit[line] * height + word) * width + bit
    return cells


def _rounded(rng: np.random.Generator, values: NDArray[np.floating[Any]]) -> Integers:
    """Round up or down at random, so that the expected value is the number itself."""
    return np.floor(values + rng.random(len(values))).astype(np.int64)
