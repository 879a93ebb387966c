"""Options for spare rows and columns, which a command uses for every chip first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import click

from tremap_brevitas.cli.common import GEOMETRY, Command, loaded_geometry
from tremap_brevitas.faults.array.allocate import allocate_repair
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.fault_map import FaultMap


class Spares(TypedDict):
    """Values of the options."""

    spare_rows: int
    spare_columns: int
    column_mux: int
    geometry: Path | None


def spare_options(command: Command) -> Command:
    """Add options for the number of spare rows and columns, and for the location of the cells."""
    options = [
        click.option("--spare-rows", type=click.IntRange(min=0), default=0, show_default=True, help="Spare rows of each bank."),
        click.option(
            "--spare-columns", type=click.IntRange(min=0), default=0, show_default=True, help="Spare columns of each bank."
        ),
        click.option(
            "--column-mux", type=click.IntRange(min=1), default=1, show_default=True, help="Words that share a physical row."
        ),
        GEOMETRY,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def check_spares(*, spare_rows: int, spare_columns: int, column_mux: int, geometry: Path | None) -> None:
    """Check that a geometry is needed.

    Raises:
        click.UsageError: If it is not, or the column mux is given twice.
    """
    if geometry is not None and column_mux != 1:
        raise click.UsageError("--geometry says the column mux; leave --column-mux out")
    if (geometry is not None or column_mux != 1) and not spare_rows and not spare_columns:
        raise click.UsageError("--geometry and --column-mux say where spare lines lie; give --spare-rows or --spare-columns")


def after_spares(
    *, spare_rows: int, spare_columns: int, column_mux: int, geometry: Path | None
) -> Callable[[FaultMap], FaultMap]:
    """Return a function from a chip's map to the map that its spare rows and columns leave, as ``tremap map repair`` does."""
    if not spare_rows and not spare_columns:
        return lambda chip: chip
    said = None if geometry is None else loaded_geometry(geometry)

    def remaining(chip: FaultMap) -> FaultMap:
        array = ArrayGeometry(chip.memory, column_mux=column_mux) if said is None else said
        return allocate_repair(chip, spare_rows=spare_rows, spare_columns=spare_columns, geometry=array).remaining

    return remaining
