"""``tremap map …``: look at fault maps, convert, draw, merge, compare, repair and plot them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from tremap_brevitas.cli.common import EXISTING, NEW, Reading, json_option, loaded_bundle, map_options, print_json, table
from tremap_brevitas.cli.generate import generate
from tremap_brevitas.faults.allocate import allocate_repair
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats import write_fault_map
from tremap_brevitas.faults.geometry import ArrayGeometry
from tremap_brevitas.faults.merge import MergedFaultMap, OnConflict, merge
from tremap_brevitas.faults.repair import Repair, repaired
from tremap_brevitas.faults.statistics import compare_maps, group_statistics, map_statistics, nesting

PATHS = click.argument("paths", nargs=-1, required=True, type=EXISTING)


GEOMETRY = click.option(
    "--geometry",
    type=EXISTING,
    help="JSON: words, word_bits, banks, column_mux, interleaved_banks, word_order, bit_order of the array.",
)


@click.group("map")
def map_group() -> None:
    """Fault maps: info, convert, generate, merge, diff, repair, plot.

    Wherever PATHS are asked for, files and folders of files will do, of any known format.
    """


map_group.add_command(generate)


@map_group.command(
    epilog="""\b
Examples:
  tremap map info A7.npz
  tremap map info lot7/ --format log --words 65536 --word-bits 32
  tremap map info 0.55V.hex.gz --format readback --words 911360 --word-bits 8 --banks 445 --option duplicated_bytes=true
"""
)
@PATHS
@map_options
@json_option
def info(paths: tuple[Path, ...], as_json: bool, **reading: Any) -> None:
    """Say what is in fault maps: rates, banks and columns hit, how much they cluster and overlap."""
    reader = Reading.of(**reading)
    maps = [chip for _, chip in reader.maps(paths)]
    if as_json:
        print_json([{"chip": chip.chip, "digest": chip.digest, **map_statistics(chip).as_dict()} for chip in maps])
    elif len(maps) == 1:
        click.echo(f"chip {maps[0].chip!r}: {maps[0].memory}, digest {maps[0].digest}\n{map_statistics(maps[0])}")
        if maps[0].metadata:
            click.echo("metadata: " + ", ".join(f"{k}={v}" for k, v in maps[0].metadata.items()))
    elif maps:
        rows = []
        for chip in maps:
            found = map_statistics(chip)
            rows.append((chip.chip, chip.memory, len(chip), f"{found.rate:.2e}", int(chip.stuck_at.sum()), found.banks_hit))
        click.echo(table(("chip", "memory", "faults", "rate", "stuck at 1", "banks hit"), rows))
        if len({chip.memory for chip in maps}) == 1:
            click.echo(f"\n{group_statistics(maps)}")
    reader.finish()


@map_group.command(
    epilog="""\b
Examples:
  tremap map convert A7.log --words 65536 --word-bits 32 --to tremap --out A7.npz
  tremap map convert lot7/ --format log --words 65536 --word-bits 32 --to tremap --out chips/
  tremap map convert ones.hex --format readback --option other=zeros.hex --words 1024 --word-bits 8 --to csv --out A7.csv
  tremap map convert A7.csv --geometry array.json --as logical --words 64 --word-bits 256 --to tremap --out A7.npz
  tremap map convert A7.csv --format voltages --option voltage=0.55 --option stuck_at=0 --to tremap --out A7-0.55V.npz
