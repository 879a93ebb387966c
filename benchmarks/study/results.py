"""Keep what the rows yielded: three CSV files, of which every figure of the page is made, and the figures themselves.

Chips are compared with themselves: a preparation evaluated on two chips of a seed is set against another on the same two.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.study import methods
from benchmarks.study.rows import NETWORKS, SEEDS, Row, all_rows
from tremap_brevitas.cluster import RunFolder
from tremap_brevitas.tables import write_table

RUN = ("faults", "union_rate", "conflicts", "rms_before", "relative_before", "nominal", "seconds", "evaluation_seconds")
CHIP = ("chip", "member", "deployment", "accuracy", "bit_exact", "weights_that_differ", "worst_error", "rms", "relative")
BASELINE = ("steps", "bfloat16", "float32")
KEYS = [key for key in Row().fields() if key not in ("seed", "chip")]


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure of each chip, or of each network, of some seeds: an accuracy, or a difference of two.

    Attributes:
        values: Indexed by seed and chip, or by seed.
        signed: Whether it is a difference.
    """

    values: pd.Series
    signed: bool = False

    def __post_init__(self) -> None:
        assert self.values.index.is_unique, "two results for one chip"

    def __bool__(self) -> bool:
        return len(self.values) > 0

    def __sub__(self, other: Figure) -> Figure:
        """Return the difference on the chips that both have."""
        return Figure((self.values - other.values).dropna(), signed=True)

    def on(self, other: Figure) -> Figure:
        """Keep the chips alone that the other has too."""
        return Figure(self.values[self.values.index.isin(other.values.index)], self.signed)

    @property
    def by_seed(self) -> pd.Series:
        """Mean over the chips of each seed."""
        means: pd.Series = self.values.groupby(level="seed").mean()
        return means

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(self.by_seed.mean())

    @property
    def count(self) -> str:
        """Seeds × chips of each; chips of every seed if they differ; nothing for figures of networks."""
        if self.values.index.nlevels == 1:
            return ""
        chips = self.values.groupby(level="seed").size().tolist()
        return f"{len(chips)} × {chips[0]}" if len(set(chips)) == 1 else " + ".join(map(str, chips))

    def percent(self, value: float) -> str:
        """Format a value in per cent, or a difference in points."""
        value = round(100 * value, 2) + 0.0  # no "-0.00"
        return f"{value:+.2f}" if self.signed else f"{value:.2f}"

    def __str__(self) -> str:
        if not self:
            return "–"
        seeds = self.by_seed
        spread = f" ± {100 * seeds.std():.2f}" if seeds.nunique() > 1 else ""  # without faults all seeds have one network
        return self.percent(self.mean) + spread + (f" [{self.count}]" if self.count else "")


def collect(out: Path, docs: Path) -> None:
    """Write what is finished, also while other rows are being run.

    ``study_runs.csv`` has a line for each row, ``study_chips.csv`` one for each chip and deployment of it,
    ``study_baselines.csv`` one for each network before any fault.
    """
    folder = RunFolder(out / "rows")
    finished = [(row, run) for row in all_rows() if (run := folder.get(row.name)) is not None]
    if not finished:
        raise SystemExit(f"{out}: no finished row")
    runs = [{"run": i, **row.fields(), **_rounded({key: run.get(key) for key in RUN})} for i, (row, run) in enumerate(finished)]
    write_table(docs / "study_runs.csv", runs)
    chips = [
        {"run": i, **_rounded({key: chip.get(key, "") for key in CHIP})}
        for i, (_, run) in enumerate(finished)
        for chip in run["chips"]
    ]
    write_table(docs / "study_chips.csv", chips)
    folder = RunFolder(out / "baselines")
    networks = [
        {"network": name, **_rounded({key: baseline[key] for key in BASELINE})}
        for name in NETWORKS
        if (baseline := folder.get(name)) is not None
    ]
    write_table(docs / "study_baselines.csv", networks)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in values.items()}


class Results:
    """The finished rows, as they stand in the CSV files.

    Args:
        docs: Folder with the files.

    Attributes:
        runs: A line for each row.
        chips: A line for each chip and deployment of each row, with all that is known of the row. ``chip`` is the chip's name.
        baselines: A line for each network.
    """

    def __init__(self, docs: Path) -> None:
        tables = {
            name: pd.read_csv(docs / f"study_{name}.csv", keep_default_na=False, na_values=[""])
            for name in ("runs", "chips", "baselines")
        }
        self.runs, self.baselines = tables["runs"], tables["baselines"]
        self.chips = self.runs.drop(columns="chip").merge(tables["chips"], on="run", validate="one_to_many")
        self._alike = {id(t): t.groupby(KEYS, sort=False).indices for t in (self.runs, self.chips)}

    def runs_with(self, **fields: Any) -> pd.DataFrame:
        """Return rows with these fields, the defaults in all others but chip, and one of ``SEEDS`` unless a seed is given."""
        return self._having(self.runs, fields)

    def accuracy(self, deployment: str | None = None, *, member: bool = True, **fields: Any) -> Figure:
        """Return the accuracy of each chip, under one deployment."""
        chips = self._having(self.chips, fields)
        chips = chips[(chips.member == member) & (deployment is None or chips.deployment == deployment)]
        return Figure(chips.set_index(["seed", "chip"]).accuracy)

    def nominal(self, **fields: Any) -> Figure:
        """Return the accuracy of the networks as trained."""
        return Figure(self.runs_with(**fields).set_index("seed").nominal)

    def per_chip(self, **fields: Any) -> Figure:
        """Return the accuracy of each chip that was retrained by itself."""
        return self.accuracy(method=methods.PER_CHIP, **fields)

    def untrained(self, *, store: str = "nearest", **fields: Any) -> Figure:
        """Return the accuracy of each chip without training, every one with an image of its own."""
        deployment = "chip_image" if store == "nearest" else "group_image"
        return self.accuracy(deployment, method=methods.NONE, store=store, steps=0, **fields)

    def _having(self, table: pd.DataFrame, fields: dict[str, Any]) -> pd.DataFrame:
        wanted = {**Row().fields(), **fields}
        rows = table.iloc[self._alike[id(table)].get(tuple(wanted[key] for key in KEYS), [])]
        # The curve's chips have a seed of their own.
        return rows[rows.seed.isin([fields["seed"]] if "seed" in fields else SEEDS)]
