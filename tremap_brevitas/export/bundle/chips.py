"""The table of chips of a bundle, ``chips.csv``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tremap_brevitas.files import read_flag


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
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}:1: columns {','.join(reader.fieldnames or ())}, expected {','.join(COLUMNS)}")
        rows = []
        for line, row in enumerate(reader, start=2):
            try:
                rows.append(_chip(row))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{line}: {type(error).__name__}: {error}") from None
    return tuple(rows)


def _chip(row: Mapping[str, str]) -> BundleChip:
    return BundleChip(
        chip=row["chip"],
        digest=row["digest"],
        faults=int(row["faults"]),
        member=read_flag(row["member"], "member"),
        bit_exact=read_flag(row["bit_exact"], "bit_exact"),
        weights_that_differ=int(row["weights_that_differ"]),
        worst_error=int(row["worst_error"]),
        accuracy=float(row["accuracy"]) if row["accuracy"] else None,
        image=row["image"],
    )


def write_chips(rows: Sequence[BundleChip], path: Path) -> None:
    """Write the table of chips, one line each."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([getattr(row, column) for column in COLUMNS])  # None becomes an empty cell
