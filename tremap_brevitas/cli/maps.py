"""``tremap map info``, ``merge`` and ``diff``; the group's other commands have their own modules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from tremap_brevitas.cli.common import FILE, NEW, PATHS, Reading, json_option, map_options, overwrite_option
from tremap_brevitas.cli.inputs import STDIN
from tremap_brevitas.cli.outputs import STDOUT, check_outputs, summary, to_file
from tremap_brevitas.cli.printing import echo, print_json, table
from tremap_brevitas.faults.analysis.statistics import compare_maps, group_statistics, map_statistics, nesting
from tremap_brevitas.faults.fault_map import OnConflict
from tremap_brevitas.faults.merge import merge


@click.command(
    epilog="""\b
Examples:
  tremap map info A7.npz
  tremap map info lot7/ --format log --words 65536 --word-bits 32
  tremap map info 0.55V.hex.gz --format readback --words 911360 --word-bits 8 --banks 890 --option duplicated_bytes=true
"""
)
@PATHS
@map_options
@json_option
def info(paths: tuple[Path, ...], as_json: bool, **reading: Any) -> None:
    """Show statistics of fault maps: fault rates, affected banks and columns, clustering and overlap."""
    reader = Reading.of(**reading)
    maps = [chip for _, chip in reader.maps(paths)]
    if as_json:
        print_json([{"chip": chip.chip, "digest": chip.digest, **map_statistics(chip).as_dict()} for chip in maps])
    elif len(maps) == 1:
        echo(f"chip {maps[0].chip!r}: {maps[0].memory}, digest {maps[0].digest}\n{map_statistics(maps[0])}")
        if maps[0].metadata:
            echo("metadata: " + ", ".join(f"{k}={v}" for k, v in maps[0].metadata.items()))
    elif maps:
        rows = []
        for fault_map in maps:
            said = map_statistics(fault_map)
            ones = int(fault_map.stuck_at.sum())
            rows.append((fault_map.chip, fault_map.memory, len(fault_map), f"{said.rate:.2e}", ones, said.banks_hit))
        echo(table(("chip", "memory", "faults", "rate", "stuck at 1", "banks hit"), rows))
        if len({chip.memory for chip in maps}) == 1:
            echo(f"\n{group_statistics(maps)}")
        else:
            echo("\nchips of different memories have no cells to share")
    reader.finish()


@click.command(
    "merge",
    epilog="""\b
Examples:
  tremap map merge chips/ --on-conflict majority --out merged.npz
  tremap map merge A7.npz A8.npz --on-conflict error --out merged.npz
""",
)
@PATHS
@map_options
@click.option("--on-conflict", required=True, type=click.Choice(get_args(OnConflict)), help="How to settle conflicts.")
@click.option("--out", required=True, type=NEW, help="File of the merged map.")
@overwrite_option
@json_option
def merge_(paths: tuple[Path, ...], on_conflict: OnConflict, out: Path, overwrite: bool, as_json: bool, **reading: Any) -> None:
    """Merge the fault maps of a group of chips into one map for retraining.

    A bad file stops the command, because no chip may be left out of the group silently.
    """
    reading["strict"] = True
    reader = Reading.of(**reading)
    if as_json and out == STDOUT:
        raise click.UsageError("--json and --out - would both write to standard output")
    check_outputs([out], reader.files(paths), overwrite=overwrite)
    merged = merge([chip for _, chip in reader.maps(paths)], on_conflict=on_conflict)
    with to_file(out) as file:
        merged.save(file)
    if as_json:
        print_json(
            {
                "chips": len(merged.members),
                "faults": len(merged),
                "union_rate": merged.union_rate,
                "conflicts": len(merged.conflicts),
                "digest": merged.digest,
            }
        )
    else:
        summary(f"{merged}\nunion rate {merged.union_rate:.3e}, written to {out}", out)


@click.command(
    epilog="""\b
Examples:
  tremap map diff A7-0.57V.npz A7-0.55V.npz     is the first contained in the second?
  tremap map diff A7.npz A7-retested.npz && echo the same
"""
)
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@map_options
@json_option
def diff(first: Path, second: Path, as_json: bool, **reading: Any) -> None:
    """Compare two maps. Exits with 0 if they have the same stuck cells, with 1 if not."""
    reader = Reading.of(**reading)
    if str(first) in STDIN and str(second) in STDIN:
        raise click.UsageError("standard input can be read only once")
    a, b = reader.one_map(first), reader.one_map(second)
    comparison = compare_maps(a, b)
    contained = nesting(a, b), nesting(b, a)
    if as_json:
        print_json({**comparison.as_dict(), "first_in_second": contained[0], "second_in_first": contained[1]})
    else:
        echo(str(comparison))
        echo(f"{100 * contained[0]:.1f} % of the first's faults are in the second, {100 * contained[1]:.1f} % the other way")
    sys.exit(int(a.digest != b.digest))
