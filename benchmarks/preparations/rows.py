"""The rows of the CSV file: one chip, prepared in one way, and what it cost."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.preparations.cases import COSTS, UNIFORM, Case
from tremap_brevitas.files import atomic_file

OWN, UNION, SHARED_IMAGE = "own image", "union", "one image"


@dataclass(frozen=True)
class Row:
    """One line.

    Args:
        network: Network of the study.
        rate: Fault rate of each chip.
        preparation: How it was prepared.
        seed: Seed of maps, images and batches.
        chips: Chips in the group.
        chip: Number of the chip; ``"all"``: the group's network under the union.
        clean: Accuracy of the healthy network on the same images.
        seconds: Time of the preparation, of one core of a busy machine.
        written: How the chip was written.
        accuracy: Accuracy on the chip.
        core_seconds: Processor time of the preparation; None where it was not taken.
        stuck: Share of the cells that are stuck, in a group on any member; None where it was not kept.
        wrong: Weights that read otherwise than wanted; None where they were not counted.
        steps, images, labels: What the preparation takes, as its ``Cost``.
        map: Kind of the chips' maps.
    """

    network: str
    rate: float
    preparation: str
    seed: int
    chips: int
    chip: str
    clean: float
    seconds: float
    written: str
    accuracy: float
    core_seconds: float | None = None
    stuck: float | None = None
    wrong: int | None = None
    steps: int = 0
    images: int = 0
    labels: int = 0
    map: str = UNIFORM

    @property
    def case(self) -> Case:
        """The case that it is of."""
        chip = int(self.chip) if self.written == OWN else None
        return Case(self.network, self.rate, self.preparation, self.seed, self.chips, chip, self.map)

    @property
    def key(self) -> tuple[Any, ...]:
        """What no other row may have too."""
        return self.case, self.written, self.chip


def rows_of(case: Case, result: Mapping[str, Any]) -> list[Row]:
    """The rows of a finished case."""
    about: dict[str, Any] = {
        **asdict(case),
        "clean": result["clean"],
        "seconds": round(result["seconds"], 1),
        "core_seconds": None if result.get("core_seconds") is None else round(result["core_seconds"], 2),
        "stuck": None if result.get("stuck") is None else float(f"{result['stuck']:.4g}"),
        **asdict(case.cost),
    }
    del about["chip"]
    alone = case.chip is not None
    prepared = Row(
        **about, chip=str(case.chip) if alone else "all", written=OWN if alone else UNION, accuracy=result["prepared"]
    )
    rows = [Row(**{**vars(prepared), "wrong": result.get("wrong")})]
    accuracies = enumerate(result.get("group_image", ()))
    return rows + [Row(**about, chip=str(chip), written=SHARED_IMAGE, accuracy=accuracy) for chip, accuracy in accuracies]


def merged(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Rows that were there and rows that were made, which replace them; in the order of the tables."""
    rows = {row.key: row for row in (*old, *new)}
    order = {name: place for place, name in enumerate(COSTS)}

    def place(row: Row) -> tuple[Any, ...]:
        written = (UNION, SHARED_IMAGE, OWN).index(row.written)
        return (
            row.network,
            row.map != UNIFORM,
            row.map,
            row.chips,
            row.rate,
            order[row.preparation],
            row.seed,
            written,
            row.chip,
        )

    return sorted(rows.values(), key=place)


def read(path: Path) -> list[Row]:
    """Read the file; no rows if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_row(line) for line in csv.DictReader(file)]


def _row(line: Mapping[str, str]) -> Row:
    numbers = {"rate": float, "seed": int, "chips": int, "clean": float, "seconds": float, "accuracy": float}
    numbers |= {"core_seconds": float, "stuck": float, "wrong": int, "steps": int, "images": int, "labels": int}
    given: dict[str, Any] = {key: numbers.get(key, str)(value) for key, value in line.items() if value != ""}
    return Row(**{**asdict(COSTS[line["preparation"]]), **given})


def write(rows: Sequence[Row], path: Path) -> None:
    """Write the file."""
    with atomic_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
