"""The table of chips of a bundle, ``chips.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tremap_brevitas.placement.chip_result import COLUMNS as RESULT
from tremap_brevitas.placement.chip_result import ChipResult
from tremap_brevitas.tables import read_count, read_flag, read_table, write_table

COLUMNS = (RESULT[0], "digest", "faults", "member", *RESULT[1:], "image")


@dataclass(frozen=True)
class BundleChip:
    """One row of a bundle's ``chips.csv``.

    Attributes:
        result: Result of the network on the chip; its accuracy is None if no report gave it.
        digest: Digest of the chip's fault map.
        faults: Number of stuck cells.
        member: Whether the network was trained under its faults.
        image: Name of the memory image to write into it.
    """

    result: ChipResult
    digest: str
    faults: int
    member: bool
    image: str

    @property
    def chip(self) -> str:
        """Name of the chip."""
        return self.result.chip


def read_chips(path: Path) -> tuple[BundleChip, ...]:
    """Read the table; a bundle without chips has no rows.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a line is not of the table (``path:line: …``).
    """
    return tuple(read_table(path, _chip, columns=COLUMNS, what="a table of chips"))


def _chip(row: Mapping[str, str]) -> BundleChip:
    return BundleChip(
        ChipResult.from_row(row),
        digest=row["digest"],
        faults=read_count(row, "faults"),
        member=read_flag(row, "member"),
        image=row["image"],
    )


def write_chips(chips: Sequence[BundleChip], path: Path) -> None:
    """Write the table of chips, one row for each."""
    rows = [
        {**chip.result.row(), "digest": chip.digest, "faults": chip.faults, "member": chip.member, "image": chip.image}
        for chip in chips
    ]
    write_table(path, rows, columns=COLUMNS)
