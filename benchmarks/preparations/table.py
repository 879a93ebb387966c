"""The cases as a CSV file, and its table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from benchmarks.preparations.cases import RETRAINED, Case

WRITTEN = {"group_image": "one image", "chip_image": "image a chip"}
KEY = ["network", "rate", "chips", "seed", "chip"]


def write(cases: Mapping[str, Case], results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write one line for each case and way of writing its chips."""
    rows = []
    for name, result in results.items():
        case = cases[name]
        about = {**asdict(case), "clean": result["clean"], "seconds": round(result["seconds"], 1)}
        about["chip"] = "all" if case.chip is None else case.chip
        rows.append({**about, "written": "union" if case.chip is None else "own image", "accuracy": result["prepared"]})
        for deployment, written in WRITTEN.items():
            for chip, accuracy in enumerate(result.get(deployment, ())):
                rows.append({**about, "chip": chip, "written": written, "accuracy": accuracy})
    pd.DataFrame(rows).to_csv(path, index=False)


def table(path: Path) -> str:
    """Accuracies, the difference from the healthy network, and that from retraining on the same chips."""
    frame = pd.read_csv(path, dtype={"chip": str})
    retrained = frame[frame.preparation == RETRAINED].set_index(KEY).accuracy
    frame["retrained"] = [retrained.get(key) for key in frame[KEY].itertuples(index=False, name=None)]
    lines = []
    for (network, chips, rate, name, written), part in frame.groupby(
        ["network", "chips", "rate", "preparation", "written"], sort=False
    ):
        pairs = (part.accuracy - part.retrained.astype(float)).dropna()
        lines.append(
            (
                network,
                f"{chips}",
                f"{rate:g}",
                name if chips == 1 else f"{name}; {'each chip by itself' if written == 'own image' else written}",
                f"{part.seed.nunique()} × {len(part) // part.seed.nunique()}",
                f"{100 * part.accuracy.mean():.2f}",
                f"{100 * (part.accuracy - part.clean).mean():+.2f}",
                f"{100 * pairs.mean():+.2f} [{len(pairs)}]" if len(pairs) and name != RETRAINED else "",
                f"{statistics.median(part.seconds):.0f}",
            )
        )
    heads = ["network", "chips", "rate", "preparation", "seeds × chips", "accuracy (%)", "against healthy"]
    heads += ["against 200 steps [pairs]", "seconds"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)
