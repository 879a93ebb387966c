"""``tremap group``: choose the chips to retrain together."""

from __future__ import annotations

import csv
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import click

from tremap_brevitas.cli.common import (
    CURVE,
    EXISTING,
    GOAL,
    MARGIN,
    NEW_FOLDER,
    PATHS,
    Number,
    Reading,
    json_option,
    loaded_bundle,
    loaded_curve,
    map_options,
    on_terminal,
    overwrite_option,
)
from tremap_brevitas.cli.outputs import check_outputs, filled_folder
from tremap_brevitas.cli.printing import csv_rows, echo, print_json, table
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.merge import MergedFaultMap, merge
from tremap_brevitas.planning.group import group_chips
from tremap_brevitas.printable import counted, printable
from tremap_brevitas.tables import write_table

Rows = list[dict[str, Any]]


@click.command(
    epilog="""\b
Examples:
  tremap group chips/ --union-rate 0.05 --out groups/                    no union above 5 % of the cells
  tremap group chips/ --bundle healthy/ --curve curve.json --goal 0.86 --steps 200 --out groups/
"""
)
@PATHS
@map_options
@click.option("--union-rate", type=Number(0, 1, min_open=True), help="Largest union: stuck cells over all cells.")
@click.option("--bundle", type=EXISTING, help="The network before any retraining.")
@CURVE
@GOAL
@click.option("--steps", type=click.IntRange(min=0), help="Maximum number of retraining steps for a group.")
@MARGIN
@click.option("--largest", type=click.IntRange(min=1), help="Maximum number of chips in a group.")
@click.option("--out", required=True, type=NEW_FOLDER, help="Folder for a merged map of each group and the table groups.csv.")
@overwrite_option
@json_option
def group(
    paths: tuple[Path, ...],
    union_rate: float | None,
    bundle: Path | None,
    curve_file: Path | None,
    goal: float | None,
    steps: int | None,
    margin: float,
    largest: int | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Put chips into as few groups as possible, each to be retrained once under its merged map.

    Either no union may be larger than --union-rate, or each group must be expected to reach --goal after --steps by the
    network's resilience curve. Conflicts are left free. A bad file is named, and its chip is in no group.
    """
    by_goal = (bundle, curve_file, goal, steps)
    reader = Reading.of(**reading)
    files = reader.files(paths)
    inputs = [*files, *(p.parent for p in files), *(p for p in (bundle, curve_file) if p is not None)]
    check_outputs([out], inputs, overwrite=overwrite)
    with filled_folder(out, command="tremap group", overwrite=overwrite, earlier=_earlier(out)) as draft:
        if union_rate is not None and by_goal == (None,) * 4:
            merged, rows = _by_rate(reader, paths, union_rate, largest)
        elif union_rate is None and bundle is not None and curve_file is not None and goal is not None and steps is not None:
            options: dict[str, Any] = {"goal": goal, "steps": steps, "margin": margin, "largest": largest}
            merged, rows = _by_goal(reader, paths, bundle, curve_file, options)
        else:
            names = ("--union-rate", "--bundle", "--curve", "--goal", "--steps")
            given = [name for name, value in zip(names, (union_rate, *by_goal), strict=True) if value is not None]
            raise click.UsageError(f"give --union-rate, or all of {', '.join(names[1:])}; got {', '.join(given) or 'none'}")
        table_rows = [
            {
                "group": f"group_{i}",
                "chips": len(m.members),
                "union_rate": f"{m.union_rate:.3e}",
                "conflicts": len(m.conflicts),
                **row,
                "members": " ".join(_quoted(printable(member.chip)) for member in m.members),
            }
            for i, (m, row) in enumerate(zip(merged, rows, strict=True))
        ]
        for row, one in zip(table_rows, merged, strict=True):
            one.save(draft / f"{row['group']}.npz")
        write_table(draft / "groups.csv", csv_rows(table_rows))
    if as_json:
        print_json([{**row, "members": [m.chip for m in one.members]} for row, one in zip(table_rows, merged, strict=True)])
    else:
        heading = list(table_rows[0])[:-1]
        echo(table([h.replace("_", " ") for h in heading], [[row[h] for h in heading] for row in table_rows]))
        chips, groups = counted(sum(len(m.members) for m in merged), "chip"), counted(len(merged), "group")
        echo(f"{chips} in {groups}: {out}/")
    reader.finish()


def _by_rate(
    reader: Reading, paths: tuple[Path, ...], union_rate: float, largest: int | None
) -> tuple[list[MergedFaultMap], Rows]:
    chips = _chips(reader, paths)
    groups = group_chips(chips, limit=union_rate * chips[0].memory.cells, largest=largest, progress=on_terminal())
    return [merge(g.members, on_conflict="free") for g in groups], [{"too_much": not g.fits} for g in groups]


def _by_goal(
    reader: Reading, paths: tuple[Path, ...], bundle: Path, curve_file: Path, options: dict[str, Any]
) -> tuple[list[MergedFaultMap], Rows]:
    from tremap_brevitas.planning.plan import plan_groups

    image, curve = loaded_bundle(bundle).image, loaded_curve(curve_file)
    reader.expect(image.placement.memory)
    planned = plan_groups(_chips(reader, paths), image, curve, **options, progress=on_terminal())
    rows = [
        {
            "error": round(p.error, 4),
            "expected": round(p.accuracy, 4),
            "steps": "too few" if p.steps is None else p.steps,
        }
        for p in planned
    ]
    return [p.merged for p in planned], rows


def _chips(reader: Reading, paths: tuple[Path, ...]) -> list[FaultMap]:
    """Read the chips, which must have different names.

    Raises:
        ValueError: If two are not.
    """
    chips = reader.all_maps(paths)
    twice = [name for name, count in Counter(chip.chip for chip in chips).items() if count > 1]
    if twice:
        raise ValueError(
            f"{counted(len(twice), 'name')} used for several chips, such as {twice[0]!r}; groups.csv could not tell them apart"
        )
    return chips


def _quoted(name: str) -> str:
    """Quote a name for a list separated by blanks, as a shell would."""
    return shlex.quote(name) if not name or re.search(r"[\s'\"\\]", name) else name


def _earlier(out: Path) -> list[str]:
    """Return the files that a version without records wrote: the table, and a map for each of its rows."""
    try:
        with (out / "groups.csv").open(newline="", encoding="utf-8") as file:
            groups = [row["group"] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, csv.Error):
        return []
    return ["groups.csv", *(f"{name}.npz" for name in groups if re.fullmatch(r"group_[0-9]+", name))]
