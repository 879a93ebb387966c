"""``tremap map convert``: fault maps in other formats, and between addresses and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tremap_brevitas.cli.common import GEOMETRY, NEW, PATHS, Reading, loaded_geometry, map_options
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats import write_fault_map
from tremap_brevitas.faults.merge import MergedFaultMap


@click.command(
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
    array = None if geometry is None else loaded_geometry(geometry)
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
    for path, found in reader.maps(paths, besides=out if many else None):
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
            found = _plain(found, target, to)
            _write(found, target, to)
            written += 1
        except (OSError, ValueError) as error:
            reader.fail(path, error)
    click.echo(f"{written} maps written to {out}")
    reader.finish()


def _plain(found: FaultMap, target: Path, to: str) -> FaultMap:
    """What a format can hold of a merged map; what it cannot is said."""
    if to == "tremap" or not isinstance(found, MergedFaultMap):
        return found
    click.echo(
        f"tremap: {target}: {to} holds the {len(found)} merged cells alone, not the {len(found.members)} members, the "
        f"{len(found.conflicts)} conflicts and their rule, {found.on_conflict}",
        err=True,
    )
    return FaultMap(found.memory, found.cells, found.stuck_at, found.chip, found.metadata)


def _write(found: FaultMap, target: Path, to: str) -> None:
    if to == "readback":
        ones, zeros = (target.with_name(f"{target.stem}-{kind}{target.suffix}") for kind in ("ones", "zeros"))
        write_fault_map(found, ones, format="readback", other=zeros)
    elif to == "neuralfuse":
        sa0, sa1 = (target.with_name(f"{target.stem}-{kind}{target.suffix}") for kind in ("sa0", "sa1"))
        write_fault_map(found, sa0, format="neuralfuse", sa1=sa1)
    else:
        write_fault_map(found, target, format=to)
