"""Options for spare rows and columns, which a command uses for every chip first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from tremap_brevitas.cli.common import GEOMETRY, Command, loaded_geometry
from tremap_brevitas.faults.array.allocate import allocate_repair
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.fault_map import FaultMap

if TYPE_CHECKING:
    from tremap_brevitas.order.spares import SpareLines


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


def spares_used(
    *, spare_rows: int, spare_columns: int, column_mux: int, geometry: Path | None
) -> Callable[[FaultMap], tuple[FaultMap, SpareLines | None]]:
    """What makes of a chip's map the one that is left by its spare rows and columns, and says which it uses.

    As ``tremap map repair`` does. Without spares it says None.
    """
    if not spare_rows and not spare_columns:
        return lambda chip: (chip, None)
    from tremap_brevitas.order.spares import SpareLines  # here, since SciPy takes a while

    said = None if geometry is None else loaded_geometry(geometry)

    def remaining(chip: FaultMap) -> tuple[FaultMap, SpareLines]:
        array = ArrayGeometry(chip.memory, column_mux=column_mux) if said is None else said
        plan = allocate_repair(chip, spare_rows=spare_rows, spare_columns=spare_columns, geometry=array)
        return plan.remaining, SpareLines(plan.repair, array)

    return remaining
