"""Shared parts of the commands: reading maps, reporting bad files, tables and JSON."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from tqdm import tqdm

from tremap_brevitas.cli.exits import DOCUMENTED, error_text
from tremap_brevitas.cli.inputs import STDIN, regular
from tremap_brevitas.cli.outputs import OutFile, OutFolder
from tremap_brevitas.cli.printing import echo
from tremap_brevitas.cli.reader_options import check_reader_options, reader_options
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats import Format, Source, read_fault_maps, sources
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.printable import counted, printable

if TYPE_CHECKING:
    from tremap_brevitas.bundle.read import Bundle
    from tremap_brevitas.planning.resilience import ResilienceCurve

Command = TypeVar("Command", bound=Callable[..., Any])
Item = TypeVar("Item")


class Number(click.FloatRange):
    """A finite number; click's own range accepts NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert the argument to a number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def map_options(command: Command) -> Command:
    """Add the options for reading maps to a command."""
    options = [
        click.option(
            "--format", "format_", type=click.Choice(get_args(Format)), help="Format of the files; default: detected."
        ),
        click.option("--words", type=click.IntRange(min=1), help="Words of the memory, if the files do not state it."),
        click.option("--word-bits", type=click.IntRange(min=1), help="Bits of a word, if the files do not state it."),
        click.option("--banks", type=click.IntRange(min=1), help="Banks that the words are divided into; with --words."),
        click.option(
            "--option",
            "options",
            multiple=True,
            metavar="NAME=VALUE",
            help="Option of the format's reader, such as address_step=4, rename=fail_addr:address, voltage=0.55.",
        ),
        click.option("--strict", is_flag=True, help="Stop at the first bad file, instead of naming it and going on."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


EXISTING = click.Path(path_type=Path, exists=True)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
NEW = OutFile()
NEW_FOLDER = OutFolder()
PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, allow_dash=True))
GEOMETRY = click.option(
    "--geometry",
    type=FILE,
    help="JSON: words, word_bits, banks, column_mux, interleaved_banks, word_order, bit_order of the array.",
)
CURVE = click.option("--curve", "curve_file", type=FILE, help="Resilience curve of the network (JSON).")
GOAL = click.option("--goal", type=Number(0, 1), help="Accuracy that every chip must reach.")
MARGIN = click.option("--margin", type=Number(min=0), default=0.0, show_default=True, help="Accuracy to spare above the goal.")

overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace files that exist; in a folder, those that an earlier run of this command wrote."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for other programs.")


