"""``tremap map repair``: use spare rows and columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tremap_brevitas.cli.common import FILE, NEW, Reading, loaded_geometry, map_options, overwrite_option
from tremap_brevitas.cli.inputs import regular
from tremap_brevitas.cli.outputs import check_outputs, summary, to_file
from tremap_brevitas.cli.spares import spare_options
from tremap_brevitas.faults.array.allocate import allocate_repair
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.array.repair import Repair, repaired
from tremap_brevitas.printable import counted


@click.command(
    epilog="""\b
Examples:
  tremap map repair A7.npz --spare-rows 4 --spare-columns 2 --out A7-repaired.npz --list A7-repair.csv
  tremap map repair A7.npz --apply A7-repair.csv --out A7-repaired.npz
"""
)
@click.argument("path", type=FILE)
@map_options
@spare_options
@click.option("--apply", "apply_", type=FILE, help="Apply this repair list, instead of computing one.")
@click.option("--list", "list_", type=NEW, help="Write the repair list to this file.")
@click.option("--out", required=True, type=NEW, help="File of the post-repair map.")
@overwrite_option
def repair(
    path: Path,
    spare_rows: int,
    spare_columns: int,
    column_mux: int,
    geometry: Path | None,
    apply_: Path | None,
    list_: Path | None,
    out: Path,
    overwrite: bool,
    **reading: Any,
) -> None:
    """Replace rows and columns by spare ones, and write the map of the remaining faults."""
    if geometry is not None and column_mux != 1:
        raise click.UsageError("--geometry says the column mux; leave --column-mux out")
    reader = Reading.of(**reading)
    check_outputs([out, list_], [p for p in (path, geometry, apply_) if p is not None], overwrite=overwrite)
    fault_map = reader.one_map(path)
    array = ArrayGeometry(fault_map.memory, column_mux=column_mux) if geometry is None else loaded_geometry(geometry)
    if apply_ is not None:
        with regular(apply_) as file:
            done = Repair.load(file)
        remaining = repaired(fault_map, done, geometry=array)
    else:
        plan = allocate_repair(fault_map, spare_rows=spare_rows, spare_columns=spare_columns, geometry=array)
        done, remaining = plan.repair, plan.remaining
    with to_file(out) as file:
        remaining.save(file)
    if list_ is not None:
        with to_file(list_) as file:
            done.save(file)
    before, after = counted(len(fault_map), "stuck cell"), counted(len(remaining), "stuck cell")
    lines = f"{counted(len(done.rows), 'row')} and {counted(len(done.columns), 'column')}"
    summary(f"{before}, {lines} replaced, {after} left: {out}", out, list_)
