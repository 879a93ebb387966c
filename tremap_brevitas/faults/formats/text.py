"""Reading large text files of numbers: gzip, blocks, progress, and errors that say ``path:line``."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from tremap_brevitas.faults.distinct import thinned

BLOCK = 1 << 22
MAX_LINE = 1 << 20

_SEPARATORS = np.zeros(256, dtype=bool)
_SEPARATORS[list(b" \t,;\r\n")] = True
# Value of every digit, 255 for what is none.
DIGITS = np.full(256, 255, dtype=np.uint8)
for _value, _digit in enumerate(b"0123456789abcdef"):
    DIGITS[_digit] = _value
for _value, _digit in enumerate(b"ABCDEF", start=10):
    DIGITS[_digit] = _value


class FormatError(ValueError):
    """A file that is not of its format. The message begins with ``path:line:`` or ``path:``."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Some lines of a table, taken apart.

    Attributes:
        data: The bytes.
        starts: Where each field begins in ``data``, shape (lines, fields).
        ends: Where it ends.
        lines: Number of each line in the file, from 1.
        path: The file, for errors.
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]
    path: str

    def __len__(self) -> int:
        return len(self.lines)

    def text(self, row: int, column: int) -> str:
        """One field as it stands."""
        return self.data[self.starts[row, column] : self.ends[row, column]].tobytes().decode("ascii", "replace")

    def fail(self, row: int, message: str) -> FormatError:
        """Error for one line."""
        return FormatError(f"{self.path}:{self.lines[row]}: {message}")

    def digits(self, column: int, *, base: int, what: str) -> Iterator[NDArray[np.uint8]]:
        """Digits of a column's numbers, the lowest first, as many as the longest number has; 0 beyond a number's own.

        A number may begin with ``0x``, and is hexadecimal then.

        Raises:
            FormatError: If a field is no number.
        """
        starts, ends = self.starts[:, column], self.ends[:, column]
        # Most files have numbers of one length, which needs no masks.
        first = self.data[starts]
        prefixed = (first == ord("0")) & (ends - starts > 2)
        if prefixed.any():
            second = self.data[np.minimum(starts + 1, ends - 1)]
            prefixed &= (second == ord("x")) | (second == ord("X"))
            starts = starts + 2 * prefixed
            if base != 16 and prefixed.any() and not prefixed.all():
                raise self.fail(int(np.argmax(prefixed)), f"{what}: some numbers are hexadecimal, some of base {base}")
        radix = 16 if prefixed.any() else base
        widths = ends - starts
        longest = int(widths.max(initial=0))
        shortest = int(widths.min(initial=0))
        if longest > 4096:
            raise self.fail(int(np.argmax(widths)), f"{what} of {longest} digits")
        for place in range(longest):
            index = ends - 1 - place
            if place >= shortest:
                found = np.where(place < widths, DIGITS[self.data[np.maximum(index, 0)]], 0)
            else:
                found = DIGITS[self.data[index]]
            if int(found.max(initial=0)) >= radix:
                row = int(np.argmax(found >= radix))
                raise self.fail(row, f"{what} {self.text(row, column)!r} is no number of base {radix}")
            yield found

    def integers(self, column: int, *, base: int, what: str) -> NDArray[np.int64]:
        """A column's numbers.

        Raises:
            FormatError: If a field is no number, or has more than 60 bits.
        """
        total = np.zeros(len(self), dtype=np.int64)
        prefixed = len(self) > 0 and self.text(0, column)[:2].lower() == "0x"
        radix = 16 if prefixed else base
        factor = 1
        for found in self.digits(column, base=base, what=what):
            if factor > 1 << 56:
                if found.any():
                    raise self.fail(int(np.argmax(found > 0)), f"{what} is too large")
                continue
            total += found.astype(np.int64) * factor
            factor *= radix
        return total


