"""Measurements of preparations: the rows of the study, from a file beside this one, and their figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scipy.stats import t as student

from tremap_brevitas.tables import read_table

ROWS = Path(__file__).parent / "preparations.csv"  # docs/preparations.csv, written by benchmarks/preparations
COLUMNS = ["network", "rate", "preparation", "seed", "chips", "chip", "clean", "seconds", "written", "accuracy"]
COLUMNS += ["core_seconds", "steps", "images", "labels"]
UNIFORM = "uniform"  # stuck cells at random
AS_THEY_LIE = "as they lie"  # the same image for every chip


@dataclass(frozen=True)
class ChipRow:
    """One chip that was prepared in one way.

    Attributes:
        network: Name of the network; one that ends in ``-4bit`` has codes of 4 bits, all others of 8.
        rate: Share of the chip's cells that are stuck.
        preparation: Name of the preparation.
        seed: Seed of maps and images.
        chips: Chips that share one image; 1: the chip has its own.
        chip: Number of the chip in its group.
        points: Accuracy minus that of the healthy network on the same images, in percentage points.
        seconds: Time of the preparation, of one core.
        processor: Whether ``seconds`` is processor time; if not, it is elapsed time, which is longer on a busy machine.
        steps: Optimizer steps of the preparation.
        images: Images without labels that it takes.
        labels: Images with labels that it takes.
        line: Line of the file.
        map: Kind of the chip's map.
    """

    network: str
    rate: float
    preparation: str
    seed: int
    chips: int
    chip: int
    points: float
    seconds: float
    processor: bool
    steps: int
    images: int
    labels: int
    line: int
    map: str = UNIFORM


@dataclass(frozen=True)
class Measured:
    """The figures of one preparation at one rate.

    Attributes:
        rows: All chips, of one network, rate, preparation and size of group.
    """

    rows: tuple[ChipRow, ...]

    @property
    def first(self) -> ChipRow:
        """First row; network, rate, preparation and size of group are the same in all of them."""
        return self.rows[0]

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return bits_of(self.first.network)

    @property
    def stuck(self) -> float:
        """Share of the cells that are stuck on any chip that shares the image, expected."""
        return union_rate(self.first.rate, self.first.chips)

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len({row.seed for row in self.rows})

    @property
    def mean(self) -> float:
        """Mean difference from the healthy network, in points."""
        return statistics.fmean(row.points for row in self.rows)

    @property
    def worst(self) -> float:
        """The worst chip's difference, in points."""
        return min(row.points for row in self.rows)

    @property
    def half_interval(self) -> float:
        """Half of the 95 % interval of the mean: over chips, or over groups where chips share an image; NaN for one alone."""
        return half_interval(_units(self.rows))

    @property
    def seconds(self) -> float:
        """Median time of one preparation."""
        return statistics.median(row.seconds for row in self.rows)


def half_interval(values: Sequence[float]) -> float:
    """Return half of Student's 95 % interval of a mean; NaN below two values.

    Examples:
        >>> round(half_interval([-1.0, 0.0, 1.0]), 3)
        2.484
    """
    if len(values) < 2:
        return math.nan
    quantile = float(student.ppf(0.975, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def _units(rows: Iterable[ChipRow]) -> list[float]:
    """Return one value for each preparation: a chip's difference, or the mean of the chips that share an image."""
    units: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        units.setdefault((row.seed, row.chip if row.chips == 1 else -1), []).append(row.points)
    return [statistics.fmean(points) for points in units.values()]


def union_rate(rate: float, chips: int) -> float:
    """Return the share of the cells that are stuck on at least one of some chips, if they are stuck independently.

    Examples:
        >>> round(union_rate(6e-3, 20), 3)
        0.113
    """
    return -math.expm1(chips * math.log1p(-rate)) if rate < 1 else 1.0


def bits_of(network: str) -> int:
    """Return the bits of a code in a network of the study."""
    return 4 if network.endswith("-4bit") else 8


def chip_rows(path: Path) -> list[ChipRow]:
    """Read the chips of a file of rows: those with an image of their own, and those that share one.

    A chip that was prepared twice in the same way counts once, with the row of the smaller group.
    """
    lines = iter(range(2, 1 << 30))
    alone: dict[tuple[object, ...], ChipRow] = {}
    shared: list[ChipRow] = []
    for row, written in sorted(
        read_table(path, lambda line: _row(line, next(lines)), columns=COLUMNS, what="a table of prepared chips"),
        key=lambda pair: pair[0].chips,
    ):
        if written == "own image":
            own = ChipRow(**{**vars(row), "chips": 1})
            alone.setdefault((row.network, row.map, row.rate, row.preparation, row.seed, row.chip), own)
        elif written == "one image":
            shared.append(row)
    return [*alone.values(), *shared]


def _row(line: Mapping[str, str], number: int) -> tuple[ChipRow, str]:
    row = ChipRow(
        network=line["network"],
        rate=float(line["rate"]),
        preparation=line["preparation"],
        seed=int(line["seed"]),
        chips=int(line["chips"]),
        chip=-1 if line["chip"] == "all" else int(line["chip"]),
        points=100 * (float(line["accuracy"]) - float(line["clean"])),
        seconds=float(line["core_seconds"] or line["seconds"]),
        processor=bool(line["core_seconds"]),
        steps=int(line["steps"]),
        images=int(line["images"]),
        labels=int(line["labels"]),
        line=number,
        map=line.get("map") or UNIFORM,
    )
    return row, line["written"]


@cache
def measurements(path: Path = ROWS) -> tuple[Measured, ...]:
    """Return all measurements under uniform maps, one value for each network, rate, preparation and size of group.

    Examples:
        >>> {one.bits for one in measurements()} >= {8}
        True
    """
    groups: dict[tuple[object, ...], list[ChipRow]] = {}
    for row in chip_rows(path):
        if row.map == UNIFORM:
            groups.setdefault((row.network, row.rate, row.preparation, row.chips), []).append(row)
    return tuple(Measured(tuple(rows)) for rows in groups.values())
