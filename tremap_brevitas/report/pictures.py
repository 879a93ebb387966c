"""Reports as a picture; needs matplotlib (extra ``plot``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tremap_brevitas.drawing import new_figure, plain, save_figure
from tremap_brevitas.report.fleet_report import FleetReport


def plot_reports(
    reports: Sequence[FleetReport],
    path: str | os.PathLike[str],
    *,
    threshold: float | None = None,
    title: str = "",
) -> Path:
    """Draw the accuracy of every chip under every method, and what each method cost.

    Left: a dot for each chip, a line at the mean, filled dots for bit-exact chips. Right: optimizer steps for the whole fleet.

    Args:
        reports: The reports, drawn from top to bottom.
        path: File to write; its ending chooses the format.
        threshold: Accuracy at which a chip counts as good; drawn as a dashed line.
        title: Heading of the picture.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    figure = new_figure(10, 1.6 + 0.42 * len(reports))
    left, right = figure.subplots(1, 2, width_ratios=[3, 1], sharey=True)
    rows = np.arange(len(reports))
    colour = "#1f5a96"
    for row, report in zip(rows, reports, strict=True):
        spread = np.linspace(-0.22, 0.22, len(report.chips)) if len(report.chips) > 1 else np.zeros(1)
        values = [100 * accuracy for accuracy in report.accuracies]
        faces = [colour if c.bit_exact else "white" for c in report.chips]
        left.scatter(values, row + spread, s=22, c=faces, edgecolors=colour, linewidths=1.1, zorder=3)
        left.plot([100 * report.mean] * 2, [row - 0.36, row + 0.36], color="#c2571a", linewidth=2.2, zorder=4)
    left.scatter([], [], s=22, c=colour, edgecolors=colour, label="chip, bit-exact")
    left.scatter([], [], s=22, c="white", edgecolors=colour, label="chip, not bit-exact")
    left.plot([], [], color="#c2571a", linewidth=2.2, label="mean over chips")
    if threshold is not None:
        left.axvline(
            100 * threshold,
            color="#666666",
            linestyle="--",
            linewidth=1,
            label=f"goal {100 * threshold:.1f} %",
        )
    left.set_yticks(rows, [plain(r.name) for r in reports])
    left.invert_yaxis()
    left.set_xlabel("test accuracy (%)")
    left.grid(axis="x", color="#dddddd")
    right.barh(rows, [r.steps for r in reports], color="#8aa9c8", height=0.55)
    for row, report in zip(rows, reports, strict=True):
        right.text(report.steps, row, f" {report.steps:,}", va="center", fontsize=9)
    right.set_xlim(0, 1.3 * max(1, *(r.steps for r in reports)))
    right.set_xlabel("optimizer steps")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=12)
    return save_figure(figure, path)
