"""What the rows yielded: reading them, means and spreads over seeds, and the two CSV files that every figure comes from."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rows import NETWORKS, SEEDS, Row, all_rows

from tremap_brevitas.cluster import RunFolder
from tremap_brevitas.files import write_table

RUN = ("faults", "union_rate", "conflicts", "rms_before", "relative_before", "nominal", "seconds", "evaluation_seconds")
CHIP = ("chip", "member", "deployment", "accuracy", "bit_exact", "weights_that_differ", "worst_error", "rms", "relative")


@dataclass(frozen=True)
class Result:
    """One finished row.

    Attributes:
        row: What was run.
        run: What is known of the run as a whole.
        chips: One entry for each chip and deployment.
    """

    row: Row
    run: dict[str, Any]
    chips: tuple[dict[str, Any], ...]

    def accuracies(self, deployment: str | None = None, *, member: bool = True) -> list[float]:
        """Accuracy of each chip."""
        return [c["accuracy"] for c in self.chips if c["member"] == member and deployment in (None, c["deployment"])]


@dataclass(frozen=True)
class Mean:
    """A figure over seeds.

    Attributes:
        values: One for each seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    def __str__(self) -> str:
        if not self.values:
            return "–"
        if len(self.values) == 1:
            return f"{100 * self.mean:.2f} (1 seed)"
        if len(set(self.values)) == 1:
            return f"{100 * self.mean:.2f}"  # one network, whatever the seed
        spread = f"{100 * self.mean:.2f} ± {100 * statistics.stdev(self.values):.2f}"
        return spread if len(self.values) >= 3 else f"{spread} ({len(self.values)} seeds)"


def finished(out: Path) -> list[Result]:
    """All rows that are there, also while others are being run."""
    folder = RunFolder(out / "rows")
    found = [(row, folder.get(row.name)) for row in all_rows()]
    return [Result(row, {key: run.get(key) for key in RUN}, tuple(run["chips"])) for row, run in found if run is not None]


def baselines(out: Path) -> dict[str, dict[str, Any]]:
    """Accuracy of the networks before any fault, by name."""
    folder = RunFolder(out / "baselines")
    return {name: found for name in NETWORKS if (found := folder.get(name)) is not None}


def having(results: Sequence[Result], **fields: Any) -> list[Result]:
    """Those results whose rows have these fields, and the defaults in all others but chip and seed, one of ``SEEDS``."""
    wanted = {**Row().fields(), **fields}
    given = {key for key in wanted if key not in ("seed", "chip") or key in fields}
    usual = [r for r in results if "seed" in fields or r.row.seed in SEEDS]  # the curve's chips have a seed of their own
    return [r for r in usual if all(r.row.fields()[key] == wanted[key] for key in given)]


def over_seeds(results: Sequence[Result], deployment: str | None = None, *, member: bool = True) -> Mean:
    """Mean accuracy over the chips, for each seed."""
    values = []
    for seed in sorted({r.row.seed for r in results}):
        chips = [a for r in results if r.row.seed == seed for a in r.accuracies(deployment, member=member)]
        if chips:
            values.append(statistics.fmean(chips))
    return Mean(tuple(values))


def nominal(results: Sequence[Result]) -> Mean:
    """Accuracy of the networks as trained, for each seed."""
    seeds = sorted({r.row.seed for r in results})
    return Mean(tuple(statistics.fmean(r.run["nominal"] for r in results if r.row.seed == s) for s in seeds))


def worst(results: Sequence[Result], deployment: str | None = None) -> float:
    """Worst accuracy of any chip with any seed."""
    return min(a for r in results for a in r.accuracies(deployment))


def write_results(results: Sequence[Result], folder: Path) -> None:
    """``study_runs.csv`` has a line for each row, ``study_chips.csv`` one for each chip and deployment of it."""
    write_table(folder / "study_runs.csv", [{"run": i, **r.row.fields(), **_rounded(r.run)} for i, r in enumerate(results)])
    chips = [
        {"run": i, **_rounded({key: chip.get(key, "") for key in CHIP})} for i, r in enumerate(results) for chip in r.chips
    ]
    write_table(folder / "study_chips.csv", chips)


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in values.items()}
