"""Plot reports on a fleet: accuracy and cost, yield, activated faults; needs matplotlib (extra ``plot``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tremap_brevitas.drawing import new_figure, plain, save_figure
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.analysis.pictures import COLOURS
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.activated import activated_faults
from tremap_brevitas.printable import counted
from tremap_brevitas.report.fleet_report import FleetReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_reports(
    reports: Sequence[FleetReport],
    path: str | os.PathLike[str] | None = None,
    *,
    threshold: float | None = None,
    title: str = "",
) -> Figure:
    """Plot the accuracy of every chip for every method, and the cost of each method.

    Left: a dot for each chip, a line at the mean, filled dots for bit-exact chips. Right: optimizer steps for the whole fleet.

    Args:
        reports: The reports, drawn from top to bottom.
        path: File to save the figure to, atomically; its ending chooses the format, PNG without one. None saves nothing.
        threshold: Accuracy at which a chip counts as good; drawn as a dashed line.
        title: Heading of the picture.

    Returns:
        The figure, which can be changed and saved further. It belongs to no window.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no report, or matplotlib cannot write the format of ``path``.

    Examples:
        >>> from tremap_brevitas.report import ChipResult
        >>> report = FleetReport("merged", 0.95, (ChipResult("A7", accuracy=0.93), ChipResult("B2", accuracy=0.91)), 300)
        >>> figure = plot_reports([report], threshold=0.9)
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['merged']
    """
    if not reports:
        raise ValueError("no report to plot")
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


def plot_yield(
    reports: Sequence[FleetReport],
    path: str | os.PathLike[str] | None = None,
    *,
    threshold: float | None = None,
    title: str = "",
) -> Figure:
    """Plot the sorted accuracies of the chips, and the yield: the share of chips at or above an accuracy.

    A chip whose accuracy is NaN is not drawn; it counts among the chips, and reaches no accuracy.

    Args:
        reports: Reports on the same fleet.
        path: File to save the figure to, atomically; its ending chooses the format, PNG without one. None saves nothing.
        threshold: Accuracy at which a chip counts as good; drawn as a dashed line.
        title: Heading of the picture.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no report, one has no chip, or matplotlib cannot write the format of ``path``.

    Examples:
        >>> from tremap_brevitas.report import ChipResult
        >>> report = FleetReport("merged", 0.95, (ChipResult("A7", accuracy=0.25), ChipResult("B2", accuracy=0.75)))
        >>> figure = plot_yield([report])
        >>> figure.axes[0].lines[0].get_ydata().tolist()  # per cent, the best chip first
        [75.0, 25.0]
    """
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
        # Up to the worst chip's accuracy every chip that has one counts; beyond the best chip's, none does.
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
    left.locator_params(axis="x", integer=True)
    right.set_xlabel("accuracy asked for (%)")
    right.set_ylabel("yield: chips at or above it (%)")
    right.set_ylim(-2, 104)
    for axes in (left, right):
        axes.grid(color="#e5e5e5")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=12)
    return save_figure(figure, path)


def plot_activated_faults(
    image: MemoryImage, chips: Iterable[FaultMap], path: str | os.PathLike[str] | None = None, *, title: str = ""
) -> Figure:
    """Plot in which bits and layers the activated faults lie, as a mean over chips.

    Args:
        image: The codes that are stored.
        chips: The chips' own maps.
        path: File to save the figure to, atomically; its ending chooses the format, PNG without one. None saves nothing.
        title: Heading of the picture; number of chips and of activated bits if empty.

    Returns:
        The figure.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is no chip, a map is of another memory, or matplotlib cannot write the format of ``path``.

    Examples:
        >>> from tremap_brevitas import FaultMap, Memory, MemoryImage
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> memory = Memory(words=4, word_bits=8)
        >>> placement = linear_placement([LayerCodes("fc", (2, 2), 8, "twos_complement")], memory)
        >>> image = MemoryImage(placement, {"fc": np.zeros((2, 2), dtype=np.int64)})
        >>> figure = plot_activated_faults(image, [FaultMap(memory, [7, 8], [1, 0])])  # a 0 is stored in both cells
        >>> figure.get_suptitle()
        '1 chip: 1 activated bit a chip, 50 % of the stuck ones'
    """
    chips = list(chips)
    if not chips:
        raise ValueError("no chip to plot")
    activated = [activated_faults(image, chip) for chip in chips]
    layers = image.placement.layers
    figure = new_figure(10, max(4.0, 1.6 + 0.24 * len(layers)))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    stuck = np.mean([a.faults_by_bit for a in activated], axis=0)
    wrong = np.mean([a.by_bit for a in activated], axis=0)
    bits = np.arange(len(stuck))
    left.bar(bits, stuck, color="#d9d9d9", width=0.8, label="stuck bits of weights")
    left.bar(bits, wrong, color=COLOURS[1], width=0.8, label="activated: differs from the stored bit")
    left.set_xticks(bits, [f"{b}" for b in bits])
    left.set_xlabel("bit of the code (0 is the LSB)")
    left.set_ylabel("bits a chip, mean over chips")
    left.set_ylim(top=1.28 * max(1.0, float(stuck.max())))
    left.legend(frameon=False, fontsize=9, loc="upper left")
    rates = [1000 * float(np.mean([a.by_layer[layer.name] for a in activated])) / layer.size for layer in layers]
    rows = np.arange(len(layers))
    right.barh(rows, rates, color=COLOURS[1], height=0.6)
    right.set_yticks(rows, [plain(name) for name in _short([layer.name for layer in layers])], fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("activated bits per thousand weights")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    total = np.mean([a.activated for a in activated])
    share = np.mean([a.activated / max(1, a.faults) for a in activated])
    activity = f"{counted(round(total), 'activated bit')} a chip, {100 * share:.0f} % of the stuck ones"
    figure.suptitle(title or f"{counted(len(chips), 'chip')}: {activity}", fontsize=11)
    return save_figure(figure, path)


def _label(name: str) -> str:
    """Return a report's legend label; matplotlib would hide a name that begins with an underscore."""
    return plain(f" {name}" if name.startswith("_") else name or "fleet")


def _short(names: Sequence[str], width: int = 28) -> list[str]:
    """Shorten names to a width at the start or the end; keep them whole if two would become equal."""
    for front in (False, True):
        cut = [f"{name[: width - 1]}…" if front else f"…{name[1 - width :]}" for name in names]
        short = [name if len(name) <= width else cut[i] for i, name in enumerate(names)]
        if len(set(short)) == len(set(names)):
            return short
    return list(names)
