"""``tremap report``: compare results of a fleet as text and figures."""

from __future__ import annotations

from pathlib import Path

import click

from tremap_brevitas.cli.common import FILE, NEW, Number, json_option, overwrite_option
from tremap_brevitas.cli.inputs import regular
from tremap_brevitas.cli.outputs import STDOUT, check_outputs, summary, to_file
from tremap_brevitas.cli.printing import echo, print_json


@click.command(
    epilog="""\b
Examples:
  tremap report out/digits/fleet.csv --threshold 0.96
  tremap report out/digits/fleet.csv --threshold 0.96 --yield yield.png --accuracy accuracy.png
"""
)
@click.argument("table_file", metavar="FLEET.csv", type=FILE)
@click.option("--threshold", type=Number(), required=True, help="Accuracy at which a chip counts as good.")
@click.option("--yield", "yield_picture", type=NEW, help="Draw chips by accuracy and the yield curve.")
@click.option("--accuracy", "accuracy_picture", type=NEW, help="Draw the accuracy of each chip by method.")
@click.option("--title", default="", help="Heading of the pictures; text between $ is mathematics.")
@overwrite_option
@json_option
def report(
    table_file: Path,
    threshold: float,
    yield_picture: Path | None,
    accuracy_picture: Path | None,
    title: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Compare how a fleet was prepared, from a table written by ``write_csv``, as text and figures."""
    from tremap_brevitas.report.fleet_report import comparison, read_csv
    from tremap_brevitas.report.pictures import plot_reports, plot_yield

    pictures = [p for p in (yield_picture, accuracy_picture) if p is not None]
    if STDOUT in pictures and as_json:
        raise click.UsageError("--json and a picture would both write to standard output")
    check_outputs(pictures, [table_file], overwrite=overwrite)
    with regular(table_file) as file:
        reports = read_csv(file)
    if yield_picture is not None:
        with to_file(yield_picture) as file:
            plot_yield(reports, file, threshold=threshold, title=title)
    if accuracy_picture is not None:
        with to_file(accuracy_picture) as file:
            plot_reports(reports, file, threshold=threshold, title=title)
    if as_json:
        print_json(
            [
                {"method": r.name, "nominal": r.nominal, "mean": r.mean, "worst": r.worst, "yield": r.yield_at(threshold)}
                for r in reports
            ]
        )
    else:
        summary(comparison(reports, threshold=threshold), *pictures)
    for picture in pictures:
        echo(picture, err=as_json or STDOUT in pictures)
