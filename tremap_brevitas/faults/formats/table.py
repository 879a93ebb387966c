"""Parse text tables: fields, separators, quotes and comments, and numbers of any width."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.formats.text import Block, FormatError
from tremap_brevitas.printable import counted

BLANKS = "blanks"
INNER = "\x1f"  # between fields that are split already

# Value of every digit; 255 for all other bytes.
DIGITS = np.full(256, 255, dtype=np.uint8)
for _value, _digit in enumerate(b"0123456789abcdef"):
    DIGITS[_digit] = _value
for _value, _digit in enumerate(b"ABCDEF", start=10):
    DIGITS[_digit] = _value
_BLANK = np.zeros(256, dtype=bool)
_BLANK[list(b" \t")] = True


@dataclass(frozen=True, eq=False)
class Rows:
    """Some parsed lines of a table.

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
        """Return one field as text."""
        return self.data[self.starts[row, column] : self.ends[row, column]].tobytes().decode("utf-8", "replace")

    def fail(self, row: int, message: str) -> FormatError:
        """Create an error for one line."""
        return FormatError(f"{self.path}:{self.lines[row]}: {message}")

    @cached_property
    def _any_x(self) -> bool:
        """Whether any number can begin with ``0x``: most files have none, and checking every field takes time."""
        return bool(((self.data | 32) == ord("x")).any())

    def subset(self, chosen: NDArray[np.bool_]) -> Rows:
        """Return some of the lines."""
        return Rows(self.data, self.starts[chosen], self.ends[chosen], self.lines[chosen], self.path)

    def marked(self, column: int) -> NDArray[np.bool_]:
        """Return which of a column's numbers begin with ``0x``."""
        starts, ends = self.starts[:, column], self.ends[:, column]
        if not self._any_x:
            return np.zeros(len(self), dtype=bool)
        second = self.data[np.minimum(starts + 1, len(self.data) - 1)]
        return (ends - starts > 2) & (self.data[starts] == ord("0")) & ((second == ord("x")) | (second == ord("X")))

    def widths(self, column: int) -> NDArray[np.int64]:
        """Return the number of digits of a column's numbers, without ``0x``."""
        plain: NDArray[np.int64] = self.ends[:, column] - self.starts[:, column]
        return plain - 2 * self.marked(column) if self._any_x else plain

    def lettered(self, column: int) -> bool:
        """Return which fields of a column contain a letter, so that they are not decimal numbers."""
        letters = np.append(0, np.cumsum(DIGITS[self.data] > 9, dtype=np.int32))
        return bool(np.any(letters[self.ends[:, column]] > letters[self.starts[:, column]]))

    def digits(self, column: int, *, base: int, what: str) -> Iterator[NDArray[np.uint8]]:
        """Return the digits of a column's numbers, lowest first, padded with 0 to the longest number.

        Hexadecimal ones may begin with ``0x``.

        Raises:
            FormatError: If a field is not a number.
        """
        starts, ends = self.starts[:, column], self.ends[:, column]
        if base == 16 and self._any_x:
            starts = starts + 2 * self.marked(column)
        widths = ends - starts
        # Most files have numbers of one length, which needs no masks.
        longest, shortest = int(widths.max(initial=0)), int(widths.min(initial=1))
        if shortest < 1:
            raise self.fail(int(np.argmin(widths)), f"{what} is missing")
        if longest > 4096:
            raise self.fail(int(np.argmax(widths)), f"{what} of {counted(longest, 'digit')}")
        for place in range(longest):
            index = ends - 1 - place
            if place >= shortest:
                digits = np.where(place < widths, DIGITS[self.data[np.maximum(index, 0)]], 0)
            else:
                digits = DIGITS[self.data[index]]
            if int(digits.max(initial=0)) >= base:
                row = int(np.argmax(digits >= base))
                raise self.fail(row, f"{what} {self.text(row, column)!r} is not a number of base {base}")
            yield digits

    def integers(self, column: int, *, base: int, what: str) -> NDArray[np.int64]:
        """Return a column's numbers, hexadecimal if they begin with ``0x`` and of ``base`` otherwise.

        Raises:
            FormatError: If a field is not a number, or has more than 60 bits.
        """
        marked = self.marked(column)
        if base != 16 and marked.any():
            total = np.zeros(len(self), dtype=np.int64)
            total[marked] = self.subset(marked).integers(column, base=16, what=what)
            total[~marked] = self.subset(~marked).integers(column, base=base, what=what)
            return total
        total = np.zeros(len(self), dtype=np.int64)
        factor = 1
        for digit in self.digits(column, base=base, what=what):
            if factor > 1 << 56:
                if digit.any():
                    raise self.fail(int(np.argmax(digit > 0)), f"{what} is too large")
                continue
            total += digit.astype(np.int64) * factor
            factor *= base
        return total


