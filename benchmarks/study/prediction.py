"""How well the resilience curve predicts the accuracy of chips that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from results import Result

from tremap_brevitas.fleet.resilience import Point, ResilienceCurve

MEASURED_WITH = 10  # seed of the rows that the curve is made of; none of their chips is predicted


def resilience_curve(results: Sequence[Result], *, scale: str = "relative") -> ResilienceCurve:
    """ResNet-20's curve, from chips of one seed.

    Args:
        results: All results.
        scale: ``"relative"`` or ``"rms"``: which error of the codes.
    """
    points = []
    for r in results:
        if r.row.seed != MEASURED_WITH or r.row.network != "resnet20":
            continue
        if r.row.method == "none":
            points.append(Point(0.0, r.run["nominal"]))
            points += [Point(c[scale], c["accuracy"]) for c in r.chips]
        else:
            points.append(Point(r.run[f"{scale}_before"], r.run["nominal"], r.row.steps))
    return ResilienceCurve(points, name="ResNet-20, 8 bits, CIFAR-10, nearest codes")


def new_chips(results: Sequence[Result], scale: str) -> Iterator[tuple[str, float, float, int]]:
    """Kind of case, error, accuracy measured, steps; of seeds that are not the curve's."""
    for r in results:
        row = r.row
        if row.seed == MEASURED_WITH or row.network != "resnet20" or row.store != "nearest":
            continue
        if row.method == "none" and row.rate <= 2e-2:
            where = ", clustered" if row.pattern == "clustered" else ""
            where += f", memory loaded {row.reuse} times" if row.reuse > 1 else ""
            for c in r.chips:
                if c["deployment"] == "chip_image":
                    yield f"new chip at {row.rate:g}{where}; no training", c[scale], c["accuracy"], 0
            continue
        special = row.teacher or row.recalibrated
        usual = (row.entry, row.lr, row.pattern, row.reuse, special) == ("all at once", 0.02, "uniform", 1, False)
        if row.method in ("merged", "per chip") and usual:
            kind = "group" if row.method == "merged" else "chip"
            yield f"{kind}, retrained {row.steps} steps", r.run[f"{scale}_before"], r.run["nominal"], row.steps


def prediction_table(results: Sequence[Result]) -> str:
    """Share of predictions within a point, for either scale."""
    lines = ["| case | cases | within 1 point | mean error (points) | within 1 point by RMS error in LSB |", "|" + " --- |" * 5]
    found: dict[str, dict[str, list[float]]] = {}
    for scale in ("relative", "rms"):
        try:
            curve = resilience_curve(results, scale=scale)
        except ValueError:
            return "not run yet"
        for kind, error, accuracy, steps in new_chips(results, scale):
            found.setdefault(kind, {}).setdefault(scale, []).append(accuracy - curve.predict(error, steps=steps))
    for kind, by_scale in sorted(found.items()):
        off = np.array(by_scale["relative"])
        rms = np.abs(by_scale["rms"])
        lines.append(
            f"| {kind} | {len(off)} | {100 * np.mean(np.abs(off) <= 0.01):.0f} % | {100 * np.abs(off).mean():.2f} | "
            f"{100 * np.mean(rms <= 0.01):.0f} % |"
        )
    spread = resilience_curve(results).spread
    return "\n".join(lines) + f"\n\nThe curve's own estimate, from leaving points out: 90 % within {100 * spread:.2f} points."
