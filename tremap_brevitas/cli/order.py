"""``tremap order``: find channel orders in which chips read the network exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tremap_brevitas.cli.common import (
    EXISTING,
    NEW,
    NEW_FOLDER,
    Reading,
    json_option,
    loaded_bundle,
    map_options,
    on_terminal,
    overwrite_option,
)
from tremap_brevitas.cli.hardware_options import hardware_of_options, hardware_options
from tremap_brevitas.cli.outputs import STDOUT, can_name_a_file, check_outputs, filled_folder, summary, to_file
from tremap_brevitas.cli.printing import csv_rows, echo, print_json, table
from tremap_brevitas.cli.spares import Spares, check_spares, spare_options, spares_used
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.printable import counted
from tremap_brevitas.tables import write_table

if TYPE_CHECKING:
    from tremap_brevitas.moments import InputMoments
    from tremap_brevitas.order import ChipOrder

AS_IT_LIES, IN_ORDER, LEFT_OVER = VERDICTS = ("exact as it lies", "exact in another order", "left over")


@click.command(
    epilog="""\b
Examples:
  tremap order group_0/ lot7/ --out orders.npz
  tremap order group_0/ lot7/ --out orders.npz --csv yield.csv --workers 8 --run lot7_run/
  tremap verify group_0/ lot7/ --orders orders.npz
  tremap order group_0/ lot7/ --out orders.npz --spare-rows 4 --spare-columns 2    spares first
  tremap order group_0/ lot7/ --out orders.npz --scramble 1024 --invert 1    if the accelerator can
"""
)
@click.argument("bundle", type=EXISTING)
@click.argument("chips", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, allow_dash=True))
@map_options
@click.option("--out", required=True, type=NEW, help="File of the orders, for tremap verify --orders.")
@click.option("--csv", "csv_file", type=NEW, help="Write a line for each chip to this CSV file.")
@click.option(
    "--images", type=NEW_FOLDER, help="Write each chip's own memory image to this folder: as large as the network, each."
)
@overwrite_option
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes to use.")
@click.option("--run", "run_folder", type=NEW_FOLDER, help="Folder of finished chips; an interrupted run resumes from it.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws among equal orders.")
@click.option(
    "--aim",
    type=click.Choice(["wrong_codes", "error"]),
    default="wrong_codes",
    show_default=True,
    help="What to minimize for chips that no order makes exact.",
)
@hardware_options
@spare_options
@json_option
def order(
    bundle: Path,
    chips: tuple[Path, ...],
    out: Path,
    csv_file: Path | None,
    images: Path | None,
    overwrite: bool,
    workers: int,
    run_folder: Path | None,
    seed: int,
    aim: Literal["wrong_codes", "error"],
    scramble: int,
    rotate: int,
    amounts: int | None,
    invert: int,
    spare_rows: int,
    spare_columns: int,
    column_mux: int,
    geometry: Path | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Find for each chip a channel order in which it reads the network exactly.

    Hidden channels may stand in any order, if the layers on both sides agree. CHIPS are fault maps, or folders of them; logs
    need no geometry, since the bundle has it. Nothing is trained, and no network is run. The bundle needs its groups of
    channels: export(groups=...). Where no order is exact, fewest codes stay wrong, and of these the least harmful: by the error
    of the layers' outputs if the bundle has moments, export(moments=...), else by the squared error of the codes. Ends with 1
    if a map is bad; chips that no order makes exact are not an error.

    With --rotate or --invert a chip's words, and those of its fault map, have cells for amounts and flags above their own bits.
    Spare rows and columns are used up first; the orders keep which, and what is said is of the stuck cells that are left.
    """
    if as_json and STDOUT in (out, csv_file):
        raise click.UsageError("--json and a file would both write to standard output")
    reader = Reading.of(**reading)
    files = reader.files(chips)
    spares: Spares = {
        "spare_rows": spare_rows,
        "spare_columns": spare_columns,
        "column_mux": column_mux,
        "geometry": geometry,
    }
    check_spares(**spares)
    others = [] if geometry is None else [geometry]
    check_outputs([out, csv_file], [*files, *others, *(bundle.iterdir() if bundle.is_dir() else ())], overwrite=overwrite)
    network = loaded_bundle(bundle)
    groups = network.groups()
    from tremap_brevitas.order import SearchOptions, order_chips, output_importance  # here, since SciPy takes a while
    from tremap_brevitas.order.fleet import fleet_row
    from tremap_brevitas.order.hardware.words import write_chip_words, write_keys
    from tremap_brevitas.order.orders_file import OrdersFile

    memory = network.image.placement.memory
    hardware = hardware_of_options(memory, scramble=scramble, rotate=rotate, amounts=amounts, invert=invert)
    reader.expect(memory if hardware is None else hardware.chip_memory(memory))
    moments = None if network.manifest.moments is None else network.moments()
    importance = None if moments is None else output_importance(moments, network.image)
    after_spares, used = spares_used(**spares), {}
    collected = OrdersFile(network.image, groups)
    rows: list[dict[str, Any]] = []

    def maps() -> Iterator[FaultMap]:
        for chip in _maps(reader, chips, images):
            remaining, used[chip.chip] = after_spares(chip)
            yield remaining

    with nullcontext() if images is None else filled_folder(images, command="tremap order", overwrite=overwrite) as draft:
        for found in order_chips(
            network.image,
            groups,
            maps(),
            options=SearchOptions(aim=aim, seed=seed),
            hardware=hardware,
            importance=importance,
            workers=workers,
            folder=run_folder,
            progress=len(files) == 1 and on_terminal(),  # else there is a bar over the files
        ):
            chip_order = replace(found, spares=used.pop(found.chip))
            collected.add(chip_order)
            rows.append({**fleet_row(chip_order), **_output_error(chip_order, moments), "verdict": _verdict(chip_order)})
            if draft is not None:
                name = f"{chip_order.chip}_as_written{Path(network.manifest.image).suffix}"
                write_chip_words(chip_order, draft / name, format=network.manifest.image_format)
                if hardware is not None and hardware.scramble:
                    write_keys(chip_order, draft / f"{chip_order.chip}_keys.csv")
                if chip_order.spares is not None:
                    chip_order.spares.repair.save(draft / f"{chip_order.chip}_repair.csv")
        if not rows:  # then nothing is written
            reader.finish()
            raise click.ClickException("no map could be read")
    with to_file(out) as file:
        collected.save(file)
    if csv_file is not None:
        with to_file(csv_file) as file:
            write_table(file, csv_rows(rows))
    counts = Counter(row["verdict"] for row in rows)
    if as_json:
        said = {verdict.replace(" ", "_"): counts[verdict] for verdict in VERDICTS}
        means = None if hardware is None else asdict(hardware)
        print_json({"bundle": str(bundle), **said, "weighed_by": _weighed_by(moments), "hardware": means, "chips": rows})
    else:
        _print(rows, counts, _weighed_by(moments), out, csv_file)
        if hardware is not None:
            cost = f"{hardware.cells(memory)} cells and {hardware.key_bits(memory)} bits of keys"
            summary(f"{hardware}: {cost}, {hardware.overhead(memory):.1%} of the memory", out, csv_file)
        if spare_rows or spare_columns:
            lines = f"{sum(row['spare_rows'] for row in rows)} rows and {sum(row['spare_columns'] for row in rows)} columns"
            summary(f"{lines} replaced by spare ones", out, csv_file)
    reader.finish()


