"""The pictures of docs/study.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.preparations.cases import (
    AS_THEY_LIE,
    BATCHNORM,
    BOTH,
    COMPENSATED,
    COSTS,
    LARGE_STEPS,
    NEAREST,
    ORDER,
    ORDER_COMPENSATED,
    RETRAINED,
    SIGNS,
    SILENCED,
    SILENCED_ORDER,
)
from tremap_brevitas.drawing import new_figure, save_figure
from tremap_brevitas.printable import counted

DRAWN = {
    AS_THEY_LIE: "#444444",
    NEAREST: "#c44e52",
    SILENCED: "#f58518",
    SIGNS: "#e377c2",
    BATCHNORM: "#d9a400",
    ORDER: "#5a8f3c",
    SILENCED_ORDER: "#a6d854",
    ORDER_COMPENSATED: "#17becf",
    COMPENSATED: "#1b6ca8",
    RETRAINED: "#8172b2",
    BOTH: "#937860",
    LARGE_STEPS: "#000000",
}
NETWORKS = {"resnet20": "ResNet-20, 8 bits", "resnet20-4bit": "ResNet-20, 4 bits"}
WITHIN = 0.5
GROUP_STYLES = {COMPENSATED: "o-", NEAREST: "s--", ORDER_COMPENSATED: "D-.", BOTH: "^:", LARGE_STEPS: "*:"}
RATE_COLOURS = {1e-3: "#5a8f3c", 6e-3: "#1b6ca8", 2e-2: "#c44e52"}


def draw(frame: pd.DataFrame, docs: Path) -> None:
    """Draw all of them; nothing where no row is of their networks."""
    if not frame.network.isin(list(NETWORKS)).any():
        return
    draw_rates(frame, docs / "study_rates.png")
    draw_cost(frame, docs / "study_cost.png")
    draw_groups(frame, docs / "study_groups.png")


def draw_rates(frame: pd.DataFrame, path: Path) -> None:
    """Draw the difference from the healthy network against the rate: a line a preparation, the whole and the last points."""
    networks = [name for name in NETWORKS if len(frame[(frame.network == name) & (frame.chips == 1)])]
    canvas = new_figure(9.5, 3.8 * len(networks))
    panels = canvas.subplots(len(networks), 2, squeeze=False)
    for (whole, close), network in zip(panels, networks, strict=True):
        for axes, limits in ((whole, None), (close, (-4.2, 0.8))):
            for name, colour in DRAWN.items():
                part = frame[(frame.network == network) & (frame.chips == 1) & (frame.preparation == name)]
                if len(part):
                    _line(axes, part.groupby("rate").points, colour, name)
            axes.axhline(-WITHIN, color="#888888", linestyle=":", linewidth=1.2, label=f"{WITHIN:g} points below healthy")
            axes.set_xscale("log")
            axes.set_ylim(limits)
            axes.set_xlabel("stuck cells of a chip")
            _plain(axes)
        whole.set_title(NETWORKS[network], fontsize=10)
        close.set_title(f"{NETWORKS[network]}: the last points", fontsize=10)
        whole.set_ylabel("points against the healthy network")
    canvas.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save_figure(canvas, path)


def _line(axes: Any, grouped: Any, colour: str, label: str, style: str = "o-") -> None:
    """Means, with bars from the worst chip to the best."""
    mean, low, high = grouped.mean(), grouped.min(), grouped.max()
    axes.errorbar(
        mean.index, mean, yerr=[mean - low, high - mean], fmt=style, color=colour, ms=4, capsize=2, linewidth=1.3, label=label
    )


def draw_cost(frame: pd.DataFrame, path: Path) -> None:
    """Draw seconds of one core against the rate; the legend has what does not depend on it: steps, images, labels."""
    canvas = new_figure(9.5, 5.4)
    axes = canvas.subplots()
    some = frame[(frame.network == "resnet20") & (frame.chips == 1)]
    for name, colour in DRAWN.items():
        part = some[(some.preparation == name) & (some.seconds > 0)]
        cost = COSTS[name]
        takes = [f"{cost.steps} steps" if cost.steps else "", f"{cost.labels:,} labels" if cost.labels else ""]
        takes += [counted(cost.images, "image") if cost.images else ""]
        label = f"{name}: {', '.join(filter(None, takes)) or 'no images'}"
        if len(part):
            median = part.groupby("rate").seconds.median()
            axes.plot(median.index, median, "o-", color=colour, ms=5, linewidth=1.3, label=label)
            clock = part.groupby("rate").processor.all()
            axes.plot(median.index[~clock], median[~clock], "o", color=colour, ms=5, mfc="white")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("stuck cells of a chip")
    axes.set_ylabel("seconds of one core, a chip")
    axes.set_title("ResNet-20, 8 bits (hollow: by the clock of a busy machine)", fontsize=10)
    canvas.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _plain(axes)
    save_figure(canvas, path)


def draw_groups(frame: pd.DataFrame, path: Path) -> None:
    """Draw the difference from the healthy network against the number of chips that share one image."""
    canvas = new_figure(9.5, 4.2)
    panels = canvas.subplots(1, 2)
    some = frame[frame.network == "resnet20"]
    for axes, limits in zip(panels, (None, (-5, 0.8)), strict=True):
        for rate, colour in RATE_COLOURS.items():
            for name, style in GROUP_STYLES.items():
                part = some[(some.rate == rate) & (some.preparation == name)]
                if (part.chips > 1).any():
                    _line(axes, part.groupby("chips").points, colour, f"{name}, {rate:g}", style)
        axes.axhline(-WITHIN, color="#888888", linestyle=":", linewidth=1.2, label=f"{WITHIN:g} points below healthy")
        axes.set_xscale("log")
        axes.set_xticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
        axes.minorticks_off()
        axes.set_ylim(limits)
        axes.set_xlabel("chips that share one image")
        _plain(axes)
    panels[0].set_ylabel("points against the healthy network")
    panels[0].set_title("ResNet-20, 8 bits", fontsize=10)
    panels[1].set_title("the last points", fontsize=10)
    canvas.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    save_figure(canvas, path)


def _plain(axes: Any) -> None:
    axes.grid(color="#e8e8e8")
    axes.spines[["top", "right"]].set_visible(False)
