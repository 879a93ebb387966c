"""``tremap verify`` and ``tremap layout``: verify a bundle, and show where its weights lie."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tremap_brevitas.cli.common import FILE, Reading, json_option, loaded_bundle, map_options, on_terminal
from tremap_brevitas.cli.printing import echo, print_json, table
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.placement import Placement, drawn_words
from tremap_brevitas.printable import counted

EPILOG = """\b
Examples:
  tremap verify group_0/                       are the files what was exported?
  tremap verify group_0/ chips/                and what does each of these chips make of them?
  tremap verify group_0/ chips/ --exact        fail unless every chip computes exactly what was trained
  tremap verify group_0/ lot7/*.log --format log --json
  tremap verify group_0/ chips/ --orders orders.npz    each chip in the order that tremap order found for it
"""


@click.command(epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("chips", nargs=-1, type=click.Path(path_type=Path, exists=True, allow_dash=True))
@map_options
@click.option("--orders", type=FILE, help="File of tremap order: each chip holds the network in its own order.")
@click.option("--exact", is_flag=True, help="Fail unless every chip is bit-exact.")
@json_option
def verify(bundle: Path, chips: tuple[Path, ...], orders: Path | None, exact: bool, as_json: bool, **reading: Any) -> None:
    """Verify a bundle from its files alone, and check what each chip reads.

    CHIPS are fault maps, or folders of them; logs need no geometry, since the bundle has it. Ends with 1 if the bundle was
    changed after its export, or a map is bad; with --exact also if a chip reads a weight differently.
    """
    # Imported here, since importing onnx takes a while and the other commands do not need it.
    from tremap_brevitas.bundle.read import examine
    from tremap_brevitas.bundle.verify import report_on

    if orders is not None and not chips:
        raise click.UsageError("--orders says in which order CHIPS hold the network; give them as well")
    reader = Reading.of(**reading)
    examined = examine(bundle)
    if examined[0] is not None:
        memory = examined[0].image.placement.memory
        if orders is not None:
            from tremap_brevitas.order.orders_file import hardware_in

            hardware = hardware_in(orders)
            memory = memory if hardware is None else hardware.chip_memory(memory)
        reader.expect(memory)
    maps = [_named(chip, path) for path, chip in reader.maps(chips)] if chips else []
    report = report_on(bundle, examined, maps, orders, progress=on_terminal())
    inexact = sum(not proof.bit_exact for proof in report.certificates)
    if as_json:
        results = [proof.result.row() for proof in report.certificates]
        print_json({"bundle": str(bundle), "ok": report.ok, "problems": list(report.problems), "chips": results})
    else:
        echo(replace(report, certificates=()))
        if report.certificates:
            rows = [
                (p.chip, "bit-exact" if p.bit_exact else p.weights_that_differ, p.worst_error, f"{p.rms_error:.3f}")
                for p in report.certificates
            ]
            echo(table(("chip", "weights that differ", "worst error (LSB)", "RMS error (LSB)"), rows))
            compute = "computes" if len(rows) == 1 else "compute"
            echo(f"{len(rows) - inexact} of {counted(len(rows), 'chip')} {compute} exactly the network that was trained")
    if not report.ok or (exact and inexact):
        sys.exit(1)
    reader.finish()


def _named(chip: FaultMap, path: Path) -> FaultMap:
    """A chip without a name is called like its file, as ``tremap order`` calls it."""
    return chip if chip.chip else replace(chip, chip=path.stem)


@click.command(
    epilog="""\b
Examples:
  tremap layout group_0/                which layer lies in which words
  tremap layout group_0/ 17 18          which weights sit in words 17 and 18, and where
  tremap layout group_0/ --cell 4711    which bits of weights cell 4711 holds
  tremap layout group_0/ 17 --orders orders.npz --chip A7    what lies in word 17 of a chip that holds the network in its order
"""
)
@click.argument("placement", type=click.Path(path_type=Path, exists=True))
@click.argument("words", nargs=-1, type=int)
@click.option("--cell", "cells", multiple=True, type=int, help="Cell: word × bits of a word + bit.")
@click.option("--orders", type=FILE, help="File of tremap order; with --chip, and a bundle.")
@click.option("--chip", help="Chip whose order is drawn; its words and cells as they lie on the chip.")
def layout(placement: Path, words: tuple[int, ...], cells: tuple[int, ...], orders: Path | None, chip: str | None) -> None:
    """Show where the weights of PLACEMENT lie in memory (a bundle or a placement file)."""
    if (orders is None) != (chip is None):
        raise click.UsageError("give --orders and --chip together: the order of one chip is drawn")
    if orders is not None and chip is not None:
        _layout_of_chip(placement, words, cells, orders, chip)
        return
    placed = Placement.load(placement / "placement.npz" if placement.is_dir() else placement)
    if words:
        echo(drawn_words(placed, words))
    for cell in cells:
        word, bit = divmod(cell, placed.memory.word_bits)
        held = "; ".join(str(w) for w in placed.weights_at(cell)) or "unused"
        echo(f"cell {cell}, bit {bit} of word {word}: {held}")
    if not words and not cells:
        echo(placed)


def _layout_of_chip(placement: Path, words: tuple[int, ...], cells: tuple[int, ...], orders: Path, chip: str) -> None:
    from tremap_brevitas.order import load_orders
    from tremap_brevitas.order.hardware.draw import drawn_chip, drawn_chip_cell, drawn_chip_words

    if not placement.is_dir():
        raise click.UsageError(f"--orders needs a bundle, but {placement} is a file")
    bundle = loaded_bundle(placement)
    try:
        order = load_orders(orders, bundle.image, bundle.groups())[chip]
    except KeyError as error:
        raise click.ClickException(f"{orders}: {error.args[0]}") from None
    if words:
        echo(drawn_chip_words(order, words))
    for cell in cells:
        echo(drawn_chip_cell(order, cell))
    if not words and not cells:
        echo(drawn_chip(order))
