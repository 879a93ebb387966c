"""``tremap group``, ``assign``, ``report``: which chips to retrain together, which image a new chip gets, how a fleet does."""

from __future__ import annotations

import csv
import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from tremap_brevitas.cli.common import EXISTING, NEW, Reading, json_option, loaded_bundle, map_options, print_json, table
from tremap_brevitas.faults.group import Group, group_chips
from tremap_brevitas.faults.merge import merge
from tremap_brevitas.files import whole_file, whole_folder
from tremap_brevitas.fleet.certify import Deployment

if TYPE_CHECKING:
    from tremap_brevitas.fleet.resilience import ResilienceCurve

PATHS = click.argument("paths", nargs=-1, required=True, type=EXISTING)
curve_option = click.option("--curve", "curve_file", type=EXISTING, help="Resilience curve of the network (JSON).")
goal_option = click.option("--goal", type=click.FloatRange(0, 1), help="Accuracy that every chip must reach.")


@click.command(
    epilog="""\b
Examples:
  tremap group chips/ --union-rate 0.05 --out groups/                    no union above 5 % of the cells
  tremap group chips/ --bundle healthy/ --curve curve.json --goal 0.86 --steps 200 --out groups/
"""
)
@PATHS
@map_options
@click.option("--union-rate", type=click.FloatRange(0, 1, min_open=True), help="Largest union: stuck cells over all cells.")
@click.option("--bundle", type=EXISTING, help="The network before any retraining.")
@curve_option
@goal_option
@click.option("--steps", type=click.IntRange(min=0), help="Most steps of retraining a group may have.")
@click.option("--margin", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Accuracy to spare, for doubt.")
@click.option("--largest", type=click.IntRange(min=1), help="Most chips in a group.")
@click.option("--out", required=True, type=NEW, help="Folder for a merged map of each group and the table groups.csv.")
@click.option("--overwrite", is_flag=True, help="Replace what an earlier run left there.")
@json_option
def group(
    paths: tuple[Path, ...],
    union_rate: float | None,
    bundle: Path | None,
    curve_file: Path | None,
    goal: float | None,
    steps: int | None,
    margin: float,
    largest: int | None,
    out: Path,
    overwrite: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Put chips into as few groups as possible, each to be retrained once under its merged map.

    Either no union may be larger than --union-rate, or each group must be expected to reach --goal after --steps by the
    network's resilience curve. Conflicts are left free. A bad file is named, and its chip is in no group.
    """
    by_goal = {"--bundle": bundle, "--curve": curve_file, "--goal": goal, "--steps": steps}
    given = [name for name, value in by_goal.items() if value is not None]
    if (union_rate is None) == (not given) or (given and len(given) < len(by_goal)):
        raise click.UsageError(f"give --union-rate, or all of {', '.join(by_goal)}; got {', '.join(given) or 'none'}")
    if out.exists() and not (overwrite and (out / "groups.csv").is_file()):
        raise click.ClickException(f"{out} exists already; --overwrite replaces it if it holds a groups.csv")
    reader = Reading.of(**reading)
    rows: list[dict[str, Any]] = []
    try:
        if union_rate is not None:
            chips = [chip for _, chip in reader.maps(paths)]
            _named_once([chip.chip for chip in chips])
            limit = union_rate * chips[0].memory.cells if chips else 1.0
            groups: list[Group] = group_chips(chips, limit=limit, largest=largest)
            merged = [merge(g.members, on_conflict="free") for g in groups]
            rows = [{"too_much": "" if g.fits else "yes"} for g in groups]
        else:
            assert bundle is not None
            assert curve_file is not None
            assert goal is not None
            assert steps is not None
            from tremap_brevitas.fleet.plan import plan_groups

            network, curve = loaded_bundle(bundle), _curve(curve_file)
            reader.memory = network.image.placement.memory
            chips = [chip for _, chip in reader.maps(paths)]
            _named_once([chip.chip for chip in chips])
            planned = plan_groups(chips, network.image, curve, goal=goal, steps=steps, margin=margin, largest=largest)
            merged = [p.merged for p in planned]
            rows = [
                {
                    "error": round(p.error, 4),
                    "expected": round(p.accuracy, 4),
                    "steps": "too few" if p.steps is None else p.steps,
                }
                for p in planned
            ]
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    table_rows = [
        {
            "group": f"group_{i}",
            "chips": len(m.members),
            "union_rate": f"{m.union_rate:.3e}",
            "conflicts": len(m.conflicts),
            **row,
            "members": " ".join(member.chip for member in m.members),
        }
        for i, (m, row) in enumerate(zip(merged, rows, strict=True))
    ]
    try:
        with whole_folder(out, overwrite=overwrite) as draft:
            for row, one in zip(table_rows, merged, strict=True):
                one.save(draft / f"{row['group']}.npz")
            _write(table_rows, draft / "groups.csv")
    except OSError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json([{**row, "members": [m.chip for m in one.members]} for row, one in zip(table_rows, merged, strict=True)])
    else:
        heading = list(table_rows[0])[:-1]
        click.echo(table([h.replace("_", " ") for h in heading], [[row[h] for h in heading] for row in table_rows]))
        click.echo(f"{len(chips)} chips in {len(merged)} groups: {out}/")
    reader.finish()


@click.command(
    epilog="""\b
Examples:
  tremap assign lot7/ --bundle group_0/ --bundle group_1/ --goal 0.86
  tremap assign lot7/ --bundle group_0/ --bundle group_1/ --goal 0.86 --curve curve.json --out lot7.csv
"""
)
@PATHS
@map_options
@click.option("--bundle", "bundles", multiple=True, required=True, type=EXISTING, help="A prepared network; several.")
@curve_option
@goal_option
@click.option("--margin", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Accuracy to spare, for doubt.")
@click.option(
    "--deployment", type=click.Choice(get_args(Deployment)), default="chip_image", show_default=True, help="Who gets an image."
)
@click.option("--out", type=NEW, help="Write a line for each chip to this CSV file.")
@json_option
def assign(
    paths: tuple[Path, ...],
    bundles: tuple[Path, ...],
    curve_file: Path | None,
    goal: float | None,
    margin: float,
    deployment: Deployment,
    out: Path | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Find for each chip the prepared network that serves it: exact, good enough by the curve, or to be retrained.

    No network is run. Ends with 1 if a map is bad; chips that need retraining are no error.
    """
    if goal is None:
        raise click.UsageError("give --goal, the accuracy that every chip must reach")
    from tremap_brevitas.fleet.assign import Prepared
    from tremap_brevitas.fleet.assign import assign as assigned

    reader = Reading.of(**reading)
    curve = None if curve_file is None else _curve(curve_file)
    library = []
    for path in bundles:
        network = loaded_bundle(path)
        accuracy = network.manifest.accuracy
        if accuracy is None:
            raise click.ClickException(f"{path}: does not say its network's accuracy; export it with report=")
        library.append(Prepared(str(path), network.image, accuracy))
    reader.memory = library[0].image.placement.memory

    def chips() -> Iterator[Any]:
        for path, chip in reader.maps(paths):
            if chip.memory != reader.memory:
                reader.fail(path, ValueError(f"is of a memory of {chip.memory}, the bundles' is {reader.memory}"))
            else:
                yield chip

    try:
        found = list(assigned(chips(), library, goal=goal, curve=curve, deployment=deployment, margin=margin))
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    rows = [{**asdict(a), "accuracy": None if math.isnan(a.accuracy) else round(a.accuracy, 4)} for a in found]
    if out is not None:
        try:
            _write(rows, out)
        except OSError as error:
            raise click.ClickException(str(error)) from None
    if as_json:
        print_json(rows)
    else:
        for verdict, count in Counter(a.verdict for a in found).items():
            click.echo(f"{count} of {len(found)} chips: {verdict}")
        if len(rows) <= 40 and out is None and rows:
            heading = ("chip", "image", "verdict", "accuracy", "weights_that_differ")
            click.echo(table([h.replace("_", " ") for h in heading], [[_shown(row[h]) for h in heading] for row in rows]))
        elif out is not None:
            click.echo(f"{out}")
    reader.finish()
    if not found:
        sys.exit(1)


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


def _shown(value: Any) -> str:
    return "unknown" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _curve(path: Path) -> ResilienceCurve:
    from tremap_brevitas.fleet.resilience import ResilienceCurve

    try:
        return ResilienceCurve.load(path)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _named_once(names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{len(twice)} names belong to several chips, such as {twice[0]!r}; groups.csv could not tell them apart"
        )


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["chip"])
        writer.writeheader()
        writer.writerows(rows)
