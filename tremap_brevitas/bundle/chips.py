"""The table of chips of a bundle, ``chips.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tremap_brevitas.files import read_flag
from tremap_brevitas.reading import read_file, reading

MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class BundleChip:
    """One line of a bundle's ``chips.csv``.

    Attributes:
        chip: Name of the chip.
        digest: Digest of its fault map.
        faults: Stuck cells.
        member: Whether the network was trained under its faults.
        bit_exact: Whether it reads every code as trained.
        weights_that_differ: Number of weights that it reads differently.
        worst_error: Largest difference, in LSB.
        accuracy: As measured, or None.
        image: Name of the memory image to write into it.
    """

    chip: str
    digest: str
    faults: int
    member: bool
    bit_exact: bool
    weights_that_differ: int
    worst_error: int
    accuracy: float | None
    image: str


COLUMNS = tuple(BundleChip.__annotations__)


def read_chips(path: Path) -> tuple[BundleChip, ...]:
    """Read the table.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a line is not of the table (``path:line: …``).
    """
    data = read_file(path, limit=MAX_BYTES)
    with reading(path, "a table of chips"):
        lines = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
        heading = next(lines, [])
        if tuple(heading) != COLUMNS:
            raise ValueError(f"{path}:1: columns {','.join(heading)}, expected {','.join(COLUMNS)}")
        rows, first = [], 2
        try:
            for line in lines:
                rows.append(_chip(line))
                first = lines.line_num + 1
        except (ValueError, KeyError, csv.Error) as error:
            raise ValueError(f"{path}:{first}: {type(error).__name__}: {error}") from None
    return tuple(rows)


def _chip(line: Sequence[str]) -> BundleChip:
    if len(line) != len(COLUMNS):
        raise ValueError(f"{len(line)} columns, expected {len(COLUMNS)}")
    row = dict(zip(COLUMNS, line, strict=True))
    return BundleChip(
        chip=row["chip"],
        digest=row["digest"],
        faults=_count(row["faults"]),
        member=read_flag(row["member"], "member"),
        bit_exact=read_flag(row["bit_exact"], "bit_exact"),
        weights_that_differ=_count(row["weights_that_differ"]),
        worst_error=_count(row["worst_error"]),
        accuracy=float(row["accuracy"]) if row["accuracy"] else None,
        image=row["image"],
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no count")
    return int(text)


def write_chips(rows: Sequence[BundleChip], path: Path) -> None:
    """Write the table of chips, one line each."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([getattr(row, column) for column in COLUMNS])  # None becomes an empty cell
