"""``tremap map convert``: convert fault maps to other formats, or between logical and physical addresses."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from tremap_brevitas.cli.common import GEOMETRY, PATHS, Reading, loaded_geometry, map_options, overwrite_option
from tremap_brevitas.cli.exits import DOCUMENTED
from tremap_brevitas.cli.outputs import STDOUT, can_name_a_file, check_outputs, filled_folder, new_file, summary, to_file
from tremap_brevitas.cli.printing import echo
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats import write_fault_map
from tremap_brevitas.faults.merge import merge
from tremap_brevitas.printable import counted

ENDINGS = {"tremap": ".npz", "csv": ".csv", "log": ".log", "readback": ".hex", "neuralfuse": ".txt"}
PAIRS = {"readback": ("ones", "zeros"), "neuralfuse": ("sa0", "sa1")}


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
@click.option("--to", required=True, type=click.Choice(list(ENDINGS)), help="Format to write.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    help="File; a folder for several maps. Two files: NAME-ones and NAME-zeros.",
)
@overwrite_option
@click.option("--chip", help="Name of the chip, for a single map.")
@GEOMETRY
@click.option("--as", "as_", type=click.Choice(["logical", "physical"]), help="With --geometry: the addresses to write.")
def convert(
    paths: tuple[Path, ...],
    to: str,
    out: Path,
    overwrite: bool,
    chip: str | None,
    geometry: Path | None,
    as_: str | None,
    **reading: Any,
) -> None:
    """Convert fault maps to another format, or between logical addresses and the physical array.

    Anything that the format cannot store is named on standard error.
    """
    reader = Reading.of(**reading)
    if (geometry is None) != (as_ is None):
        raise click.UsageError("give --geometry and --as together, or neither")
    array = None if geometry is None else loaded_geometry(geometry)
    many = len(paths) > 1 or paths[0].is_dir()
    if many and chip is not None:
        raise click.UsageError("--chip names a single map, but several are to be converted")
    if chip is not None:
        reader.options["chip"] = chip
    files = reader.files(paths, besides=out if many else None)

    def translated(fault_map: FaultMap) -> FaultMap:
        if array is None:
            return fault_map
        return _each(array.to_physical if as_ == "physical" else array.to_logical, fault_map)

    if many:
        lost = _convert_folder(reader, paths, files, translated, to, out, overwrite)
    else:
        out = new_file(out)
        if out == STDOUT and to in PAIRS:
            raise click.UsageError(f"{to} is two files, which standard output cannot take")
        targets = _targets(out, to)
        check_outputs(targets, files, overwrite=overwrite)
        fault_map = reader.one_map(paths[0])
        with to_file(out) as file:
            _write(translated(fault_map), file, to)
        lost = _lost(fault_map, to)
        summary(f"1 map written to {out}", out)
    if lost:
        said = ", ".join(f"{what} ({counted(count, 'map')})" if many else what for what, count in sorted(lost.items()))
        echo(f"tremap: not written, since {to} has no place for it: {said}", err=True)
    reader.finish()


def _convert_folder(
    reader: Reading,
    paths: tuple[Path, ...],
    files: list[Path],
    translated: Callable[[FaultMap], FaultMap],
    to: str,
    out: Path,
    overwrite: bool,
) -> Counter[str]:
    """Convert several maps into a folder, and report what a format could not store."""
    check_outputs([out], [*files, *(path.parent for path in files)], overwrite=overwrite)
    taken: dict[Path, Path] = {}
    lost: Counter[str] = Counter()
    written = 0
    with filled_folder(out, command="tremap map convert", overwrite=overwrite, parents=True) as draft:
        for path, fault_map in reader.maps(paths, besides=out):
            name = fault_map.chip or path.stem
            if not can_name_a_file(name):
                reader.fail(path, ValueError(f"calls its chip {name!r}, which cannot be the name of a file in {out}"))
                continue
            targets = _targets(draft / f"{name}{ENDINGS[to]}", to)
            twice = next((target for target in targets if target in taken), None)
            if twice is not None:
                said = f"would overwrite {out / twice.name}, made of {taken[twice]}: both call the chip {fault_map.chip!r}"
                reader.fail(path, ValueError(said))
                continue
            taken |= dict.fromkeys(targets, path)
            try:
                _write(translated(fault_map), draft / f"{name}{ENDINGS[to]}", to)
                lost.update(_lost(fault_map, to))
                written += 1
            except DOCUMENTED as error:
                reader.fail(path, error)
                for target in targets:
                    with suppress(OSError):
                        target.unlink(missing_ok=True)
        echo(f"{counted(written, 'map')} written to {out}")
        if not written:
            reader.finish()
            sys.exit(1)
    return lost


def _each(translate: Callable[[FaultMap], FaultMap], fault_map: FaultMap) -> FaultMap:
    """Convert a map; in a merged map, every member, so that it stays a merged map."""
    if fault_map.on_conflict is None:
        return translate(fault_map)
    return merge([translate(member) for member in fault_map.members], on_conflict=fault_map.on_conflict)


def _lost(fault_map: FaultMap, to: str) -> Counter[str]:
    """Return what the format cannot store, except the chip's name, which is the file name."""
    lost = [] if to in ("tremap", "csv") else [f"metadata {key}" for key in fault_map.metadata]
    if fault_map.on_conflict is not None and to != "tremap":
        members, conflicts = counted(len(fault_map.members), "member"), counted(len(fault_map.conflicts), "conflict")
        lost.append(f"{members} and {conflicts} ({fault_map.on_conflict}) of a merged map")
    return Counter(lost)


def _targets(target: Path, to: str) -> list[Path]:
    """Return the output files of a map."""
    if to not in PAIRS:
        return [target]
    return [target.with_name(f"{target.stem}-{kind}{target.suffix}") for kind in PAIRS[to]]


def _write(fault_map: FaultMap, target: Path, to: str) -> None:
    if to == "tremap":
        fault_map.save(target)
        return
    # Of a merged map, only its cells.
    plain = FaultMap(fault_map.memory, fault_map.cells, fault_map.stuck_at, fault_map.chip, fault_map.metadata)
    first, *second = _targets(target, to)
    options = {{"readback": "other", "neuralfuse": "sa1"}[to]: second[0]} if second else {}
    write_fault_map(plain, first, format=to, **options)
