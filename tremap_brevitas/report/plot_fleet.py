"""A fleet as pictures: yield, and where the faults that matter fall. Needs matplotlib (extra ``plot``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tremap_brevitas.drawing import new_figure, plain, save_figure
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.analysis.pictures import COLOURS
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.activated import activated_faults
from tremap_brevitas.report.fleet_report import FleetReport


def plot_yield(
    reports: Sequence[FleetReport], path: str | os.PathLike[str], *, threshold: float | None = None, title: str = ""
) -> Path:
    """Draw the accuracy of every chip, the best first, and the yield: the share of chips at or above an accuracy.

    A chip whose accuracy is NaN is not drawn; it counts among the chips, and reaches no accuracy.

    Args:
        reports: Reports on the same fleet.
        path: File to write; its ending chooses the format.
        threshold: Accuracy at which a chip counts as good; drawn as a dashed line.
        title: Heading of the picture.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no report, or one has no chip.
    """
    return save_figure(_yield_figure(reports, threshold, title), path)


def plot_activated_faults(
    image: MemoryImage, chips: Iterable[FaultMap], path: str | os.PathLike[str], *, title: str = ""
) -> Path:
    """Draw where in the codes, and in which layers, the stuck bits lie that change what is read; mean over chips.

    Args:
        image: The codes that are stored.
        chips: The chips' own maps.
        path: File to write; its ending chooses the format.
        title: Heading of the picture.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no chip, or a map is of another memory.
    """
    return save_figure(_activated_figure(image, list(chips), title), path)


def _yield_figure(reports: Sequence[FleetReport], threshold: float | None, title: str) -> Any:
    if not reports:
        raise ValueError("no report to plot")
    for report in reports:
        if not report.chips:
            raise ValueError(f"report {report.name!r} has no chip")
    figure = new_figure(10, 4.4 + 0.16 * len(reports))
    left, right = figure.subplots(1, 2)
    for report in reports:
        accuracies = np.array(report.accuracies)
        values = 100 * np.sort(accuracies[~np.isnan(accuracies)])[::-1]  # a chip without a figure reaches no accuracy
        (line,) = left.plot(np.arange(1, len(values) + 1), values, "o-", ms=3.5, linewidth=1.2, label=_label(report.name))
        if not len(values):
            continue
        ascending = values[::-1]
        share = 100 * np.arange(len(values), 0, -1) / len(report.chips)
        # Up to the worst chip's accuracy the yield is whole, or all that have one; beyond the best one's it is nothing.
        right.step(
            np.concatenate([[ascending[0] - 1], ascending, [ascending[-1]]]),
            np.concatenate([share[:1], share, [0]]),
            where="pre",
            color=line.get_color(),
        )
    if threshold is not None:
        left.axhline(100 * threshold, color="#666666", linestyle="--", linewidth=1, label=f"goal {100 * threshold:.1f} %")
        right.axvline(100 * threshold, color="#666666", linestyle="--", linewidth=1)
    left.set_xlabel("chips, the best first")
    left.set_ylabel("accuracy (%)")
    left.xaxis.get_major_locator().set_params(integer=True)
    right.set_xlabel("accuracy asked for (%)")
    right.set_ylabel("yield: chips at or above it (%)")
    right.set_ylim(-2, 104)
    for axes in (left, right):
        axes.grid(color="#e5e5e5")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=12)
    return figure


def _activated_figure(image: MemoryImage, chips: Sequence[FaultMap], title: str) -> Any:
    if not chips:
        raise ValueError("no chip to plot")
    found = [activated_faults(image, chip) for chip in chips]
    layers = image.placement.layers
    figure = new_figure(10, max(4.0, 1.6 + 0.24 * len(layers)))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    every = np.mean([f.faults_by_bit for f in found], axis=0)
    wrong = np.mean([f.by_bit for f in found], axis=0)
    bits = np.arange(len(every))
    left.bar(bits, every, color="#d9d9d9", width=0.8, label="stuck bits of weights")
    left.bar(bits, wrong, color=COLOURS[1], width=0.8, label="activated: not what is stored")
    left.set_xticks(bits, [f"{b}" for b in bits])
    left.set_xlabel("bit of the code (0 is the LSB)")
    left.set_ylabel("bits a chip, mean over chips")
    left.set_ylim(top=1.28 * max(1.0, float(every.max())))
    left.legend(frameon=False, fontsize=9, loc="upper left")
    rates = [1000 * float(np.mean([f.by_layer[layer.name] for f in found])) / layer.size for layer in layers]
    rows = np.arange(len(layers))
    right.barh(rows, rates, color=COLOURS[1], height=0.6)
    right.set_yticks(rows, [plain(name) for name in _short([layer.name for layer in layers])], fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("activated bits per thousand weights")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    total, share = np.mean([f.activated for f in found]), np.mean([f.activated / max(1, f.faults) for f in found])
    figure.suptitle(
        title or f"{len(chips)} chips: {total:.0f} activated bits a chip, {100 * share:.0f} % of the stuck ones", fontsize=11
    )
    return figure


def _label(name: str) -> str:
    """A report's name for a legend, which would pass over one that begins with an underscore."""
    return plain(f" {name}" if name.startswith("_") else name or "fleet")


def _short(names: Sequence[str], width: int = 28) -> list[str]:
    """Names cut to a width, at the front or else at the back; whole if either would make two look alike."""
    for front in (False, True):
        cut = [f"{name[: width - 1]}…" if front else f"…{name[1 - width :]}" for name in names]
        short = [name if len(name) <= width else cut[i] for i, name in enumerate(names)]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)
