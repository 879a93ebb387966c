"""Draw the pictures of docs/study_retraining.md."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study.methods import CHIP
from benchmarks.study.prediction import new_cases, predicted, resilience_curve
from benchmarks.study.results import Figure, Results
from benchmarks.study.rows import RATES
from benchmarks.study.tables import BOTH, GOAL, NEVER_SEEN
from tremap_brevitas.drawing import new_figure, save_figure
from tremap_brevitas.report import ChipResult, FleetReport, plot_yield

COLOURS = ("#1b6ca8", "#c44e52", "#5a8f3c", "#8172b2", "#937860", "#444444", "#d9a400", "#2a9d8f", "#e377c2", "#17becf")


def draw_grid(results: Results, path: Path) -> None:
    """Draw accuracy against the number of chips, a panel for each rate."""
    rates = [rate for rate in RATES if sum(len(results.runs_with(rate=rate, chips=chips)) for chips in (5, 20)) > 1]
    if not rates:
        return
    figure = new_figure(3.5 + 3.5 * len(rates), 3.9)
    # An axis each: what is a point at the lowest rate is dozens at the highest.
    panels = figure.subplots(1, len(rates), squeeze=False)[0]
    for axes, rate in zip(panels, rates, strict=True):
        for colour, (deployment, what) in zip(COLOURS, BOTH, strict=False):
            accuracies = {chips: results.accuracy(deployment, rate=rate, chips=chips) for chips in (2, 5, 10, 20)}
            _line(axes, {chips: figure for chips, figure in accuracies.items() if figure}, colour, f"merged, {what}")
        levels = {
            "retrained for each chip": results.per_chip(rate=rate),
            "nearest codes, no training": results.untrained(rate=rate),
        }
        for colour, (name, level) in zip(COLOURS[2:], levels.items(), strict=False):
            if level:
                axes.axhline(100 * level.mean, color=colour, linewidth=1.4, linestyle="--", label=name)
        axes.set_xscale("log")
        axes.set_xticks([2, 5, 10, 20], ["2", "5", "10", "20"])
        axes.minorticks_off()
        axes.set_xlabel("chips in the group")
        axes.set_title(f"fault rate {rate:g}", fontsize=10)
        _plain(axes)
    panels[0].set_ylabel("accuracy on the chips (%)")
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save_figure(figure, path)


def _line(axes: Any, figures: dict[int, Figure], colour: str, name: str) -> None:
    y = [100 * figure.mean for figure in figures.values()]
    spread = [100 * np.nan_to_num(figure.by_seed.std()) for figure in figures.values()]
    axes.errorbar(list(figures), y, yerr=spread, fmt="o-", color=colour, ms=4, capsize=3, label=name)


def draw_yield(results: Results, path: Path) -> None:
    """Draw the yield of chips that took no part in any training, of all seeds together."""
    reports = []
    for method, (name, steps, _) in NEVER_SEEN.items():
        fields: dict[str, Any] = {"method": method, "steps": steps, "rate": 2e-2, "unseen": 10}
        accuracy = results.accuracy(CHIP, member=False, **fields)
        if accuracy:
            chips = tuple(ChipResult(str(where), accuracy=value) for where, value in accuracy.values.items())
            reports.append(FleetReport(name, results.nominal(**fields).mean, chips, steps))
    if reports:
        title = f"{len(reports[0].chips)} chips never seen, fault rate 2e-2"
        plot_yield(reports, path, threshold=GOAL, title=title)


def draw_resilience(results: Results, path: Path) -> None:
    """Draw the resilience curve with its points, and what it predicts against what was measured."""
    try:
        curve = resilience_curve(results)
    except ValueError:
        return
    figure = new_figure(13.5, 4.4)
    left, right = figure.subplots(1, 2)
    errors = np.linspace(0, max(p.error for p in curve.points), 300)
    for colour, budget in zip(COLOURS, curve.budgets, strict=False):
        points = [p for p in curve.points if p.steps == budget]
        left.plot([p.error for p in points], [100 * p.accuracy for p in points], "o", ms=3.5, color=colour)
        label = f"{budget} steps" if budget else "no training"
        left.plot(errors, [100 * curve.predict(e, steps=budget) for e in errors], color=colour, linewidth=1.2, label=label)
    left.set_xlabel("relative error of the codes before training")
    left.set_ylabel("accuracy (%)")
    left.legend(frameon=False, fontsize=9)
    cases = new_cases(results)
    cases["predicted"] = predicted(curve, cases)
    for colour, (kind, group) in zip(cycle(COLOURS), cases.groupby("kind"), strict=False):
        right.plot(100 * group.predicted, 100 * group.accuracy, "o", ms=3.5, color=colour, label=kind, alpha=0.7)
    if len(cases):
        # A few cases far below would press all others into a corner: they are named, not drawn.
        far = cases.accuracy < cases.predicted.min() - 0.05
        if far.any() and not far.all():
            below, kinds = cases[far].accuracy, " and ".join(cases[far].kind.unique())
            span = f"{100 * below.min():.0f} to {100 * below.max():.0f} %"
            right.set_title(f"not drawn: {len(below)} cases of {kinds}, measured {span}", fontsize=9)
            right.set_ylim(100 * cases[~far].accuracy.min() - 1, 90.5)
        ends = np.array([100 * cases[~far | far.all()].accuracy.min(), 89.5])
        right.plot(ends, ends, color="#888888", linewidth=1)
        right.fill_between(ends, ends - 1, ends + 1, color="#888888", alpha=0.15, label="within 1 point")
    right.set_xlabel("accuracy predicted (%)")
    right.set_ylabel("accuracy measured (%)")
    right.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    for axes in (left, right):
        _plain(axes)
    save_figure(figure, path)


def _plain(axes: Any) -> None:
    axes.grid(color="#e8e8e8")
    axes.spines[["top", "right"]].set_visible(False)
