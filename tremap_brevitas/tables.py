"""Write and read tables as CSV files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tremap_brevitas.files import atomic_file
from tremap_brevitas.printable import counted
from tremap_brevitas.reading import read_file, reading

MAX_BYTES = 1 << 30

T = TypeVar("T")


def write_table(
    path: str | os.PathLike[str], rows: Sequence[Mapping[str, object]], *, columns: Sequence[str] | None = None
) -> Path:
    """Write rows with the same columns to a CSV file, atomically. Booleans become True or False, None an empty cell.

    Args:
        path: The file.
        rows: A value for each column.
        columns: The columns; None for those of the first row, in their order.

    Raises:
        ValueError: If there is no row, and ``columns`` is None; or a row has other columns.
    """
    if not rows and columns is None:
        raise ValueError(f"{path}: no row to write")
    with atomic_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns or rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Path(path)


def read_table(
    path: str | os.PathLike[str], make: Callable[[Mapping[str, str]], T], *, columns: Sequence[str], what: str
) -> list[T]:
    """Create a value from each row of a CSV file.

    Args:
        path: The file, UTF-8 text.
        make: Function from a row, a text for each column, to a value; a ``ValueError`` of its own is given the line.
        columns: Columns that there must be, in any order; there may be others.
        what: What the file should be, with its article, such as ``"a table of chips"``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a table (``path:line: …``).
    """
    data = read_file(path, limit=MAX_BYTES)
    with reading(path, what):
        lines = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
        values, first = [], 1
        try:
            heading = next(lines, [])
            missing = [column for column in columns if column not in heading]
            if missing or len(set(heading)) != len(heading):
                raise ValueError(f"not {what}: its columns are {','.join(heading)}, expected {','.join(columns)}")
            first = lines.line_num + 1
            for line in lines:
                if len(line) != len(heading):
                    raise ValueError(f"{counted(len(line), 'column')}, expected {len(heading)}")
                values.append(make(dict(zip(heading, line, strict=True))))
                first = lines.line_num + 1
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}:{first}: {error}") from None
    return values


def read_flag(row: Mapping[str, str], column: str) -> bool:
    """Read a flag as ``write_table`` writes it; also ``yes`` and ``no``, from earlier versions.

    Raises:
        ValueError: If it is anything else.
    """
    text = row[column]
    if text not in ("True", "False", "yes", "no"):
        raise ValueError(f"{column} is {text!r}, neither True nor False")
    return text in ("True", "yes")


def read_count(row: Mapping[str, str], column: str) -> int:
    """Read a non-negative integer.

    Raises:
        ValueError: If it is not a whole number, or is negative.
    """
    text = row[column]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{column} is {text!r}, not a count")
    return int(text)


def read_number(row: Mapping[str, str], column: str) -> float:
    """Read a number, which may be NaN.

    Raises:
        ValueError: If it is not a number.
    """
    try:
        return float(row[column])
    except ValueError:
        raise ValueError(f"{column} is {row[column]!r}, not a number") from None
