"""The tables of docs/study.md and README, from the rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from benchmarks.preparations.cases import (
    AS_THEY_LIE,
    BOTH,
    COMPENSATED,
    GROUP_RATES,
    LARGE_STEPS,
    NEAREST,
    ORDER,
    ORDER_COMPENSATED,
    RETRAINED,
    SHARED,
    SILENCED,
    SILENCED_ORDER,
    cases,
)
from benchmarks.preparations.pictures import DRAWN, NETWORKS, WITHIN
from benchmarks.preparations.rows import read
from benchmarks.preparations.statistics import figures, paired
from tremap_brevitas.files import atomic_file
from tremap_brevitas.planning.advice import Advice, advise
from tremap_brevitas.planning.evidence import measurements

SIZES = (1, 2, 5, 10, 20)
NOTHING = {
    AS_THEY_LIE: "nothing: the codes as they are",
    NEAREST: "**nearest codes**",
    SILENCED: "**nearest codes**, channels of zeros silenced",
    COMPENSATED: "**compensation**",
    SHARED: "**compensation**, moments shared by all chips",
    ORDER: "another **order** of channels",
    SILENCED_ORDER: "another **order** of channels, those of zeros silenced",
    ORDER_COMPENSATED: "**order**, then **compensation**",
    BOTH: "**compensation**, then 200 steps",
    LARGE_STEPS: "**order**, **compensation**, then 200 steps of 512 images",
}


def texts(frame: pd.DataFrame, csv: Path) -> dict[str, str]:
    """What stands between the markers, by name; pages take those that they have markers for."""
    return {
        "what to do": what_to_do(),
        "what to do, in short": what_to_do(sizes=(1, 5, 20), least=-0.7),
        **{f"rates {bits}": rates(frame, network) for network, bits in (("resnet20", 8), ("resnet20-4bit", 4))},
        "pairs": pairs(frame),
        "groups": groups(frame),
        "not run": not_run(csv),
    }


def fill(page: Path, filled: Mapping[str, str]) -> None:
    """Put the tables of a page between its markers."""
    text = page.read_text(encoding="utf-8")
    for name, table in filled.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text = marked.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", text)  # type: ignore[misc]
    with atomic_file(page) as draft:
        draft.write_text(text, encoding="utf-8")


def _table(rows: Iterable[Iterable[str]], heads: list[str]) -> str:
    return tabulate(list(rows), heads, tablefmt="github", disable_numparse=True)


def what_to_do(*, sizes: Iterable[int] = SIZES, least: float = -100.0) -> str:
    """For each rate, and each number of chips that share an image: the cheapest preparation that was good enough.

    Args:
        sizes: Numbers of chips.
        least: Cases whose best preparation has fewer points are left out.
    """
    rates = sorted({one.first.rate for one in measurements() if one.first.network in NETWORKS})
    lines = []
    for network in NETWORKS:
        mine = [one for one in measurements() if one.first.network == network]
        for size in sizes:
            measured = {(one.first.rate, one.first.chips) for one in mine}
            some = [rate for rate in rates if (rate, size) in measured]
            lines += _ranges([advise(rate, bits=mine[0].bits, chips=size, one_image=size > 1) for rate in some], least)
    heads = ["stuck cells of a chip", "bits", "chips with one image", "what to do", "points, and worst chip", "of a chip"]
    return _table(lines, [*heads[:5], "seconds of one core", "images"])


def _ranges(answers: list[Advice], least: float) -> list[list[str]]:
    """One line for neighbouring rates with the same answer, with the figures of the highest."""
    lines: list[list[str]] = []
    before: str | None = None
    for advice in answers:
        best = advice.best
        seconded = [option for option in advice.options if option.measured.seeds > 1 and option.basis == "measured"]
        chosen = best or max(seconded, key=lambda option: option.measured.worst, default=None)
        if chosen is None or chosen.measured.mean < least:
            continue
        one = chosen.measured
        name = NOTHING.get(chosen.preparation, chosen.preparation)
        if best is None:
            name = f"none is within {WITHIN:g} points; the best: {name}"
        values = f"{one.mean:+.2f} ± {one.half_interval:.2f}, {one.worst:+.2f} of {len(one.rows)}"
        line = [f"{advice.rate:g}", f"{advice.bits}", f"{advice.chips}", name, values]
        line += [f"{one.seconds:.0f}" if one.seconds >= 10 else f"{one.seconds:.2g}", f"{one.first.images + one.first.labels}"]
        if name == before and best is not None:
            line[0] = f"{lines[-1][0].removeprefix('up to ').partition(' to ')[0]} to {advice.rate:g}"
            lines[-1] = line
        else:
            lines.append(line)
        before = name
    return lines


def rates(frame: pd.DataFrame, network: str) -> str:
    """Preparations against rates."""
    values = figures(frame[(frame.network == network) & (frame.chips == 1)])
    columns = sorted({rate for _, rate, _, _ in values})
    if not columns:
        return "No row is finished."
    lines = []
    for name in DRAWN:
        cells = [values.get((network, rate, name, 1)) for rate in columns]
        if any(cells):
            lines.append([name, *(cell.text if cell else "" for cell in cells)])
    return _table(lines, ["preparation", *(f"{rate:g}" for rate in columns)])


def pairs(frame: pd.DataFrame) -> str:
    """How much better one preparation is than another, on the same chips: a line for a comparison, a column for a rate."""
    sides = [
        (COMPENSATED, NEAREST),
        (ORDER, NEAREST),
        (ORDER_COMPENSATED, COMPENSATED),
        (COMPENSATED, RETRAINED),
        (BOTH, COMPENSATED),
        (LARGE_STEPS, ORDER_COMPENSATED),
    ]
    found = {
        (title, f"{one}, against {other}"): {
            rate: f"{value.mean:+.2f} ± {value.half:.2f}" + ("" if value.count > 2 else f" [{value.count}]")
            for rate, value in paired(frame, one, other, network=network).items()
            if value.seeds > 1
        }
        for network, title in NETWORKS.items()
        for one, other in sides
    }
    columns = sorted({rate for values in found.values() for rate in values})
    lines = [[*about, *(values.get(rate, "") for rate in columns)] for about, values in found.items() if values]
    return _table(lines, ["network", "difference in points", *(f"{rate:g}" for rate in columns)])


def groups(frame: pd.DataFrame) -> str:
    """What sharing one image costs."""
    some = frame[(frame.network == "resnet20") & frame.rate.isin(GROUP_RATES)]
    values = figures(some)
    lines = []
    for rate in sorted(GROUP_RATES):
        for name in (NEAREST, COMPENSATED, ORDER_COMPENSATED, BOTH, LARGE_STEPS):
            cells = [values.get(("resnet20", rate, name, size)) for size in SIZES]
            if any(cells[1:]):
                lines.append([f"{rate:g}", name, *(cell.text if cell else "" for cell in cells)])
    return _table(lines, ["stuck cells", "preparation", *("1 chip" if size == 1 else f"{size} chips" for size in SIZES)])


def not_run(csv: Path) -> str:
    """The cases that have no row yet."""
    done = {row.case for row in read(csv)}
    every = list(cases(("resnet20", "resnet20-4bit", "resnet32")))
    missing = [case for case in every if case not in done]
    lines = []
    for network in dict.fromkeys(case.network for case in missing):
        mine = [case for case in missing if case.network == network]
        total = sum(case.network == network for case in every)
        if len(mine) == total:
            lines.append(f"- {network}: none of its {total} cases has run.")
            continue
        counts = Counter(f"{case.preparation}{' (groups)' if case.chip is None else ''}" for case in mine)
        empty = sorted({case.rate for case in mine} - {case.rate for case in done if case.network == network})
        nothing = f"no row yet at {', '.join(f'{rate:g}' for rate in empty)}; missing runs: " if empty else "missing runs: "
        lines.append(
            f"- {network}, of {total} cases: {nothing}{'; '.join(f'{name} {count}' for name, count in counts.items())}."
        )
    return "\n".join(lines) or "Nothing: every case has its rows."