def _maps(reader: Reading, paths: tuple[Path, ...], images: Path | None) -> Iterator[FaultMap]:
    """Yield the maps one by one, which saves memory, and report those that cannot be used."""
    where: dict[str, Path] = {}
    for path, fault_map in reader.maps(paths, progress="orders"):
        if fault_map.memory != reader.memory:
            reader.fail(path, ValueError(f"is of a memory of {fault_map.memory}, the bundle's is {reader.memory}"))
            continue
        named = fault_map if fault_map.chip else replace(fault_map, chip=path.stem)
        if named.chip in where:
            reader.fail(path, ValueError(f"chip {named.chip!r} was read from {where[named.chip]} already"))
        elif images is not None and not can_name_a_file(named.chip):
            reader.fail(path, ValueError(f"calls its chip {named.chip!r}, which cannot be the name of a file in {images}"))
        else:
            where[named.chip] = path
            yield named


def _verdict(chip_order: ChipOrder) -> str:
    if not chip_order.exact:
        return LEFT_OVER
    moved = chip_order.wrong_as_it_lies or (chip_order.hardware is not None and chip_order.hardware.used)
    return IN_ORDER if moved else AS_IT_LIES


def _weighed_by(moments: InputMoments | None) -> str:
    """Return what decides which codes stay wrong, if some must."""
    return "squared error of the codes" if moments is None else "error of the layers' outputs"


def _output_error(chip_order: ChipOrder, moments: InputMoments | None) -> dict[str, float]:
    """Return the relative error of the layers' outputs, for a bundle with moments."""
    if moments is None:
        return {}
    if chip_order.exact:
        return {"output_error": 0.0}
    from tremap_brevitas.placement.certificate import certificate_of
    from tremap_brevitas.planning.output_error import output_error

    return {"output_error": output_error(certificate_of(chip_order.chip, chip_order.network, chip_order.codes_read), moments)}


def _print(rows: list[dict[str, Any]], counts: Counter[str], weighed_by: str, out: Path, csv_file: Path | None) -> None:
    if len(rows) <= 40 and STDOUT not in (out, csv_file):
        heading = ("chip", "stuck cells", "wrong as it lies", "wrong in order", "worst error (LSB)", "relative error")
        echo(table(heading, [_shown(row) for row in rows]))
    shares = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    summary(f"{counted(len(rows), 'chip')}: {shares}", out, csv_file)
    if counts[LEFT_OVER]:
        wrong, lsb, relative = (max(row[k] for row in rows) for k in ("wrong_in_order", "worst_error", "relative_error"))
        error = f"relative error {relative:.4f} at most"
        if "output_error" in rows[0]:
            error += f", of the layers' outputs {max(row['output_error'] for row in rows):.4f}"
        summary(f"left over: {counted(wrong, 'code')} wrong at most, by {lsb} LSB at most; {error}", out, csv_file)
        summary(f"what stays was weighed by the {weighed_by}", out, csv_file)
    summary(out, out, csv_file)


def _shown(row: dict[str, Any]) -> tuple[Any, ...]:
    wrong = "exact" if row["exact"] else row["wrong_in_order"]
    return row["chip"], row["faults"], row["wrong_as_it_lies"], wrong, row["worst_error"], f"{row['relative_error']:.4f}"
