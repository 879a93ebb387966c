"""``tremap assign``: choose a prepared network for a new chip."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from tremap_brevitas.cli.common import (
    CURVE,
    EXISTING,
    GOAL,
    MARGIN,
    NEW,
    PATHS,
    Reading,
    json_option,
    loaded_bundle,
    loaded_curve,
    map_options,
    on_terminal,
    overwrite_option,
)
from tremap_brevitas.cli.hardware_options import hardware_of_options, hardware_options
from tremap_brevitas.cli.outputs import STDOUT, check_outputs, summary, to_file
from tremap_brevitas.cli.printing import csv_rows, echo, print_json, table
from tremap_brevitas.cli.spares import Spares, check_spares, spare_options, spares_used
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.placement.certificate import Deployment
from tremap_brevitas.placement.chip_result import ChipResult
from tremap_brevitas.printable import counted
from tremap_brevitas.tables import write_table

if TYPE_CHECKING:
    from tremap_brevitas.planning.assignment import Preparation


@click.command(
    epilog="""\b
Examples:
  tremap assign lot7/ --bundle group_0/ --bundle group_1/ --goal 0.86
  tremap assign lot7/ --bundle group_0/ --bundle group_1/ --goal 0.86 --curve curve.json --out lot7.csv
  tremap assign lot7/ --bundle group_0/ --bundle group_1/ --goal 0.86 --orders --spare-rows 4
  tremap assign lot7/ --bundle group_0/ --goal 0.86 --orders --scramble 1024 --invert 1 --workers 8
"""
)
@PATHS
@map_options
@click.option("--bundle", "bundles", multiple=True, required=True, type=EXISTING, help="A prepared network; several.")
@CURVE
@GOAL
@MARGIN
@click.option(
    "--deployment",
    type=click.Choice([*get_args(Deployment), "patched"]),
    default="chip_image",
    show_default=True,
    help="Images to write; patched: each chip its own, by tremap patch.",
)
@click.option(
    "--orders",
    is_flag=True,
    help="Also name chips that are exact in another order of the channels, which tremap order finds.",
)
@hardware_options
@spare_options
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes to use.")
@click.option("--out", type=NEW, help="Write a line for each chip to this CSV file.")
@overwrite_option
@json_option
def assign(
    paths: tuple[Path, ...],
    bundles: tuple[Path, ...],
    curve_file: Path | None,
    goal: float | None,
    margin: float,
    deployment: Preparation,
    orders: bool,
    scramble: int,
    rotate: int,
    amounts: int | None,
    invert: int,
    spare_rows: int,
    spare_columns: int,
    column_mux: int,
    geometry: Path | None,
    workers: int,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Choose a prepared network for each chip, in another order if need be, or report that it must be retrained.

    No network is run. Spare rows and columns are used first; the results are for the stuck cells that are left. With a curve
    over errors of the layers' outputs, or for patched chips, the bundles need moments: export(moments=...); with --orders
    groups of channels: export(groups=...). With --rotate or --invert a chip's words, and those of its fault map, have cells for
    amounts and flags above their own bits. Ends with 1 if a map is bad; chips that need retraining are not an error.
    """
    if goal is None:
        raise click.UsageError("give --goal, the accuracy that every chip must reach")
    if not orders and (scramble or rotate or amounts is not None or invert):
        raise click.UsageError("--scramble, --rotate, --amounts and --invert are set by what --orders finds; give that as well")
    from tremap_brevitas.planning.assign import assign as assigned
    from tremap_brevitas.planning.assignment import Prepared

    if as_json and out == STDOUT:
        raise click.UsageError("--json and --out - would both write to standard output")
    reader = Reading.of(**reading)
    spares: Spares = {
        "spare_rows": spare_rows,
        "spare_columns": spare_columns,
        "column_mux": column_mux,
        "geometry": geometry,
    }
    check_spares(**spares)
    others = [file for file in (curve_file, geometry) if file is not None]
    files = reader.files(paths)
    check_outputs([out], [*files, *others], overwrite=overwrite)
    after_spares = spares_used(**spares)
    curve = None if curve_file is None else loaded_curve(curve_file)
    library = []
    for path in bundles:
        network = loaded_bundle(path)
        accuracy = network.manifest.accuracy
        if accuracy is None:
            raise click.ClickException(f"{path}: does not say its network's accuracy; export it with report=")
        by_outputs = deployment == "patched" or (curve is not None and curve.error_of == "outputs")
        moments = network.moments() if by_outputs else None
        groups = network.groups() if orders and network.manifest.groups is not None else None
        library.append(Prepared(str(path), network.image, accuracy, moments, groups))
    memory = library[0].image.placement.memory
    hardware = hardware_of_options(memory, scramble=scramble, rotate=rotate, amounts=amounts, invert=invert)
    reader.expect(memory if hardware is None else hardware.chip_memory(memory))

    def chips() -> Iterator[FaultMap]:
        for path, fault_map in reader.maps(paths):
            if fault_map.memory != reader.memory:
                reader.fail(path, ValueError(f"is of a memory of {fault_map.memory}, the bundles' is {reader.memory}"))
            else:
                yield after_spares(fault_map)[0]

    chosen = assigned(
        chips(),
        library,
        goal=goal,
        curve=curve,
        deployment=deployment,
        margin=margin,
        orders=orders,
        hardware=hardware,
        workers=workers,
        progress=len(files) == 1 and on_terminal(),  # else there is a bar over the files
    )
    rows = [{**_rounded(a.result).row(), "image": a.image, "verdict": a.verdict, "error": a.error} for a in chosen]
    if out is not None and rows:
        with to_file(out) as file:
            write_table(file, csv_rows(rows))
    if as_json:
        print_json(rows)
    else:
        for verdict, count in Counter(row["verdict"] for row in rows).items():
            summary(f"{count} of {counted(len(rows), 'chip')}: {verdict}", out)
        if len(rows) <= 40 and out is None and rows:
            heading = ("chip", "image", "verdict", "accuracy", "weights_that_differ")
            echo(table([h.replace("_", " ") for h in heading], [[_shown(row[h]) for h in heading] for row in rows]))
        elif out is not None:
            summary(out, out)
    reader.finish()
    if not rows:
        sys.exit(1)


def _rounded(result: ChipResult) -> ChipResult:
    """Round the accuracy to four digits, because it is a prediction or a mean over some thousand images."""
    return replace(result, accuracy=None if result.accuracy is None else round(result.accuracy, 4))


def _shown(value: Any) -> str:
    return "unknown" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
