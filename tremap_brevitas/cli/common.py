"""What the commands share: finding and reading maps, naming bad files, tables and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from tqdm import tqdm

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats import Format, read_fault_maps, sources
from tremap_brevitas.faults.geometry import ArrayGeometry
from tremap_brevitas.faults.memory import Memory

if TYPE_CHECKING:
    from tremap_brevitas.export.bundle.read import Bundle
    from tremap_brevitas.fleet.resilience import ResilienceCurve

Command = TypeVar("Command", bound=Callable[..., Any])
Loaded = TypeVar("Loaded")


def map_options(command: Command) -> Command:
    """Options that tell how maps are to be read."""
    options = [
        click.option(
            "--format", "format_", type=click.Choice(get_args(Format)), help="Their format; default: told by content."
        ),
        click.option("--words", type=click.IntRange(min=1), help="Words of the memory, where the files do not say."),
        click.option("--word-bits", type=click.IntRange(min=1), help="Bits of a word, where the files do not say."),
        click.option("--banks", type=click.IntRange(min=1), default=1, show_default=True, help="Banks of the memory."),
        click.option(
            "--option",
            "options",
            multiple=True,
            metavar="NAME=VALUE",
            help="Option of the format's reader, such as address_step=4, rename=fail_addr:address, voltage=0.55.",
        ),
        click.option("--strict", is_flag=True, help="Stop at the first bad file, rather than name it and go on."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


EXISTING = click.Path(path_type=Path, exists=True)
NEW = click.Path(path_type=Path)
PATHS = click.argument("paths", nargs=-1, required=True, type=EXISTING)
GEOMETRY = click.option(
    "--geometry",
    type=EXISTING,
    help="JSON: words, word_bits, banks, column_mux, interleaved_banks, word_order, bit_order of the array.",
)
CURVE = click.option("--curve", "curve_file", type=EXISTING, help="Resilience curve of the network (JSON).")
GOAL = click.option("--goal", type=click.FloatRange(0, 1), help="Accuracy that every chip must reach.")
MARGIN = click.option(
    "--margin", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Accuracy to spare, for doubt."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")


@dataclass
class Reading:
    """Reads many maps, names those that are bad, and remembers that there were any.

    Attributes:
        bad: Number of files that could not be read.
    """

    format_: Format | None
    memory: Memory | None
    options: dict[str, Any]
    strict: bool
    bad: int = field(default=0)

    @classmethod
    def of(
        cls,
        *,
        format_: Format | None,
        words: int | None,
        word_bits: int | None,
        banks: int,
        options: Sequence[str],
        strict: bool,
    ) -> Reading:
        """Make sense of the command line's options.

        Raises:
            click.UsageError: If they make none.
        """
        if (words is None) != (word_bits is None):
            raise click.UsageError("give --words and --word-bits together, or neither")
        try:
            memory = None if words is None or word_bits is None else Memory(words=words, word_bits=word_bits, banks=banks)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        return cls(format_, memory, dict(_option(text) for text in options), strict)

    def maps(
        self, paths: Sequence[Path], *, progress: str = "chips", besides: Path | None = None
    ) -> Iterator[tuple[Path, FaultMap]]:
        """Read the files, and those of folders, one after the other; a bad one is named on standard error.

        A file with several chips gives them one after the other. ``besides`` is left out where a folder holds it.

        Raises:
            click.ClickException: If one is bad and ``--strict`` was given, or there is no file.
        """
        files = [s for s in sources(paths, format=self.format_) if besides is None or s.path.resolve() != besides.resolve()]
        if not files:
            raise click.ClickException(f"no file in {', '.join(map(str, paths))}")
        for path, told in tqdm(files, desc=progress, unit="file", leave=False, disable=None if len(files) > 1 else True):
            try:
                if path.is_dir():
                    raise IsADirectoryError(f"{path}: a folder within a folder; give it by itself")
                found = read_fault_maps(path, format=self.format_, memory=self.memory, **{**told, **self.options})
            except (OSError, ValueError, TypeError) as error:
                self.fail(path, error)
            else:
                yield from ((path, chip) for chip in found)

    def fail(self, path: Path, error: Exception) -> None:
        """Name a bad file.

        Raises:
            click.ClickException: If ``--strict`` was given.
        """
        text = str(error) if str(path) in str(error) else f"{path}: {error}"
        if self.strict:
            raise click.ClickException(text)
        self.bad += 1
        tqdm.write(f"tremap: {text}", file=sys.stderr)

    def finish(self) -> None:
        """End with 1 if a file was bad."""
        if self.bad:
            click.echo(f"tremap: {self.bad} bad files", err=True)
            sys.exit(1)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.UsageError(f"--option {text!r}: expected NAME=VALUE")
    plain: dict[str, Any] = {"true": True, "false": False, "none": None}
    if value.lower() in plain:
        return name, plain[value.lower()]
    if name in ("columns", "ignore"):
        return name, value.split(",")
    if name == "rename":
        pairs = [pair.partition(":") for pair in value.split(",")]
        if not all(old and new for old, _, new in pairs):
            raise click.UsageError(f"--option {text!r}: expected rename=THEIRS:OURS,…")
        return name, {old: new for old, _, new in pairs}
    if name in ("expected", "pattern", "chip"):  # as the file would write it, even where it looks like a number
        return name, value
    for number in (lambda v: int(v, 0), float):
        try:
            return name, number(value)
        except ValueError:
            continue
    return name, value


def loaded_bundle(path: Path) -> Bundle:
    """Read a bundle.

    Raises:
        click.ClickException: If it is damaged, or none.
    """
    # Here, since onnx takes a while and most commands do without it.
    from tremap_brevitas.export.bundle.read import Bundle

    return _loaded(Bundle.load, path)


def loaded_geometry(path: Path) -> ArrayGeometry:
    """Read the geometry of an array.

    Raises:
        click.ClickException: If it is none.
    """
    return _loaded(ArrayGeometry.load, path)


def loaded_curve(path: Path) -> ResilienceCurve:
    """Read a resilience curve.

    Raises:
        click.ClickException: If it is none.
    """
    from tremap_brevitas.fleet.resilience import ResilienceCurve

    return _loaded(ResilienceCurve.load, path)


def _loaded(load: Callable[[Path], Loaded], path: Path) -> Loaded:
    try:
        return load(path)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Aligned text: the first column to the left, the others to the right."""
    cells = [list(heading), *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heading))]
    lines = []
    for row in cells:
        first, *others = row
        lines.append(
            "  ".join([first.ljust(widths[0]), *(v.rjust(w) for v, w in zip(others, widths[1:], strict=True))]).rstrip()
        )
    return "\n".join(lines)