"""
)
@PATHS
@map_options
@click.option("--to", required=True, type=click.Choice(["tremap", "csv", "log", "readback", "neuralfuse"]))
@click.option("--out", required=True, type=NEW, help="File; a folder for several maps. Two files: NAME-ones and NAME-zeros.")
@click.option("--chip", help="Name of the chip, for a single map.")
@GEOMETRY
@click.option("--as", "as_", type=click.Choice(["logical", "physical"]), help="With --geometry: what to make of the maps.")
def convert(
    paths: tuple[Path, ...],
    to: str,
    out: Path,
    chip: str | None,
    geometry: Path | None,
    as_: str | None,
    **reading: Any,
) -> None:
    """Write fault maps in another format, or translate them between addresses and the physical array."""
    reader = Reading.of(**reading)
    if (geometry is None) != (as_ is None):
        raise click.UsageError("give --geometry and --as together, or neither")
    array = None if geometry is None else _geometry(geometry)
    many = len(paths) > 1 or paths[0].is_dir()
    if many and chip is not None:
        raise click.UsageError("--chip names a single map, but several are to be converted")
    if chip is not None:
        reader.options["chip"] = chip
    if many:
        out.mkdir(parents=True, exist_ok=True)
    endings = {"tremap": ".npz", "csv": ".csv", "log": ".log", "readback": ".hex", "neuralfuse": ".txt"}
    taken: dict[Path, Path] = {}
    written = 0
    for path, found in reader.maps(paths):
        name = found.chip or path.stem
        if many and (Path(name).name != name or "\\" in name):  # a stranger's map must not write where it likes
            reader.fail(path, ValueError(f"calls its chip {name!r}, which cannot be the name of a file in {out}"))
            continue
        target = out / f"{name}{endings[to]}" if many else out
        if target in taken:
            reader.fail(
                path, ValueError(f"would overwrite {target}, made of {taken[target]}: both call the chip {found.chip!r}")
            )
            continue
        taken[target] = path
        try:
            if array is not None:
                found = array.to_physical(found) if as_ == "physical" else array.to_logical(found)
            _write(found, target, to)
            written += 1
        except (OSError, ValueError) as error:
            reader.fail(path, error)
    click.echo(f"{written} maps written to {out}")
    reader.finish()


@map_group.command(
    "merge",
    epilog="""\b
Examples:
  tremap map merge chips/ --on-conflict majority --out merged.npz
  tremap map merge A7.npz A8.npz --on-conflict error --out merged.npz
""",
)
@PATHS
@map_options
@click.option("--on-conflict", required=True, type=click.Choice(get_args(OnConflict)), help="What to do where chips disagree.")
@click.option("--out", required=True, type=NEW, help="File of the merged map.")
@json_option
def merge_(paths: tuple[Path, ...], on_conflict: OnConflict, out: Path, as_json: bool, **reading: Any) -> None:
    """Merge the maps of a group of chips into one, for one retraining.

    A bad file would leave a chip out of the group without a word, so that it stops here.
    """
    reading["strict"] = True
    reader = Reading.of(**reading)
    try:
        merged = merge([chip for _, chip in reader.maps(paths)], on_conflict=on_conflict)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    merged.save(out)
    if as_json:
        print_json(
            {
                "chips": len(merged.members),
                "faults": len(merged),
                "union_rate": merged.union_rate,
                "conflicts": len(merged.conflicts),
                "digest": merged.digest,
            }
        )
    else:
        click.echo(f"{merged}\nunion rate {merged.union_rate:.3e}, written to {out}")


@map_group.command(
    epilog="""\b
Examples:
  tremap map diff A7-0.57V.npz A7-0.55V.npz     is the first contained in the second?
  tremap map diff A7.npz A7-retested.npz && echo the same
"""
)
@click.argument("first", type=EXISTING)
@click.argument("second", type=EXISTING)
@map_options
@json_option
def diff(first: Path, second: Path, as_json: bool, **reading: Any) -> None:
    """Compare two maps. Ends with 0 if they have the same stuck cells, with 1 if not."""
    reader = Reading.of(**{**reading, "strict": True})
    (_, a), (_, b) = reader.maps([first, second])
    try:
        found = compare_maps(a, b)
        contained = nesting(a, b), nesting(b, a)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json({**found.as_dict(), "first_in_second": contained[0], "second_in_first": contained[1]})
    else:
        click.echo(str(found))
        click.echo(
            f"{100 * contained[0]:.1f} % of the first's faults are in the second, {100 * contained[1]:.1f} % the other way"
        )
    sys.exit(int(a.digest != b.digest))


@map_group.command(
    epilog="""\b
Examples:
  tremap map repair A7.npz --spare-rows 4 --spare-columns 2 --out A7-repaired.npz --list A7-repair.csv
  tremap map repair A7.npz --apply A7-repair.csv --out A7-repaired.npz
