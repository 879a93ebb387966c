"""Split lines of a log into columns: a table with a header line, or lines that match a pattern."""

from __future__ import annotations

import os
import re

from tremap_brevitas.faults.formats.columns import LogForm
from tremap_brevitas.faults.formats.table import Rows, rows, rows_of, separator_of, split_line
from tremap_brevitas.faults.formats.text import Block, FormatError


class Tables:
    """Rows of a table. Its first line names the columns, unless the form does.

    Attributes:
        names: Our names of the columns.
    """

    def __init__(self, form: LogForm, path: str | os.PathLike[str]) -> None:
        self.names: list[str] = [] if form.columns is None else form.names(form.columns, "columns: ")
        self._form, self._path = form, path
        self._separator = ""

    @property
    def last(self) -> str:
        """Name of the last column."""
        return self.names[-1]

    def take(self, block: Block) -> Rows | None:
        """Return the rows of a block; None while only comments have been read.

        Raises:
            FormatError: If a line has another number of fields, or the line of names is not understood.
        """
        if not self._separator:
            lines = block.text.split(b"\n")
            for offset, raw in enumerate(lines):
                text = raw.decode("utf-8", "replace")
                separator = separator_of(text)
                try:
                    fields = split_line(text, separator)
                except ValueError as error:
                    raise FormatError(f"{self._path}:{block.line + offset}: {error}") from None
                if fields:
                    break
            else:
                return None
            self._separator = separator
            if not self.names:
                self._named(fields, block.line + offset, block.cut and offset == len(lines) - 2)
                block = Block(block.line + offset + 1, b"\n".join(lines[offset + 1 :]), block.cut)
        table = rows(block, len(self.names), self._path, self._separator)
        for column, name in enumerate(self.names):
            if name == "()" and len(table) and (table.ends[:, column] > table.starts[:, column]).any():
                row = int((table.ends[:, column] > table.starts[:, column]).argmax())
                raise table.fail(row, f"{table.text(row, column)!r} stands in a column without a name")
        return table

    def _named(self, fields: list[str], line: int, cut: bool) -> None:
        if all(re.fullmatch(r"(0[xX])?[0-9a-fA-F]+", f) for f in fields):
            raise FormatError(f"{self._path}:{line}: no line before this names the columns; give columns=")
        if cut:
            raise FormatError(
                f"{self._path}:{line}: the file ends within the line that names its columns; end it if it is whole"
            )
        self.names = self._form.names(fields, f"{self._path}:{line}: ")

    def finish(self) -> None:
        """Check that there was a table.

        Raises:
            FormatError: If no line named the columns.
        """
        if not self.names:
            raise FormatError(f"{self._path}: has no line that names its columns; give columns=")


class MatchedLines:
    """Rows of lines that match a pattern: its named groups are the columns.

    Attributes:
        names: Our names of the columns.
        last: Name of the column with which the last line ends; empty if other text follows it.
    """

    def __init__(self, pattern: re.Pattern[str], form: LogForm, path: str | os.PathLike[str]) -> None:
        self._pattern, self._path = pattern, path
        self._groups = list(pattern.groupindex)
        self.names = form.names(self._groups, "pattern: ")
        self.last = ""
        self._matched = 0

    def take(self, block: Block) -> Rows:
        """Return the rows of a block.

        Raises:
            FormatError: If the pattern does not match a line.
        """
        kept = []
        address = self.names.index("address")
        for line, raw in enumerate(block.text.split(b"\n"), start=block.line):
            text = raw.decode("utf-8", "replace").strip()
            if not text or text.startswith("#"):
                continue
            match = self._pattern.fullmatch(text)
            if match is None:
                raise FormatError(f"{self._path}:{line}: the pattern does not match {text[:80]!r}")
            self._matched += 1
            fields = [match[group] for group in self._groups]
            if fields[address] is None:
                continue
            if None in fields:
                missing = self._groups[fields.index(None)]
                raise FormatError(f"{self._path}:{line}: the pattern finds an address, but no {missing} in {text[:80]!r}")
            kept.append((line, fields))
            self.last = next((n for n, g in zip(self.names, self._groups, strict=True) if match.end(g) == len(text)), "")
        return rows_of(kept, len(self.names), self._path)

    def finish(self) -> None:
        """Check that at least one line matched.

        Raises:
            FormatError: If the pattern matched none. A healthy chip's log says so in a line that the pattern knows.
        """
        if not self._matched:
            raise FormatError(f"{self._path}: has no line that the pattern matches")
