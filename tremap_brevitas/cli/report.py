"""``tremap report``: how a fleet does, as text and pictures."""

from __future__ import annotations

from pathlib import Path

import click

from tremap_brevitas.cli.common import EXISTING, NEW, json_option, print_json


@click.command(
    epilog="""\b
Examples:
  tremap report out/digits/fleet.csv --threshold 0.96
  tremap report out/digits/fleet.csv --threshold 0.96 --yield yield.png --accuracy accuracy.png
"""
)
@click.argument("table_file", metavar="FLEET.csv", type=EXISTING)
@click.option("--threshold", type=float, required=True, help="Accuracy at which a chip counts as good.")
@click.option("--yield", "yield_picture", type=NEW, help="Draw chips by accuracy and the yield curve.")
@click.option("--accuracy", "accuracy_picture", type=NEW, help="Draw the accuracy of each chip by method.")
@click.option("--title", default="", help="Heading of the pictures.")
@json_option
def report(
    table_file: Path,
    threshold: float,
    yield_picture: Path | None,
    accuracy_picture: Path | None,
    title: str,
    as_json: bool,
) -> None:
    """Compare the ways in which a fleet was prepared: a table that ``write_csv`` wrote, as text and pictures."""
    from tremap_brevitas.fleet.plot import plot_reports
    from tremap_brevitas.fleet.plot_fleet import plot_yield
    from tremap_brevitas.fleet.report import comparison, read_csv

    try:
        reports = read_csv(table_file)
        if yield_picture is not None:
            plot_yield(reports, yield_picture, threshold=threshold, title=title)
        if accuracy_picture is not None:
            plot_reports(reports, accuracy_picture, threshold=threshold, title=title)
    except (ImportError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(
            [
                {"method": r.name, "nominal": r.nominal, "mean": r.mean, "worst": r.worst, "yield": r.yield_at(threshold)}
                for r in reports
            ]
        )
    else:
        click.echo(comparison(reports, threshold=threshold))
    for picture in (yield_picture, accuracy_picture):
        if picture is not None:
            click.echo(f"{picture}", err=as_json)
