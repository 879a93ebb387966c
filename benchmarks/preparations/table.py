"""The tables of docs/compensation.md: compensation beside retraining and what others do."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from benchmarks.preparations.cases import (
    AS_THEY_LIE,
    GROUPS,
    ORDER,
    ORDER_COMPENSATED,
    OTHERS_RATES,
    RETRAINED,
    SILENCED_ORDER,
)
from benchmarks.preparations.rows import OWN, SHARED_IMAGE
from tremap_brevitas.planning.evidence import half_interval

LEFT_OUT = (AS_THEY_LIE, ORDER, SILENCED_ORDER)  # they have no part in the comparison with other methods
GROUP_RATE = 6e-3
TITLES = {"resnet20": "ResNet-20, 8 bits", "resnet20-4bit": "ResNet-20, 4 bits", "resnet32": "ResNet-32, 8 bits"}
CHIP = ["network", "rate", "seed", "chip"]


def table(path: Path) -> str:
    """One table for each network with chips of their own images, then one of groups that share an image."""
    frame = _with_pairs(pd.read_csv(path, dtype={"chip": str}))
    alone = frame[(frame.chips == 1) & frame.rate.isin(OTHERS_RATES) & (frame.preparation != ORDER_COMPENSATED)]
    parts = [f"{TITLES[str(name)]}, one chip:\n\n{_alone(part)}" for name, part in alone.groupby("network", sort=False)]
    size = frame.network.map({"resnet32": 5}).fillna(max(GROUPS))  # five: the original paper's case
    group = frame[(frame.chips == size) & (frame.rate == GROUP_RATE)]
    if len(group):
        parts.append(f"Groups, {GROUP_RATE:g} of the cells of each chip stuck:\n\n{_groups(group)}")
    return "\n\n".join(parts) or "No row is finished."


def _with_pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that take part, each with its difference from retraining of the same chip, NaN where that was not run."""
    frame = frame[~frame.preparation.isin(LEFT_OUT)].copy()
    frame["points"] = 100 * (frame.accuracy - frame.clean)  # rows may come from two trainings of the healthy network
    retrained = frame[(frame.preparation == RETRAINED) & (frame.written == OWN)].sort_values("chips")
    found = retrained.drop_duplicates(CHIP).set_index(CHIP).points.to_dict()  # a chip is the same in any group
    keys = zip(*(frame[column] for column in CHIP), strict=True)
    frame["apart"] = frame.points - pd.Series([found.get(key) for key in keys], frame.index, dtype=float)
    frame.loc[frame.preparation == RETRAINED, "apart"] = float("nan")  # not with itself
    frame["time"] = frame.core_seconds.fillna(frame.seconds)
    return frame


def _alone(part: pd.DataFrame) -> str:
    """Preparations against rates: accuracy, and the difference from the healthy network and from retraining."""
    rates = sorted(part.rate.unique())
    lines = []
    for name, mine in part.groupby("preparation", sort=False):
        cells = []
        for rate in rates:
            some = mine[mine.rate == rate]
            apart = some.apart.dropna()
            pair = f"; {_figure(apart)}" if len(apart) else ""
            few = f" [{len(some)} of 3]" if len(some) < 3 else ""
            cells.append(f"{100 * some.accuracy.mean():.2f} ({some.points.mean():+.2f}{pair}){few}" if len(some) else "")
        lines.append([str(name), *cells, f"{statistics.median(mine.time):.0f}"])
    return tabulate(
        lines, ["preparation", *(f"{rate:g}" for rate in rates), "seconds"], tablefmt="github", disable_numparse=True
    )


def _groups(part: pd.DataFrame) -> str:
    """Preparations of a group, by how the chips are written; differences are over chips, intervals over groups."""
    lines = []
    for (network, chips, name, written), mine in part.groupby(["network", "chips", "preparation", "written"], sort=False):
        how = {"union": "the union itself", OWN: "each chip by itself", SHARED_IMAGE: SHARED_IMAGE}[written]
        apart = mine.dropna(subset="apart").groupby("seed").apart.mean()
        line = [TITLES[network], f"{chips}", f"{name}; {how}", f"{mine.seed.nunique()} × {len(mine) // mine.seed.nunique()}"]
        line += [f"{100 * mine.accuracy.mean():.2f}", _figure(mine.groupby("seed").points.mean())]
        line += [_figure(apart) if len(apart) else "", f"{statistics.median(mine.time):.0f}"]
        lines.append(line)
    heads = [
        "network",
        "chips",
        "preparation",
        "groups × chips",
        "accuracy (%)",
        "against healthy",
        "against 200 steps",
        "seconds",
    ]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def _figure(values: Iterable[float]) -> str:
    """A mean and half of its 95 % interval."""
    points = list(values)
    return f"{statistics.fmean(points):+.2f}" + (f" ± {half_interval(points):.2f}" if len(points) > 1 else " [1]")
