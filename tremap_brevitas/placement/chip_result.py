"""Result of a memory image on one chip: four figures, and their form in tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from tremap_brevitas.printable import counted
from tremap_brevitas.tables import read_count, read_flag, read_number

COLUMNS = ("chip", "bit_exact", "weights_that_differ", "worst_error", "accuracy")


@dataclass(frozen=True)
class ChipResult:
    """Result of a network on one chip, as used in reports, bundles and commands.

    Args:
        chip: Name of the chip.
        weights_that_differ: Number of weights that the chip reads differently from what was trained.
        worst_error: Largest difference, in LSB.
        accuracy: Accuracy on the chip; that of the network if the chip is bit-exact and has no BatchNorm statistics of its own;
            None if unknown.

    Raises:
        ValueError: If a count is negative, or only one of the two is 0.

    Examples:
        >>> for result in (ChipResult("a", accuracy=0.91), ChipResult("b", weights_that_differ=1, worst_error=64)):
        ...     print(result.chip, result.bit_exact, result)
        a True bit-exact
        b False 1 weight differs, by 64 LSB at most
    """

    chip: str
    _: KW_ONLY
    weights_that_differ: int = 0
    worst_error: int = 0
    accuracy: float | None = None

    def __post_init__(self) -> None:
        if self.weights_that_differ < 0 or (self.weights_that_differ == 0) != (self.worst_error == 0) or self.worst_error < 0:
            raise ValueError(
                f"chip {self.chip!r}: weights_that_differ is {self.weights_that_differ}, but worst_error is "
                f"{self.worst_error}; both must be 0 or both positive"
            )

    @property
    def bit_exact(self) -> bool:
        """Whether the chip computes exactly the trained network."""
        return self.weights_that_differ == 0

    def row(self) -> dict[str, Any]:
        """Return the result as a table row or JSON object, with one value for each column."""
        return {column: getattr(self, column) for column in COLUMNS}

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> ChipResult:
        """Read the result from a table row; other columns are ignored.

        Raises:
            ValueError: If a cell has another form than ``row`` gives it, or two contradict each other.
        """
        result = cls(
            row["chip"],
            weights_that_differ=read_count(row, "weights_that_differ"),
            worst_error=read_count(row, "worst_error"),
            accuracy=read_number(row, "accuracy") if row["accuracy"] else None,
        )
        if read_flag(row, "bit_exact") != result.bit_exact:
            raise ValueError(f"bit_exact is {row['bit_exact']}, but weights_that_differ is {result.weights_that_differ}")
        return result

    def __str__(self) -> str:
        if self.bit_exact:
            return "bit-exact"
        verb = "differs" if self.weights_that_differ == 1 else "differ"
        return f"{counted(self.weights_that_differ, 'weight')} {verb}, by {self.worst_error} LSB at most"
