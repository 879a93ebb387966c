"""docs/study.md, its CSV files and its pictures, from the rows that are finished."""

from __future__ import annotations

import contextlib
import re
import statistics
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from prediction import new_chips, resilience_curve
from results import Result, baselines, finished, having, over_seeds, write_results
from rows import RATES, all_rows
from tables import CHIP, NEVER_SEEN, TABLES, baseline_table

from tremap_brevitas.drawing import new_figure, save_figure
from tremap_brevitas.files import whole_file
from tremap_brevitas.fleet import ChipResult, FleetReport
from tremap_brevitas.fleet.plot_fleet import plot_yield

COLOURS = ("#1b6ca8", "#c44e52", "#5a8f3c", "#8172b2", "#937860", "#444444", "#d9a400", "#2a9d8f")


def write_report(out: Path, docs: Path) -> None:
    """Fill the tables between the markers of study.md, and write what it links to.

    Args:
        out: Folder of the finished rows.
        docs: Folder with study.md.
    """
    results = finished(out)
    if not results:
        raise SystemExit(f"{out}: no finished row")
    write_results(results, docs)
    page = docs / "study.md"
    text = page.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        text = _filled(text, page, name, table(results))
    text = _filled(text, page, "baselines", baseline_table(baselines(out)))
    done = f"{len(results)} of {len(all_rows())} rows are finished."
    text = re.sub(r"(<!-- rows -->).*?(<!-- /rows -->)", rf"\g<1>{done}\g<2>", text, flags=re.DOTALL)
    _replace(page, text)
    readme = docs.parent / "README.md"
    if readme.exists():
        _replace(readme, _filled(readme.read_text(encoding="utf-8"), readme, "headline", TABLES["headline"](results)))
    _draw_grid(results, docs / "study_grid.png")
    _draw_resilience(results, docs / "study_resilience.png")
    _draw_yield(results, docs / "study_yield.png")
    with contextlib.suppress(ValueError):  # its points are not there yet
        resilience_curve(results).save(docs / "resnet20_resilience.json")
    print(f"{len(results)} rows: {page}")


def _filled(text: str, page: Path, name: str, table: str) -> str:
    """Put a table between its markers."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    text, count = marked.subn(lambda found: f"{found[1]}{table}\n{found[2]}", text)
    if count != 1:
        raise SystemExit(f"{page}: {count} places for the table {name!r}, expected one")
    return text


def _replace(page: Path, text: str) -> None:
    with whole_file(page) as draft:
        draft.write_text(text, encoding="utf-8")


def _draw_grid(results: Sequence[Result], path: Path) -> None:
    rates = [rate for rate in RATES if len(having(results, rate=rate)) + len(having(results, rate=rate, chips=20)) > 1]
    if not rates:
        return
    figure = new_figure(3.5 + 3.5 * len(rates), 3.9)
    # An axis each: what is a point at the lowest rate is dozens at the highest.
    panels = figure.subplots(1, len(rates), squeeze=False)[0]
    for axes, rate in zip(panels, rates, strict=True):
        lines = {"merged, one image for all": "group_image", "merged, one image a chip": "chip_image"}
        for colour, (name, deployment) in zip(COLOURS, lines.items(), strict=False):
            counts = [k for k in (2, 5, 10, 20) if having(results, rate=rate, chips=k)]
            means = [over_seeds(having(results, rate=rate, chips=k), deployment) for k in counts]
            _line(axes, counts, means, colour, name)
        for colour, (name, found) in zip(
            COLOURS[2:],
            {
                "retrained for each chip": over_seeds(having(results, method="per chip", rate=rate)),
                "nearest codes, no training": over_seeds(having(results, method="none", rate=rate, steps=0), CHIP),
            }.items(),
            strict=False,
        ):
            if found.values:
                axes.axhline(100 * found.mean, color=colour, linewidth=1.4, linestyle="--", label=name)
        axes.set_xscale("log")
        axes.set_xticks([2, 5, 10, 20], ["2", "5", "10", "20"])
        axes.minorticks_off()
        axes.set_xlabel("chips in the group")
        axes.set_title(f"fault rate {rate:g}", fontsize=10)
        axes.grid(color="#e8e8e8")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy on the chips (%)")
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save_figure(figure, path)


def _line(axes: Any, x: Sequence[int], means: Sequence[Any], colour: str, name: str) -> None:
    y = [100 * m.mean for m in means]
    spread = [100 * statistics.stdev(m.values) if len(m.values) > 1 else 0.0 for m in means]
    axes.errorbar(x, y, yerr=spread, fmt="o-", color=colour, ms=4, capsize=3, label=name)


def _draw_yield(results: Sequence[Result], path: Path) -> None:
    """Chips that took no part in anything, of all seeds together."""
    reports = []
    for method, name in NEVER_SEEN.items():
        found = [r for r in results if r.row.method == method and r.row.unseen]
        accuracies = [a for r in found for a in r.accuracies(CHIP, member=False)]
        chips = tuple(ChipResult(str(n), accuracy, False, 0, 0) for n, accuracy in enumerate(accuracies))
        if chips:
            nominal = statistics.fmean(r.run["nominal"] for r in found)
            reports.append(FleetReport(name=name, nominal=nominal, chips=chips, steps=0, seconds=0.0))
    if reports:
        title = f"{len(reports[0].chips)} chips never seen, fault rate 2e-2"
        plot_yield(reports, path, threshold=0.86, title=title)


def _draw_resilience(results: Sequence[Result], path: Path) -> None:
    try:
        curve = resilience_curve(results)
    except ValueError:
        return
    figure = new_figure(13.5, 4.4)
    left, right = figure.subplots(1, 2)
    top = max(p.error for p in curve.points)
    errors = np.linspace(0, top, 300)
    for colour, budget in zip(COLOURS, curve.budgets, strict=False):
        points = [p for p in curve.points if p.steps == budget]
        left.plot([p.error for p in points], [100 * p.accuracy for p in points], "o", ms=3.5, color=colour)
        label = f"{budget} steps" if budget else "no training"
        left.plot(errors, [100 * curve.predict(e, steps=budget) for e in errors], color=colour, linewidth=1.2, label=label)
    left.set_xlabel("relative error of the codes before training")
    left.set_ylabel("accuracy (%)")
    left.legend(frameon=False, fontsize=9)
    kinds: dict[str, list[tuple[float, float]]] = {}
    for kind, error, accuracy, steps in new_chips(results, "relative"):
        kinds.setdefault(kind, []).append((curve.predict(error, steps=steps), accuracy))
    for colour, (kind, pairs) in zip(cycle(COLOURS), sorted(kinds.items()), strict=False):
        right.plot(*zip(*[(100 * a, 100 * b) for a, b in pairs], strict=True), "o", ms=3.5, color=colour, label=kind, alpha=0.7)
    if kinds:
        low = 100 * min(min(pair) for pairs in kinds.values() for pair in pairs)
        ends = np.array([low, 89.5])
        right.plot(ends, ends, color="#888888", linewidth=1)
        right.fill_between(ends, ends - 1, ends + 1, color="#888888", alpha=0.15, label="within 1 point")
    right.set_xlabel("accuracy predicted (%)")
    right.set_ylabel("accuracy measured (%)")
    right.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    for axes in (left, right):
        axes.grid(color="#e8e8e8")
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