@contextmanager
def opened(path: str | os.PathLike[str], *, progress: bool = False) -> Iterator[IO[bytes]]:
    """Open a file, plain or gzip (told by its first bytes), with a progress bar over the bytes on disk if wished.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If the gzip stream is damaged.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        with tqdm.wrapattr(
            file, "read", total=size, desc=Path(path).name, disable=not progress, leave=False, unit="B", unit_scale=True
        ) as watched:
            try:
                if zipped:
                    with gzip.GzipFile(fileobj=watched, mode="rb") as stream:
                        yield stream  # type: ignore[misc]
                else:
                    yield watched
            except (gzip.BadGzipFile, zlib.error, EOFError) as error:
                raise FormatError(f"{path}: damaged gzip file ({error})") from None


def blocks(stream: IO[bytes], path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """Whole lines, a few megabytes at a time, with the number of the first.

    Raises:
        FormatError: If a line is longer than 1 MiB.
    """
    line, rest = 1, b""
    while chunk := stream.read(BLOCK):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            rest += chunk
            if len(rest) > MAX_LINE:
                raise FormatError(f"{path}:{line}: a line of more than {MAX_LINE} bytes")
            continue
        block, rest = rest + chunk[:cut], chunk[cut:]
        yield line, block
        line += block.count(b"\n")
    if rest:
        yield line, rest + b"\n"


def rows(block: bytes, first_line: int, fields: int, path: str | os.PathLike[str]) -> Rows:
    """Take lines apart; blanks, tabs, commas and semicolons separate fields, ``#`` begins a comment, blank lines do not count.

    Raises:
        FormatError: If a line has another number of fields.
    """
    numbers: NDArray[np.int64] | None = None
    if b"#" in block:
        kept, where = [], []
        for offset, text in enumerate(block.split(b"\n")):
            bare = text.partition(b"#")[0].strip()
            if bare:
                kept.append(bare)
                where.append(first_line + offset)
        block, numbers = b"\n".join([*kept, b""]), np.array(where, dtype=np.int64)
    data = np.frombuffer(block, dtype=np.uint8)
    gap = _SEPARATORS[data]
    edges = np.flatnonzero(gap[1:] != gap[:-1]) + 1
    if len(data) and not gap[0]:
        edges = np.append(0, edges)
    if len(edges) % 2:
        edges = np.append(edges, len(data))
    starts, ends = edges[::2], edges[1::2]
    breaks = np.flatnonzero(data == ord("\n"))
    line = np.searchsorted(breaks, starts)
    count = len(starts) // fields
    regular = len(starts) == count * fields
    if regular and count:
        table = line.reshape(count, fields)
        regular = bool(np.all(table[:, 0] == table[:, -1]) and np.all(table[1:, 0] > table[:-1, 0]))
    if not regular:
        values, counts = np.unique(line, return_counts=True)
        wrong = int(values[np.argmax(counts != fields)])
        number = first_line + wrong if numbers is None else int(numbers[wrong])
        raise FormatError(f"{path}:{number}: {int(counts[np.argmax(counts != fields)])} fields, expected {fields}")
    rows_at = line[::fields]
    lines = rows_at + first_line if numbers is None else numbers[rows_at]
    return Rows(data, starts.reshape(count, fields), ends.reshape(count, fields), lines, os.fspath(path))


def split_line(text: str) -> list[str]:
    """Fields of one line, as ``rows`` takes it apart."""
    for separator in "\t,;\r\n":
        text = text.replace(separator, " ")
    return text.partition("#")[0].split()


class Cells:
    """Stuck cells found so far, in bounded memory: each cell once for each stuck value.

    ``add`` takes any number of cells; ``result`` gives them sorted, and those that failed both ways.
    """

    def __init__(self, limit: int = 1 << 22) -> None:
        self._parts: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
        self._waiting = 0
        self._limit = limit

    def add(self, cells: NDArray[np.int64], stuck_at: int) -> None:
        """Note cells that are stuck at one value."""
        if len(cells):
            self._parts[stuck_at].append(cells)
            self._waiting += len(cells)
            if self._waiting > self._limit:
                self._settle()

    def _settle(self) -> None:
        for parts in self._parts:
            if parts:
                parts[:] = [thinned(np.concatenate(parts))]
        self._waiting = 0
        self._limit = max(self._limit, sum(len(p) for parts in self._parts for p in parts))

    def result(self) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
        """Sorted cells with their stuck values, and sorted cells that failed both ways (not among the first)."""
        self._settle()
        zeros, ones = (parts[0] if parts else np.empty(0, dtype=np.int64) for parts in self._parts)
        both = np.intersect1d(zeros, ones, assume_unique=True)
        if len(both):
            zeros, ones = (np.setdiff1d(part, both, assume_unique=True) for part in (zeros, ones))
        cells = np.concatenate([zeros, ones])
        stuck_at = np.concatenate([np.zeros(len(zeros), np.uint8), np.ones(len(ones), np.uint8)])
        order = np.argsort(cells, kind="stable")
        return cells[order], stuck_at[order], both


def chip_name(path: str | os.PathLike[str]) -> str:
    """Name of a chip from that of its file: without ``.gz`` and one more ending of letters."""
    return re.sub(r"\.[A-Za-z]+$", "", re.sub(r"\.gz$", "", Path(path).name))


def settled(
    cells: Cells, path: str, both_ways: str, word_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8], dict[str, str]]:
    """Cells, stuck values and metadata, once it is settled what to do with cells that failed both ways.

    Raises:
        FormatError: If there are any and ``both_ways`` is ``"error"``.
    """
    found, stuck_at, both = cells.result()
    if not len(both):
        return found, stuck_at, {}
    if both_ways == "error":
        word, bit = divmod(int(both[0]), word_bits)
        raise FormatError(
            f"{path}: {len(both)} cells failed both as 0 and as 1, so they are not stuck; the first is bit {bit} of word "
            f"{word} (both_ways='drop' leaves them out and says so in the map's metadata)"
        )
    return found, stuck_at, {"failed_both_ways": str(len(both))}


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Check an option.

    Raises:
        ValueError: If it is none of the choices.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