def separator_of(line: str) -> str:
    """Detect the separator of a table from its first line: a semicolon, a tab, a comma, or blanks."""
    bare = re.sub('"[^"]*"', '""', uncommented(line))
    if ";" in bare:
        return ";"
    if "\t" in bare and "," not in bare and all(field.strip() for field in bare.strip().split("\t")):
        return "\t"
    return "," if "," in bare else BLANKS


def uncommented(line: str) -> str:
    """Return a line without its comment, which begins at the first ``#`` outside quotes, and without outer blanks."""
    match = re.match(r'(?:[^"#]|"[^"]*")*(?=#)', line)
    return (match.group() if match else line).strip(" \t\r\n")


def split_line(line: str, separator: str) -> list[str]:
    """Split a line into fields, without comment, outer blanks and quotes; an empty line has none.

    Raises:
        ValueError: If quotes do not match.
    """
    bare = uncommented(line)
    if not bare:
        return []
    if separator == BLANKS:
        if bare.count('"') % 2:
            raise ValueError("a quote that is never closed")
        return [field.strip('"') for field in re.findall(r'(?:"[^"]*"|[^\s"])+', bare)]
    if '"' not in bare:
        return [field.strip() for field in bare.split(separator)]
    try:
        (fields,) = csv.reader([bare], delimiter=separator, skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"quotes that do not match ({error})") from None
    return [field.strip() for field in fields]


def rows(block: Block, fields: int, path: str | os.PathLike[str], separator: str) -> Rows:
    """Parse lines; ``#`` begins a comment, blank lines are ignored, fields may be quoted.

    Raises:
        FormatError: If a line has another number of fields.
    """
    if b"#" not in block.text and b'"' not in block.text:
        return _cut(block.text, block.line + np.arange(block.text.count(b"\n")), fields, path, separator)
    kept = []
    for line, raw in enumerate(block.text.split(b"\n"), start=block.line):
        try:
            texts = split_line(raw.decode("utf-8", "surrogateescape"), separator)
        except ValueError as error:
            raise FormatError(f"{path}:{line}: {error}") from None
        if texts:
            kept.append((line, texts))
    return rows_of(kept, fields, path)


def rows_of(lines: Sequence[tuple[int, Sequence[str]]], fields: int, path: str | os.PathLike[str]) -> Rows:
    """Return rows of lines that are already split.

    Raises:
        FormatError: If a line has another number of fields.
    """
    text = "".join(INNER.join(field.replace("\n", " ") for field in texts) + "\n" for _, texts in lines)
    numbers = np.array([line for line, _ in lines], dtype=np.int64)
    return _cut(text.encode("utf-8", "surrogateescape"), numbers, fields, path, INNER)


def _cut(text: bytes, numbers: NDArray[np.int64], fields: int, path: str | os.PathLike[str], separator: str) -> Rows:
    """Return rows of lines, where ``numbers`` gives the line numbers in the file."""
    data = np.frombuffer(text, dtype=np.uint8)
    breaks = data == ord("\n")
    if separator == BLANKS:
        gap = _BLANK[data] | breaks
        edges = np.flatnonzero(gap[1:] != gap[:-1]) + 1
        if len(data) and not gap[0]:
            edges = np.append(0, edges)
        starts, ends = edges[::2], edges[1::2]
        line = np.searchsorted(np.flatnonzero(breaks), starts)
    else:
        ends = np.flatnonzero(breaks | (data == ord(separator)))
        starts = np.append(0, ends[:-1] + 1)[: len(ends)]
        line = np.cumsum(breaks[ends]) - breaks[ends]
        if b" " in text or b"\t" in text:
            starts, ends = _trimmed(data, starts, ends, separator)
        # A blank line is a single empty field.
        alone = np.append(True, line[1:] != line[:-1]) & np.append(line[1:] != line[:-1], True) if len(line) else []
        if len(line) and np.any(empty := (starts == ends) & alone):
            starts, ends, line = starts[~empty], ends[~empty], line[~empty]
    count = len(starts) // fields
    regular = len(starts) == count * fields
    if regular and count:
        table = line.reshape(count, fields)
        regular = bool(np.all(table[:, 0] == table[:, -1]) and np.all(table[1:, 0] > table[:-1, 0]))
    if not regular:
        values, counts = np.unique(line, return_counts=True)
        at = int(np.argmax(counts != fields))
        raise FormatError(f"{path}:{numbers[values[at]]}: {counted(counts[at], 'field')}, expected {fields}")
    starts, ends = starts.reshape(count, fields), ends.reshape(count, fields)
    return Rows(data, starts, ends, numbers[line[::fields]], os.fspath(path))


def _trimmed(
    data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], separator: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Remove the blanks around fields."""
    blank = _BLANK[data]
    if separator == "\t":
        blank &= data != ord("\t")
    solid = np.flatnonzero(~blank)  # separators and line ends among them
    starts = solid[np.searchsorted(solid, starts)]
    before = np.searchsorted(solid, ends) - 1
    return starts, np.maximum(starts, np.where(before < 0, 0, solid[before] + 1))
