"""Report on a fleet, as a table and a CSV file."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tremap_brevitas.placement.chip_result import COLUMNS
from tremap_brevitas.placement.chip_result import ChipResult as ChipResult
from tremap_brevitas.printable import counted
from tremap_brevitas.tables import read_count, read_flag, read_number, read_table, write_table

HEAD = ("method", "nominal", "steps", "seconds", "evaluation_seconds", "batchnorm")  # earlier tables lack the last two


@dataclass(frozen=True)
class FleetReport:
    """Results of a network on every chip of a fleet.

    Attributes:
        name: Heading, such as the name of the method.
        nominal: Accuracy of the network as trained.
        chips: One result a chip, with its accuracy.
        steps: Optimizer steps that the preparation took.
        seconds: Seconds that the preparation took.
        evaluation_seconds: Seconds that the evaluation took.
        batchnorm: Whether each chip had BatchNorm statistics of its own; the nominal accuracy is that with the network's.

    Examples:
        >>> chips = (ChipResult("a", accuracy=0.91), ChipResult("b", weights_that_differ=12, worst_error=64, accuracy=0.84))
        >>> report = FleetReport("merged", 0.91, chips, steps=200)
        >>> report.yield_at(0.9), report.mean, report.worst
        (0.5, 0.875, 0.84)
        >>> print(report)
        merged: nominal accuracy 0.9100, 200 steps
        chip  accuracy  weights that differ  worst error (LSB)
        a       0.9100            bit-exact                  0
        b       0.8400                   12                 64
        mean 0.8750, worst 0.8400, 1 of 2 chips bit-exact
    """

    name: str
    nominal: float
    chips: tuple[ChipResult, ...]
    steps: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    batchnorm: bool = False

    def __post_init__(self) -> None:
        for chip in self.chips:
            check_measured(chip)

    @classmethod
    def join(
        cls, reports: Sequence[FleetReport], *, name: str, steps: int | None = None, seconds: float | None = None
    ) -> FleetReport:
        """Join reports on single chips, each with its own network.

        Args:
            reports: The reports; their nominal accuracies are averaged.
            name: Heading of the joined report.
            steps: Optimizer steps in all; None for the sum.
            seconds: Seconds in all; None for the sum.

        Raises:
            ValueError: If there is no report.
        """
        if not reports:
            raise ValueError("no report to join")
        return cls(
            name=name,
            nominal=statistics.fmean(r.nominal for r in reports),
            chips=tuple(c for r in reports for c in r.chips),
            steps=sum(r.steps for r in reports) if steps is None else steps,
            seconds=sum(r.seconds for r in reports) if seconds is None else seconds,
            evaluation_seconds=sum(r.evaluation_seconds for r in reports),
            batchnorm=any(r.batchnorm for r in reports),
        )

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Accuracy of each chip."""
        return tuple(c.accuracy for c in self.chips if c.accuracy is not None)  # none is, which __post_init__ checks

    @property
    def mean(self) -> float:
        """Mean accuracy over the chips; NaN if one of them is NaN."""
        return statistics.fmean(self.accuracies)

    @property
    def worst(self) -> float:
        """Accuracy of the worst chip; NaN if one of them is NaN."""
        return math.nan if any(map(math.isnan, self.accuracies)) else min(self.accuracies)

    @property
    def bit_exact(self) -> int:
        """Number of chips that are bit-exact."""
        return sum(c.bit_exact for c in self.chips)

    def yield_at(self, threshold: float) -> float:
        """Return the share of chips whose accuracy is at least ``threshold``; NaN counts as below it."""
        return sum(accuracy >= threshold for accuracy in self.accuracies) / len(self.chips)

    def __str__(self) -> str:
        width = max(4, *(len(c.chip) for c in self.chips))
        lines = [
            f"{self.name or 'fleet'}: nominal accuracy {self.nominal:.4f}, {counted(self.steps, 'step')}"
            + (f", {self.seconds:.1f} s" if self.seconds else "")
            + (", BatchNorm statistics of each chip" if self.batchnorm else ""),
            f"{'chip':<{width}}  accuracy  weights that differ  worst error (LSB)",
        ]
        for c, accuracy in zip(self.chips, self.accuracies, strict=True):
            differ = "bit-exact" if c.bit_exact else str(c.weights_that_differ)
            lines.append(f"{c.chip:<{width}}  {accuracy:>8.4f}  {differ:>19}  {c.worst_error:>17}")
        exact = f"{self.bit_exact} of {counted(len(self.chips), 'chip')} bit-exact"
        lines.append(f"mean {self.mean:.4f}, worst {self.worst:.4f}, {exact}")
        return "\n".join(lines)


