"""Tables and picture of the yield curve, from the rows of ``docs/order.csv``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from tremap_brevitas.drawing import new_figure, save_figure
from tremap_brevitas.tables import read_table

KINDS = ("uniform", "clustered")
POINT: dict[str, Callable[[str], Any]] = {
    "network": str,
    "kind": str,
    "rate": float,
    "weights": int,
    "chips": int,
    "exact_as_they_lie": float,
    "exact_in_order": float,
    "mean_wrong_as_they_lie": float,
    "mean_wrong_in_order": float,
    "mean_unavoidable": float,
    "mean_seconds": float,
    "max_seconds": float,
    "peak_mib": lambda text: int(text) if text else None,  # rows that were measured before it was
    "rounds": int,
    "patience": int,
}
COLOURS = ("#d1641c", "#2f6fb0", "#5b8c3a", "#7a3fa0", "#b8860b", "#444444", "#c2477f", "#2a9d8f")
Row = dict[str, Any]


def read_points(path: Path, columns: Mapping[str, Callable[[str], Any]] = POINT) -> list[Row]:
    """Points that were measured before, with these columns."""
    if not path.exists():
        return []

    def made(row: Mapping[str, str]) -> Row:
        return {name: kind(row[name]) for name, kind in columns.items()}

    return read_table(path, made, columns=list(columns), what="a table of points of the yield curve")


def in_page_order(points: Sequence[Row]) -> list[Row]:
    """Uniform maps, then clustered, then measured ones; in each the largest network first, then the rates."""
    kinds = [*KINDS, *sorted({p["kind"] for p in points} - set(KINDS))]
    return sorted(points, key=lambda p: (kinds.index(p["kind"]), -p["weights"], p["network"], p["rate"]))


def _by_rate(points: Sequence[Row], kinds: Sequence[str], cell: Callable[[Row], str]) -> str:
    """A row for each network and kind of map, a column for each rate."""
    chosen = [p for p in in_page_order(points) if p["kind"] in kinds]
    rates = sorted({p["rate"] for p in chosen})
    rows: dict[tuple[str, str], dict[float, str]] = {}
    for p in chosen:
        rows.setdefault((p["network"], p["kind"]), {})[p["rate"]] = cell(p)
    lines = [[*key, *(cells.get(rate, "") for rate in rates)] for key, cells in rows.items()]
    return tabulate(lines, ["network", "stuck cells", *(f"{rate:g}" for rate in rates)], "github", disable_numparse=True)


def yields(points: Sequence[Row]) -> str:
    """Share of the chips that are exact in order, and as they lie."""
    return _by_rate(points, KINDS, lambda p: f"{100 * p['exact_in_order']:.0f} ({100 * p['exact_as_they_lie']:.0f}) %")


def wrong_codes(points: Sequence[Row]) -> str:
    """Mean number of wrong codes, as they lie and in order."""
    return _by_rate(points, KINDS, lambda p: f"{_count(p['mean_wrong_as_they_lie'])} → {_count(p['mean_wrong_in_order'])}")


def _count(mean: float) -> str:
    return f"{mean:.0f}" if mean >= 100 else f"{mean:.3g}"


def costs(points: Sequence[Row]) -> str:
    """Processor seconds a chip, and most memory of a process."""
    rows = []
    chosen = [p for p in in_page_order(points) if p["kind"] == "uniform"]
    rates = sorted({p["rate"] for p in chosen})
    for name in dict.fromkeys(p["network"] for p in chosen):
        mine = [p for p in chosen if p["network"] == name]
        seconds = {p["rate"]: f"{p['mean_seconds']:.2g}" for p in mine}
        memory = [p["peak_mib"] for p in mine if p["peak_mib"] is not None]
        rows.append(
            [
                name,
                f"{mine[0]['weights']:,}",
                *(seconds.get(rate, "") for rate in rates),
                f"{max(memory)} MiB" if memory else "",
            ]
        )
    heads = ["network", "weights", *(f"{rate:g}" for rate in rates), "most memory"]
    return tabulate(rows, heads, "github", disable_numparse=True)


def measured(points: Sequence[Row]) -> str:
    """What comes of measured maps."""
    rows = [
        {
            "network": p["network"],
            "map": p["kind"],
            "rate": f"{p['rate']:.1e}",
            "places": p["chips"],
            "exact as they lie": f"{100 * p['exact_as_they_lie']:.0f} %",
            "exact in order": f"{100 * p['exact_in_order']:.0f} %",
            "wrong codes": f"{p['mean_wrong_as_they_lie']:.2f} → {p['mean_wrong_in_order']:.2f}",
            "no order can save": f"{p['mean_unavoidable']:.2f}",
            "seconds": f"{p['mean_seconds']:.3f}",
        }
        for p in in_page_order(points)
        if p["kind"] not in KINDS
    ]
    return tabulate(rows, "keys", "github", disable_numparse=True)


TABLES = {"yields": yields, "wrong codes": wrong_codes, "costs": costs, "measured": measured}


def draw(points: Sequence[Row], path: Path) -> None:
    """Share of exact chips against the rate, as they lie (dotted) and in order; a panel for each kind of map."""
    figure = new_figure(10, 4.2)
    panels = figure.subplots(1, len(KINDS), sharey=True)
    names = list(dict.fromkeys(p["network"] for p in in_page_order(points) if p["kind"] in KINDS))
    for axes, kind in zip(panels, KINDS, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            rows = [p for p in in_page_order(points) if p["network"] == name and p["kind"] == kind]
            rates = [p["rate"] for p in rows]
            lies, ordered = ([100 * p[f"exact_{way}"] for p in rows] for way in ("as_they_lie", "in_order"))
            axes.plot(rates, lies, ":", color=colour, linewidth=1.1)
            axes.plot(rates, ordered, "o-", color=colour, ms=4, linewidth=1.5, label=name)
        axes.plot([], [], "-", color="black", linewidth=1.5, label="in order")
        axes.plot([], [], ":", color="black", linewidth=1.1, label="as they lie")
        axes.set_xscale("log")
        axes.set_xlabel("stuck cells / all cells")
        axes.set_title(f"{kind} stuck cells", fontsize=11)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("chips exact (%)")
    panels[0].set_ylim(-4, 104)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, path)
