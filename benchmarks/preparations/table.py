"""The table of docs/compensation.md: compensation beside retraining and what others do."""

from __future__ import annotations

import statistics
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from benchmarks.preparations.cases import AS_THEY_LIE, GROUPS, ORDER, ORDER_COMPENSATED, OTHERS_RATES, RETRAINED

LEFT_OUT = (AS_THEY_LIE, ORDER, ORDER_COMPENSATED)  # they have no part in the comparison with other methods

KEY = ["network", "rate", "chips", "seed", "chip"]


def table(path: Path) -> str:
    """Accuracies beside other methods, the difference from the healthy network, and that from retraining the same chips."""
    frame = pd.read_csv(path, dtype={"chip": str})
    alone = (frame.chips == 1) & frame.rate.isin(OTHERS_RATES)
    group = frame.chips == frame.network.map({"resnet32": 5}).fillna(max(GROUPS))  # five: the original paper's case
    frame = frame[(alone | group & (frame.rate == 6e-3)) & ~frame.preparation.isin(LEFT_OUT)].copy()
    frame["points"] = 100 * (frame.accuracy - frame.clean)  # rows may come from two trainings of the healthy network
    retrained = frame[frame.preparation == RETRAINED].set_index(KEY).points
    frame["retrained"] = [retrained.get(key) for key in frame[KEY].itertuples(index=False, name=None)]
    lines = []
    for (network, chips, rate, name, written), part in frame.groupby(
        ["network", "chips", "rate", "preparation", "written"], sort=False
    ):
        pairs = (part.points - part.retrained.astype(float)).dropna()
        lines.append(
            (
                network,
                f"{chips}",
                f"{rate:g}",
                name if chips == 1 else f"{name}; {'each chip by itself' if written == 'own image' else written}",
                f"{part.seed.nunique()} × {len(part) // part.seed.nunique()}",
                f"{100 * part.accuracy.mean():.2f}",
                f"{part.points.mean():+.2f}",
                f"{pairs.mean():+.2f} [{len(pairs)}]" if len(pairs) and name != RETRAINED else "",
                f"{statistics.median(part.core_seconds.fillna(part.seconds)):.0f}",
            )
        )
    heads = ["network", "chips", "rate", "preparation", "seeds × chips", "accuracy (%)", "against healthy"]
    heads += ["against 200 steps [pairs]", "seconds"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)