@dataclass
class Reading:
    """Reads many maps, reports bad ones, and remembers whether there were any.

    Attributes:
        bad: Number of files that could not be read.
    """

    format_: Format | None
    memory: Memory | None
    options: dict[str, Any]
    strict: bool
    banks: int | None = None
    bad: int = field(default=0)

    @classmethod
    def of(
        cls,
        *,
        format_: Format | None,
        words: int | None,
        word_bits: int | None,
        banks: int | None,
        options: Sequence[str],
        strict: bool,
    ) -> Reading:
        """Create a reader from the command-line options.

        Raises:
            click.UsageError: If they contradict each other.
        """
        if (words is None) != (word_bits is None):
            raise click.UsageError("give --words and --word-bits together, or neither")
        if banks is not None and words is None:
            raise click.UsageError("--banks divides the words of --words; give that as well")
        try:
            memory = None if words is None or word_bits is None else Memory(words=words, word_bits=word_bits, banks=banks or 1)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        known = reader_options(options, format_)
        check_reader_options(known, format_)
        return cls(format_, memory, known, strict, banks)

    def expect(self, memory: Memory) -> None:
        """Expect maps of a bundle's memory.

        Raises:
            click.UsageError: If the command line states another one.
        """
        if self.memory is not None and self.memory != memory:
            raise click.UsageError(f"--words and --word-bits say {self.memory}, the bundle has {memory}")
        self.memory = memory

    def sources(self, paths: Sequence[Path], *, besides: Path | None = None) -> list[Source]:
        """List the given files and those in folders, except ``besides``, which a folder may contain.

        Raises:
            click.ClickException: If there is none.
            click.UsageError: If standard input is named twice.
        """
        if sum(str(path) in STDIN for path in paths) > 1:
            raise click.UsageError("standard input can be read only once")
        files = [s for s in sources(paths, format=self.format_) if besides is None or realpath(s.path) != realpath(besides)]
        if not files:
            raise click.ClickException(f"no file in {', '.join(map(str, paths))}")
        return files

    def maps(
        self, paths: Sequence[Path], *, progress: str = "chips", besides: Path | None = None
    ) -> Iterator[tuple[Path, FaultMap]]:
        """Yield the maps of files and folders one by one; report bad files on standard error.

        A file with several chips gives them one after the other. ``besides`` is left out where a folder holds it.

        Raises:
            click.ClickException: If one is bad and ``--strict`` was given, or there is no file.
        """
        files = self.sources(paths, besides=besides)
        for source in with_bar(files, progress, "file") if len(files) > 1 else files:
            try:
                maps = self._read(source, given=source.path in paths)
            except DOCUMENTED as error:
                self.fail(source.path, error)
            else:
                yield from ((source.path, fault_map) for fault_map in maps)

    def one_map(self, path: Path) -> FaultMap:
        """Read a file with the map of one chip.

        Raises:
            click.ClickException: If it is bad, or holds several.
        """
        self.strict = True
        maps = [fault_map for _, fault_map in self.maps([path])]
        if len(maps) > 1:
            raise click.ClickException(f"{path}: holds {len(maps)} chips; give the map of one chip")
        return maps[0]

    def all_maps(self, paths: Sequence[Path]) -> list[FaultMap]:
        """Read all maps; at least one must be good.

        Raises:
            click.ClickException: If none is, or one is bad and ``--strict`` was given.
        """
        maps = [fault_map for _, fault_map in self.maps(paths)]
        if not maps:
            raise click.ClickException("no map could be read")
        return maps

    def files(self, paths: Sequence[Path], *, besides: Path | None = None) -> list[Path]:
        """Return all files that are read, including those named in options."""
        files = self.sources(paths, besides=besides)
        named = [value for source in files for value in source.options.values() if isinstance(value, Path)]
        named += [Path(self.options[name]) for name in ("other", "sa1") if self.options.get(name)]
        return [*(source.path for source in files), *named]

    def _read(self, source: Source, *, given: bool) -> list[FaultMap]:
        if source.path.is_dir():
            raise IsADirectoryError(f"{source.path}: a folder inside a folder; give it as an argument of its own")
        with regular(source.path, piped=given) as file:
            options = {**source.options, **self.options}
            maps = read_fault_maps(file, format=self.format_, memory=self.memory, **options)
        return [self._in_banks(fault_map) for fault_map in maps]

    def _in_banks(self, fault_map: FaultMap) -> FaultMap:
        if self.banks is None or fault_map.memory.banks == self.banks:
            return fault_map
        if fault_map.memory.banks > 1:
            raise ValueError(f"is of a memory of {fault_map.memory}, --banks says {self.banks}")
        return replace(fault_map, memory=replace(fault_map.memory, banks=self.banks))

    def fail(self, path: Path, error: BaseException) -> None:
        """Report a bad file.

        Raises:
            click.ClickException: If ``--strict`` was given.
        """
        text, name = error_text(error), printable(str(path))
        text = text if name in text else f"{name}: {text}"
        if self.strict:
            raise click.ClickException(text)
        self.bad += 1
        with tqdm.external_write_mode(file=sys.stderr):
            echo(f"tremap: {text}", err=True)

    def finish(self) -> None:
        """Exit with status 1 if a file was bad."""
        if self.bad:
            echo(f"tremap: {counted(self.bad, 'bad file')}", err=True)
            sys.exit(1)


def on_terminal() -> bool:
    """Whether somebody would see a progress bar on standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


def with_bar(items: Sequence[Item], text: str, unit: str) -> Iterable[Item]:
    """Show a progress bar over the items, on a terminal."""
    # Elsewhere no bar is made at all: a signal that comes while older versions of tqdm make one ends in a traceback.
    return tqdm(items, desc=text, unit=unit, leave=False) if on_terminal() else items


def loaded_bundle(path: Path) -> Bundle:
    """Read a bundle."""
    # Imported here, since importing onnx takes a while and most commands do not need it.
    from tremap_brevitas.bundle.read import Bundle

    return Bundle.load(path)


def loaded_geometry(path: Path) -> ArrayGeometry:
    """Read the geometry of an array."""
    with regular(path) as file:
        return ArrayGeometry.load(file)


def loaded_curve(path: Path) -> ResilienceCurve:
    """Read a resilience curve."""
    from tremap_brevitas.planning.resilience import ResilienceCurve

    with regular(path) as file:
        return ResilienceCurve.load(file)
