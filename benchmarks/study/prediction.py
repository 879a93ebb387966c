"""Measure how well the resilience curve predicts the accuracy of chips that it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from benchmarks.study import methods
from benchmarks.study.results import Results
from benchmarks.study.rows import Row
from tremap_brevitas.planning.resilience import Point, ResilienceCurve

MEASURED_WITH = 10  # seed of the rows that the curve is made of; none of their chips is predicted


def resilience_curve(results: Results, *, scale: str = "relative") -> ResilienceCurve:
    """Fit ResNet-20's curve, from chips of one seed.

    Args:
        results: All results.
        scale: ``"relative"`` or ``"rms"``: which error of the codes.
    """
    runs, chips = (t[(t.seed == MEASURED_WITH) & (t.network == "resnet20")] for t in (results.runs, results.chips))
    retrained = runs[runs.method != methods.NONE]
    chips = chips[chips.method == methods.NONE]
    points = [Point(0.0, accuracy) for accuracy in runs[runs.method == methods.NONE].nominal]
    points += map(Point, chips[scale], chips.accuracy)
    points += map(Point, retrained[f"{scale}_before"], retrained.nominal, retrained.steps)
    return ResilienceCurve(points, name="ResNet-20, 8 bits, CIFAR-10, nearest codes")


def new_cases(results: Results, scale: str = "relative") -> pd.DataFrame:
    """Return kind of case, error, steps and accuracy measured, of seeds that are not the curve's; every case once.

    Chips of a smaller group are the first of a larger one with the same seed, and some rows belong to several tables: a
    chip that is evaluated twice, or a training that is there twice, is one case.
    """
    chips, runs = (
        t[(t.seed != MEASURED_WITH) & (t.network == "resnet20") & (t.store == "nearest")] for t in (results.chips, results.runs)
    )
    chips = chips[(chips.method == methods.NONE) & (chips.rate <= 2e-2) & (chips.deployment == "chip_image")]
    chips = chips.drop_duplicates(["seed", "chip", "member", "rate", "pattern", "reuse"])
    where = np.where(chips.pattern == "clustered", ", clustered", "")
    loaded = chips.reuse.map(lambda n: f", memory loaded {n} times" if n > 1 else "")
    kinds = "new chip at " + chips.rate.map("{:g}".format) + where + loaded + "; no training"
    untrained = pd.DataFrame({"kind": kinds, "error": chips[scale], "steps": 0, "accuracy": chips.accuracy})
    usual = Row().fields()
    for field in ("entry", "lr", "pattern", "reuse", "teacher", "recalibrated"):
        runs = runs[runs[field] == usual[field]]
    runs = runs[runs.method.isin([methods.MERGED, methods.PER_CHIP])]
    single = runs.method == methods.PER_CHIP
    alike = ["method", "seed", "rate", "chips", "chip", "steps", "on_conflict"]
    runs = runs[~runs.assign(chips=runs.chips.where(~single, 1)).duplicated(alike)]
    kinds = (
        runs.method.map({methods.MERGED: "group", methods.PER_CHIP: "chip"})
        + ", retrained "
        + runs.steps.astype(str)
        + " steps"
    )
    retrained = {"kind": kinds, "error": runs[f"{scale}_before"], "steps": runs.steps, "accuracy": runs.nominal}
    return pd.concat([untrained, pd.DataFrame(retrained)], ignore_index=True)


def predicted(curve: ResilienceCurve, cases: pd.DataFrame) -> pd.Series:
    """Return what the curve predicts for each case."""
    values = [curve.predict(error, steps=steps) for error, steps in zip(cases.error, cases.steps, strict=True)]
    return pd.Series(values, index=cases.index, dtype=float)


def prediction_table(results: Results) -> str:
    """Return a table of the share of predictions within a point, for either scale."""
    off: dict[str, Any] = {}
    for scale in ("relative", "rms"):
        try:
            curve = resilience_curve(results, scale=scale)
        except ValueError:
            return "not run yet"
        cases = new_cases(results, scale)
        off[scale] = (cases.accuracy - predicted(curve, cases)).abs().groupby(cases.kind)
    lines = ["| case | cases | within 1 point | mean error (points) | within 1 point by RMS error in LSB |", "|" + " --- |" * 5]
    for (kind, relative), (_, rms) in zip(off["relative"], off["rms"], strict=True):
        lines.append(
            f"| {kind} | {len(relative)} | {100 * (relative <= 0.01).mean():.0f} % | {100 * relative.mean():.2f} | "
            f"{100 * (rms <= 0.01).mean():.0f} % |"
        )
    spread = resilience_curve(results).spread
    return "\n".join(lines) + f"\n\nThe curve's own estimate, from leaving points out: 90 % within {100 * spread:.2f} points."
