"""The tables of networks of other kinds and of maps that are not uniform, for docs/study_networks.md and docs/study.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from benchmarks.preparations.cases import COSTS, SEEDS, UNIFORM, Case
from benchmarks.preparations.elsewhere import BOARDS, CHIPS, DIGITS, GROUP_RATE, GROUPS, MAPS, ON_MAPS, RATES, listed
from benchmarks.preparations.pictures import WITHIN
from benchmarks.preparations.rows import OWN, SHARED_IMAGE, Row, read
from benchmarks.preparations.statistics import Figure, figure

RESNET = "resnet20"
TITLES = {**DIGITS, RESNET: "ResNet-20 on CIFAR-10, 8 bits"}
KINDS = (*MAPS, *BOARDS)
KIND_TITLES = {board: f"measured, KC705 at {board.rpartition('_')[2].removesuffix('V')} V" for board in BOARDS}


def frame_of(path: Path) -> pd.DataFrame:
    """One line a chip, of as many chips of each seed everywhere; ``points`` is its difference from the healthy network."""
    rows = [row for row in read(path) if row.written in (OWN, SHARED_IMAGE) and int(row.chip) < CHIPS]
    lines = [{**vars(row), "chip": int(row.chip), "points": 100 * (row.accuracy - row.clean)} for row in rows]
    return pd.DataFrame(lines, columns=[*(field.name for field in fields(Row)), "points"])


def texts(path: Path) -> dict[str, str]:
    """What stands between the markers, by name."""
    frame = frame_of(path)
    return {
        **{f"network {name}": network(frame, name) for name in DIGITS},
        **{f"maps {name}": maps(frame, name) for name in (*DIGITS, RESNET)},
        "networks": networks(frame),
        "maps": cheapest_on_maps(frame),
        "networks not run": not_run(path),
    }


def _table(rows: Iterable[Sequence[str]], heads: Sequence[str]) -> str:
    lines = list(rows)
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True) if lines else "No row is finished."


def _cell(part: pd.DataFrame) -> str:
    return "" if part.empty else figure(part).text


def network(frame: pd.DataFrame, name: str) -> str:
    """One network: preparations against rates, and against the number of chips that share an image."""
    mine = frame[(frame.network == name) & (frame["map"] == UNIFORM)]
    if mine.empty:
        return "No row is finished."
    lines = []
    for preparation in COSTS:
        some = mine[mine.preparation == preparation]
        if some.empty:
            continue
        alone = [some[(some.chips == 1) & (some.rate == rate)] for rate in sorted(RATES)]
        groups = [some[(some.chips == size) & (some.rate == GROUP_RATE)] for size in sorted(GROUPS)]
        lines.append([preparation, *(_cell(part) for part in (*alone, *groups))])
    clean = mine.groupby("seed").clean.first()
    heads = ["preparation", *(f"{rate:g}" for rate in sorted(RATES)), *(f"{GROUP_RATE:g}, {n} share" for n in sorted(GROUPS))]
    healthy = ", ".join(f"{100 * value:.2f}" for value in clean)
    return f"Healthy: {healthy} % on 597 test images, one a seed.\n\n{_table(lines, heads)}"


def maps(frame: pd.DataFrame, name: str) -> str:
    """One network: maps against preparations."""
    mine = frame[(frame.network == name) & (frame["map"] != UNIFORM)]
    if mine.empty:
        return "No row is finished."
    names = [preparation for preparation in COSTS if preparation in ON_MAPS]
    lines = []
    for kind in KINDS:
        for rate in sorted(mine[mine["map"] == kind].rate.unique()):
            some = mine[(mine["map"] == kind) & (mine.rate == rate)]
            lines.append(
                [
                    KIND_TITLES.get(kind, kind),
                    f"{rate:.2g}",
                    _left(some),
                    *(_cell(some[some.preparation == preparation]) for preparation in names),
                ]
            )
    return _table(lines, ["map", "stuck cells", "left", *names])


def _left(some: pd.DataFrame) -> str:
    """Share of the cells that are stuck in the end, where that is another."""
    left = some.stuck.mean()
    return f"{left:.2g}" if abs(left / some.rate.iloc[0] - 1) > 0.05 else ""


def networks(frame: pd.DataFrame) -> str:
    """The cheapest preparation of each network at each rate that keeps every chip within the limit."""
    lines = []
    for name, title in DIGITS.items():
        mine = frame[(frame.network == name) & (frame["map"] == UNIFORM)]
        if mine.empty:
            continue
        alone = [_cheapest(mine[(mine.chips == 1) & (mine.rate == rate)]) for rate in sorted(RATES)]
        lines.append([title, *alone, *(_cheapest(mine[mine.chips == size]) for size in sorted(GROUPS))])
    return _table(
        lines, ["network", *(f"{rate:g}" for rate in sorted(RATES)), *(f"{GROUP_RATE:g}, {n} share" for n in sorted(GROUPS))]
    )


def cheapest_on_maps(frame: pd.DataFrame) -> str:
    """The same for the maps that are not uniform: a line a map, a column a network."""
    seeds = frame[frame["map"] != UNIFORM].groupby(["network", "map", "rate", "preparation"]).seed.nunique()
    complete = set(seeds[seeds == len(SEEDS)].index.get_level_values("network"))
    shown = [name for name in (RESNET, *DIGITS) if name in complete]
    lines = []
    for kind in KINDS:
        for rate in sorted(MAPS.get(kind, (BOARDS.get(kind, 0.0),))):
            some = frame[(frame["map"] == kind) & (frame.rate == rate)]
            if len(some):
                lines.append(
                    [
                        KIND_TITLES.get(kind, kind),
                        f"{rate:.2g}",
                        _left(some),
                        *(_cheapest(some[some.network == name]) for name in shown),
                    ]
                )
    return _table(lines, ["map", "stuck cells", "left", *(TITLES[name] for name in shown)])


def _cheapest(some: pd.DataFrame) -> str:
    """The first of the preparations, by cost, whose chips all stay within the limit; else the best of them."""
    found: dict[str, Figure] = {}
    for name in COSTS:
        part = some[some.preparation == name]
        if len(part) and part.seed.nunique() == len(SEEDS):  # the worst of fewer chips is no worst chip
            found[name] = figure(part)
    if not found:
        return ""
    for name, value in found.items():
        if value.worst >= -WITHIN - 1e-9:
            return f"{name} ({value.worst:+.2f})"
    best = max(found, key=lambda name: found[name].worst)
    return f"none; best {best} ({found[best].worst:+.2f})"


def not_run(path: Path) -> str:
    """The cases that have no row yet."""
    done = {row.case for row in read(path)}
    small: list[Case] = [case for maps in (False, True) for case in listed(list(DIGITS), maps=maps)]
    missing = [case for case in (*small, *listed([RESNET], maps=True)) if case not in done]
    counts = Counter((case.network, case.map != UNIFORM, case.preparation, case.rate) for case in missing)
    lines: dict[tuple[str, bool], list[str]] = {}
    for (name, other, preparation, rate), count in counts.items():
        lines.setdefault((name, other), []).append(f"{preparation} at {rate:.2g}: {count}")
    said = []
    for (name, other), some in lines.items():
        which = "; ".join(some) if len(some) < 12 else f"{len(some)} kinds of run"
        said.append(f"- {name}, {'other maps' if other else 'uniform maps'}: {which}.")
    return "\n".join(said) or "Nothing: every case has its rows."