def comparison(reports: Sequence[FleetReport], *, threshold: float) -> str:
    """Return a table of several reports on the same fleet, one line each.

    Args:
        reports: The reports.
        threshold: Accuracy at which a chip counts as good, for the yield.

    Raises:
        ValueError: If there is no report.

    Examples:
        >>> chips = (ChipResult("a", accuracy=0.91), ChipResult("b", weights_that_differ=12, worst_error=64, accuracy=0.84))
        >>> print(comparison([FleetReport("merged", 0.91, chips, steps=200)], threshold=0.9))
        method  nominal    mean   worst  yield at 0.900  bit-exact  steps  seconds
        merged   0.9100  0.8750  0.8400            50 %        1/2    200      0.0
    """
    if not reports:
        raise ValueError("no report to compare")
    width = max(6, *(len(r.name) for r in reports))
    heading = f"yield at {threshold:.3f}"
    lines = [f"{'method':<{width}}  nominal    mean   worst  {heading}  bit-exact  steps  seconds"]
    for r in reports:
        exact = f"{r.bit_exact}/{len(r.chips)}"
        good = f"{100 * r.yield_at(threshold):.0f} %"
        lines.append(
            f"{r.name:<{width}}  {r.nominal:>7.4f}  {r.mean:.4f}  {r.worst:.4f}  {good:>{len(heading)}}  {exact:>9}  "
            f"{r.steps:>5}  {r.seconds:>7.1f}"
        )
    return "\n".join(lines)


def write_csv(reports: Sequence[FleetReport], path: str | os.PathLike[str]) -> Path:
    """Write a CSV file, atomically, with one row for each report and chip.

    Columns: ``report`` (0 for the first), ``method``, ``nominal``, ``steps``, ``seconds``, ``evaluation_seconds``,
    ``batchnorm``, then those of a chip's result. Figures have all their digits.

    Raises:
        ValueError: If there is no report.
    """
    rows: list[dict[str, Any]] = [
        {
            "report": number,
            "method": r.name,
            "nominal": r.nominal,
            "steps": r.steps,
            "seconds": r.seconds,
            "evaluation_seconds": r.evaluation_seconds,
            "batchnorm": r.batchnorm,
            **c.row(),
        }
        for number, r in enumerate(reports)
        for c in r.chips
    ]
    if not rows:
        raise ValueError("no report to write")
    return write_table(path, rows)


def read_csv(path: str | os.PathLike[str]) -> list[FleetReport]:
    """Read reports that [write_csv][tremap_brevitas.report.write_csv] wrote.

    Tables of earlier versions do not number reports: in them, rows of one method and one cost are one report.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a table, or an earlier one in which reports cannot be told apart; names the line.

    Examples:
        >>> import tempfile
        >>> chips = (ChipResult("a", accuracy=0.91), ChipResult("b", weights_that_differ=12, worst_error=64, accuracy=0.84))
        >>> report = FleetReport("merged", 0.91, chips, 200)
        >>> read_csv(write_csv([report], Path(tempfile.mkdtemp()) / "fleet.csv")) == [report]
        True
    """
    heads: dict[object, FleetReport] = {}
    chips: dict[object, list[ChipResult]] = {}

    def add(row: Mapping[str, str]) -> None:
        head, chip = _head(row), ChipResult.from_row(row)
        numbered = "report" in row
        said = tuple(row.get(column, "") for column in HEAD)
        key: object = read_count(row, "report") if numbered else said
        above = heads.setdefault(key, head)
        if repr(above) != repr(head):  # NaN is not equal to itself
            raise ValueError(f"report {key} has {_described(head)} here, but {_described(above)} above")
        others = chips.setdefault(key, [])
        if not numbered and any(c.chip == chip.chip for c in others):
            raise ValueError(
                f"chip {chip.chip!r} is there twice for method {head.name!r}: two reports of one name and cost, or one? "
                f"Give each row the number of its report in a column 'report'"
            )
        check_measured(chip)
        others.append(chip)

    read_table(path, add, columns=(*HEAD[:-2], *COLUMNS), what="a table that write_csv makes")
    if not heads:
        raise ValueError(f"{path}: no chip in it")
    return [replace(head, chips=tuple(chips[key])) for key, head in heads.items()]


def check_measured(chip: ChipResult) -> None:
    """Check that a result includes a measured accuracy.

    Raises:
        ValueError: If it does not.
    """
    if chip.accuracy is None:
        raise ValueError(f"chip {chip.chip!r} has no accuracy; a report needs that of every chip")


def _head(row: Mapping[str, str]) -> FleetReport:
    """Return the values of a row that concern its whole report."""
    return FleetReport(
        row["method"],
        read_number(row, "nominal"),
        (),
        steps=read_count(row, "steps"),
        seconds=read_number(row, "seconds"),
        evaluation_seconds=read_number(row, "evaluation_seconds") if "evaluation_seconds" in row else 0.0,
        batchnorm=read_flag(row, "batchnorm") if "batchnorm" in row else False,
    )


def _described(head: FleetReport) -> str:
    return f"{head.name}, {head.nominal}, {head.steps}, {head.seconds}, {head.evaluation_seconds}, {head.batchnorm}"