"""
)
@click.argument("path", type=EXISTING)
@map_options
@click.option("--spare-rows", type=click.IntRange(min=0), default=0, show_default=True, help="Spare rows of each bank.")
@click.option("--spare-columns", type=click.IntRange(min=0), default=0, show_default=True, help="Spare columns of each bank.")
@click.option("--column-mux", type=click.IntRange(min=1), default=1, show_default=True, help="Words that share a physical row.")
@GEOMETRY
@click.option("--apply", "apply_", type=EXISTING, help="Apply this repair list, rather than work one out.")
@click.option("--list", "list_", type=NEW, help="Write the repair list to this file.")
@click.option("--out", required=True, type=NEW, help="File of the post-repair map.")
def repair(
    path: Path,
    spare_rows: int,
    spare_columns: int,
    column_mux: int,
    geometry: Path | None,
    apply_: Path | None,
    list_: Path | None,
    out: Path,
    **reading: Any,
) -> None:
    """Replace rows and columns by spare ones, and write the map of what stays broken."""
    if geometry is not None and column_mux != 1:
        raise click.UsageError("--geometry says the column mux; leave --column-mux out")
    reader = Reading.of(**{**reading, "strict": True})
    ((_, chip),) = reader.maps([path])
    try:
        array = ArrayGeometry(chip.memory, column_mux=column_mux) if geometry is None else _geometry(geometry)
        if apply_ is not None:
            done = Repair.load(apply_)
            remaining = repaired(chip, done, geometry=array)
        else:
            plan = allocate_repair(chip, spare_rows=spare_rows, spare_columns=spare_columns, geometry=array)
            done, remaining = plan.repair, plan.remaining
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    remaining.save(out)
    if list_ is not None:
        done.save(list_)
    click.echo(f"{len(chip)} stuck cells, {len(done)} rows and columns replaced, {len(remaining)} stuck cells left: {out}")


@map_group.command(
    epilog="""\b
Examples:
  tremap map plot A7.npz --out A7.png
  tremap map plot chips/ --kind overlap --out overlap.png
  tremap map plot chips/ --kind growth --out growth.png
  tremap map plot chips/ --kind effective --bundle group_0/ --out effective.png
"""
)
@PATHS
@map_options
@click.option(
    "--kind",
    type=click.Choice(["map", "overlap", "growth", "effective"]),
    help="Default: map for one chip, overlap for several.",
)
@GEOMETRY
@click.option("--bundle", type=EXISTING, help="For effective: the bundle whose image the chips hold.")
@click.option("--title", default="", help="Heading of the picture.")
@click.option("--out", required=True, type=NEW, help="Picture; its ending chooses the format.")
def plot(
    paths: tuple[Path, ...],
    kind: str | None,
    geometry: Path | None,
    bundle: Path | None,
    title: str,
    out: Path,
    **reading: Any,
) -> None:
    """Draw a chip's map as a bitmap, a fleet's overlap, how the union grows, or which faults matter for a bundle.

    With --geometry a chip's map is drawn as its physical array.
    """
    from tremap_brevitas.faults.plot import plot_fault_map, plot_overlap, plot_union_growth

    if (kind == "effective") != (bundle is not None):
        raise click.UsageError("--kind effective and --bundle go together")
    reader = Reading.of(**reading)
    image = None
    if bundle is not None:
        image = loaded_bundle(bundle).image
        reader.memory = image.placement.memory
    maps = [chip for _, chip in reader.maps(paths)]
    kind = kind or ("map" if len(maps) == 1 else "overlap")
    if kind == "map" and len(maps) != 1:
        raise click.UsageError(f"--kind map draws one chip, got {len(maps)}")
    if geometry is not None and kind != "map":
        raise click.UsageError(f"--geometry is for --kind map, got {kind}")
    try:
        if kind == "map":
            array = None if geometry is None else _geometry(geometry)
            plot_fault_map(maps[0] if array is None else array.to_physical(maps[0]), out, title=title)
        elif image is not None:
            from tremap_brevitas.fleet.plot_fleet import plot_effective_faults

            plot_effective_faults(image, maps, out, title=title)
        else:
            (plot_overlap if kind == "overlap" else plot_union_growth)(maps, out, title=title)
    except (ImportError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{out}")
    reader.finish()


def _geometry(path: Path) -> ArrayGeometry:
    try:
        return ArrayGeometry.load(path)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _write(found: FaultMap, target: Path, to: str) -> None:
    if to == "readback":
        ones, zeros = (target.with_name(f"{target.stem}-{kind}{target.suffix}") for kind in ("ones", "zeros"))
        write_fault_map(found, ones, format="readback", other=zeros)
    elif to == "neuralfuse":
        sa0, sa1 = (target.with_name(f"{target.stem}-{kind}{target.suffix}") for kind in ("sa0", "sa1"))
        write_fault_map(found, sa0, format="neuralfuse", sa1=sa1)
    elif isinstance(found, MergedFaultMap):
        found.save(target)
    else:
        write_fault_map(found, target, format=to)  # type: ignore[arg-type]
