"""Figures of the rows: differences by chip, with 95 % intervals over chips and seeds, and worst chips of equal numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import pandas as pd

from tremap_brevitas.planning.evidence import UNIFORM, ChipRow, chip_rows, half_interval

ALONE_CHIPS, GROUP_CHIPS = 1, 2  # of each seed: figures that stand beside one another are of equally many chips
CASE = ["network", "rate", "preparation", "chips"]


def frame_of(path: Path) -> pd.DataFrame:
    """One line a chip under a uniform map; ``points`` its difference from the healthy network, ``line`` its line there."""
    rows = [row for row in chip_rows(path) if row.map == UNIFORM]
    frame = pd.DataFrame([vars(row) for row in rows], columns=[field.name for field in fields(ChipRow)])
    return frame[frame.chip < frame.chips.map(lambda chips: ALONE_CHIPS if chips == 1 else GROUP_CHIPS)]


@dataclass(frozen=True)
class Figure:
    """A mean difference.

    Args:
        mean: Points.
        half: Half of the 95 % interval; NaN where one preparation stands behind it.
        worst: The worst chip.
        count: Chips.
        seeds: Seeds.
    """

    mean: float
    half: float
    worst: float
    count: int
    seeds: int

    @property
    def text(self) -> str:
        """As it stands in a table: mean, interval, worst chip; a figure of few seeds says how few."""
        if self.seeds < 2:
            return f"({self.mean:+.2f}, one seed)"
        few = "" if self.seeds > 2 else f" [{self.seeds} seeds]"
        return f"{self.mean:+.2f} ± {self.half:.2f}, {self.worst:+.2f}{few}"


def figure(part: pd.DataFrame) -> Figure:
    """The figure of some lines of one case: chips that share an image count as one in the interval."""
    units = part.groupby("seed").points.mean() if part.chips.iloc[0] > 1 else part.points
    return Figure(part.points.mean(), half_interval(list(units)), part.points.min(), len(part), part.seed.nunique())


def figures(frame: pd.DataFrame) -> dict[tuple[str, float, str, int], Figure]:
    """The figure of each network, rate, preparation and number of chips that share an image."""
    return {cast(tuple[str, float, str, int], key): figure(part) for key, part in frame.groupby(CASE)}


def paired(frame: pd.DataFrame, one: str, other: str, *, network: str, chips: int = 1) -> dict[float, Figure]:
    """By rate: how much better one preparation is than another on the same chips."""
    some = frame[(frame.network == network) & (frame.chips == chips)]
    sides: Sequence[pd.DataFrame] = [some[some.preparation == name] for name in (one, other)]
    both = sides[0].merge(sides[1], on=["rate", "seed", "chip", "chips"], suffixes=("", "_other"))
    both["points"] = both.points - both.points_other
    return {cast(float, rate): figure(part) for rate, part in both.groupby("rate")}
