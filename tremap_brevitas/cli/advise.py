"""``tremap advise``: find the cheapest preparation that a fleet needs, from measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from tremap_brevitas.cli.common import FILE, Number, json_option
from tremap_brevitas.cli.inputs import regular
from tremap_brevitas.cli.printing import echo, print_json, table
from tremap_brevitas.cli.supply import echo_supply, supply_json
from tremap_brevitas.planning.advice import Advice, Option
from tremap_brevitas.planning.advice import advise as advice_for
from tremap_brevitas.planning.supply import advise_supply, read_supply_points
from tremap_brevitas.printable import counted

HEADING = ["preparation", "basis", "measured at", "seeds x chips", "mean", "95 %", "worst", "good"]
HEADING += ["steps", "labels", "images", "core seconds"]


@click.command(
    epilog="""\b
Examples:
  tremap advise --rate 1e-3 --bits 8 --chips 1000
  tremap advise --rate 6e-3 --bits 8 --chips 20 --one-image
  tremap advise --voltages sram.csv --bits 8 --chips 1000
"""
)
@click.option("--rate", type=Number(0, 1, min_open=True, max_open=True), help="Stuck cells over all cells.")
@click.option("--voltages", type=FILE, help="In place of --rate: CSV with the columns voltage, rate.")
@click.option(
    "--energy", type=FILE, help="With --voltages: CSV with the columns voltage, energy. Default: the square of the voltage."
)
@click.option("--bits", required=True, type=click.IntRange(min=1), help="Bits of a weight's code.")
@click.option("--chips", required=True, type=click.IntRange(min=1), help="Chips of the fleet.")
@click.option("--one-image", is_flag=True, help="All chips are written with the same image.")
@click.option("--within", default=0.5, show_default=True, type=Number(0, 100), help="Percentage points that a chip may lose.")
@json_option
def advise(
    rate: float | None,
    voltages: Path | None,
    energy: Path | None,
    bits: int,
    chips: int,
    one_image: bool,
    within: float,
    as_json: bool,
) -> None:
    """Find the cheapest preparation that was measured to keep every chip within some points of the healthy network.

    The figures are of ResNet-20 on CIFAR-10, cells stuck at random, from the study's rows in docs/preparations.csv, whose
    lines are named. Steps and seconds are the fleet's. With --voltages: for each supply voltage of the memory, with the energy
    that it saves, and the lowest voltage that each preparation allows.
    """
    if (rate is None) == (voltages is None):
        raise click.UsageError("give either --rate or --voltages")
    if energy is not None and voltages is None:
        raise click.UsageError("--energy goes with --voltages")
    together = "one image for all" if one_image else "an image for each"
    if voltages is not None:
        with ExitStack() as files:
            energy_file = None if energy is None else files.enter_context(regular(energy))
            points = read_supply_points(files.enter_context(regular(voltages)), energy_file)
        supply = advise_supply(points, bits=bits, chips=chips, one_image=one_image, within=within)
        if as_json:
            print_json({"bits": bits, "chips": chips, "one_image": one_image, "within": within, **supply_json(supply)})
            return
        model = "as given" if energy else "goes with the square of the voltage"
        echo(f"{counted(chips, 'chip')}, {bits} bits, {together}, every chip within {within:g} points; ResNet-20 on CIFAR-10;")
        echo(f"energy of the memory: {model}, 1 at {points[0].voltage:g} V")
        echo("")
        echo_supply(supply)
        return
    assert rate is not None
    advice = advice_for(rate, bits=bits, chips=chips, one_image=one_image, within=within)
    if as_json:
        print_json(_as_json(advice))
        return
    echo(f"{counted(chips, 'chip')}, {rate:g} of the cells stuck, {bits} bits, {together}; ResNet-20 on CIFAR-10:")
    echo(_answer(advice))
    echo("")
    echo(table(HEADING, [_row(option) for option in advice.options]))
    echo("")
    for note in advice.notes:
        echo(f"note: {note}")
    for option in advice.options:
        echo(f"rows of {option.preparation!r}: docs/preparations.csv, lines {_lines(option)}")


def _answer(advice: Advice) -> str:
    best = advice.best
    if best is None:
        return f"No preparation was measured to keep every chip within {advice.within:g} points."
    figures = f"worst of {counted(len(best.measured.rows), 'chip')} {best.measured.worst:+.2f} points"
    return f"{best.preparation}: the cheapest that keeps every chip within {advice.within:g} points ({figures})."


def _row(option: Option) -> Sequence[str]:
    one = option.measured
    steps, labels, images, seconds = option.cost
    half = one.half_interval
    shared = f", {one.first.chips} chips" if one.first.chips > 1 else ""
    return (
        option.preparation,
        option.basis,
        f"{one.first.rate:g}{shared}",
        f"{one.seeds} x {len(one.rows) / one.seeds:.3g}",
        f"{one.mean:+.2f}",
        "" if math.isnan(half) else f"± {half:.2f}",
        f"{one.worst:+.2f}",
        "yes" if option.holds else "no",
        f"{steps:,}",
        f"{labels:,}",
        f"{images:,}",
        f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}",
    )


def _lines(option: Option) -> str:
    return ", ".join(str(line) for line in sorted(row.line for row in option.measured.rows))


def _as_json(advice: Advice) -> dict[str, Any]:
    asked = {name: getattr(advice, name) for name in ("rate", "bits", "chips", "one_image", "within")}
    best = None if advice.best is None else advice.best.preparation
    options = []
    for option in advice.options:
        one, (steps, labels, images, seconds) = option.measured, option.cost
        half = one.half_interval
        options.append(
            {
                "preparation": option.preparation,
                "basis": option.basis,
                "holds": option.holds,
                "network": one.first.network,
                "rate": one.first.rate,
                "chips_that_share": one.first.chips,
                "mean_points": round(one.mean, 4),
                "half_interval": None if math.isnan(half) else round(half, 4),
                "worst_points": round(one.worst, 4),
                "seeds": one.seeds,
                "steps": steps,
                "labels": labels,
                "images": images,
                "core_seconds": round(seconds, 2),
                "lines": sorted(row.line for row in one.rows),
            }
        )
    return {**asked, "best": best, "options": options, "notes": list(advice.notes)}
