"""Columns of a log of failing reads: their names and formats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tremap_brevitas.faults.formats.text import FormatError, check_choice

BothWays = Literal["error", "drop"]

ALIASES = {
    "address": ("address", "addr", "word", "row"),
    "bit": ("bit", "bit_index", "column"),
    "expected": ("expected", "exp", "written"),
    "read": ("read", "actual", "act", "observed", "got"),
    "stuck_at": ("stuck_at", "stuck", "value", "polarity"),
    "bank": ("bank", "bank_index", "bank_id"),
    "chip": ("chip", "chip_id", "die", "die_id", "device", "dut"),
}
# Columns that say when and how a cell was tested, but neither which cell it is nor what it holds.
PASSED_OVER = {
    *("element", "march", "march_element", "step", "phase", "operation", "op", "algorithm", "background", "pattern"),
    *("time", "timestamp", "date", "cycle", "cycles", "count", "index", "no", "number", "comment", "note", ""),
}


@dataclass(frozen=True, kw_only=True)
class LogForm:
    """Form of a log: the options of ``read_log``, where they are described.

    Raises:
        ValueError: If an option has an invalid value.
    """

    columns: Sequence[str] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    ignore: Sequence[str] = ()
    pattern: str | None = None
    expected: int | str | None = None
    stuck_at: int | None = None
    base: int | None = None
    unpadded: bool | None = None
    first_address: int = 0
    address_step: int = 1
    passed: Literal["error", "skip"] = "error"
    both_ways: BothWays = "error"

    def __post_init__(self) -> None:
        check_choice("base", self.base, (10, 16, None))
        check_choice("both_ways", self.both_ways, ("error", "drop"))
        check_choice("passed", self.passed, ("error", "skip"))
        check_choice("stuck_at", self.stuck_at, (0, 1, None))
        if self.address_step < 1:
            raise ValueError(f"address_step must be at least 1, got {self.address_step}")
        if self.pattern is not None and self.columns is not None:
            raise ValueError("give pattern, whose groups name the columns, or columns, not both")
        if isinstance(self.columns, str) or isinstance(self.ignore, str):
            raise TypeError("columns and ignore are sequences of names, got a single text")
        for old, new in self.rename.items():
            if our_name(new) is None:
                raise ValueError(f"rename: {old!r} is to be {new!r}, expected one of {', '.join(ALIASES)}")

    def groups(self) -> re.Pattern[str] | None:
        """The compiled pattern.

        Raises:
            ValueError: If it is not a regular expression, or has no named groups.
        """
        if self.pattern is None:
            return None
        try:
            compiled = re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is not a regular expression ({error})") from None
        if not compiled.groupindex:
            raise ValueError(f"pattern {self.pattern!r} has no named groups, such as (?P<address>[0-9a-f]+)")
        return compiled

    def names(self, fields: Sequence[str], where: str) -> list[str]:
        """Return our names for a table's columns; an ignored column keeps its own name, in brackets.

        Raises:
            FormatError: If a column is unknown, two are the same, or a necessary one is missing.
        """
        renamed = {old.lower(): new for old, new in self.rename.items()}
        missing = set(renamed) - {f.lower() for f in fields}
        if missing:
            raise FormatError(f"{where}no column {', '.join(sorted(missing))} to rename; columns are {', '.join(fields)}")
        ignored = {name.lower() for name in self.ignore}
        known: list[str] = []
        for name in fields:
            own = None if name.lower() in ignored else our_name(renamed.get(name.lower(), name))
            if own is None and name.lower() not in ignored | PASSED_OVER:
                raise FormatError(
                    f"{where}column {name!r} is unknown: name it with rename={name}:…, or skip it with ignore={name} "
                    f"(columns: {', '.join(fields)})"
                )
            known.append(own or f"({name})")
        for name in ALIASES:
            if known.count(name) > 1:
                raise FormatError(f"{where}two columns are the {name}: {', '.join(fields)}")
        self._check(set(known), where, fields)
        return known

    def _check(self, given: set[str], where: str, fields: Sequence[str]) -> None:
        for name in ("expected", "stuck_at"):
            if getattr(self, name) is not None:
                if name in given:
                    raise FormatError(f"{where}a column is the {name}, but {name} is given as {getattr(self, name)!r}, too")
                given.add(name)
        if not needs_met(given):
            raise FormatError(
                f"{where}columns {', '.join(fields)}: need address, and expected and read, or bit and one of stuck_at, "
                f"expected, read"
            )


def our_name(name: str) -> str | None:
    """Return our name for a column; None if it is unknown."""
    return next((ours for ours, aliases in ALIASES.items() if name.lower() in aliases), None)


def needs_met(given: set[str]) -> bool:
    """Check whether columns identify the stuck cells and values. A stuck value needs a bit to refer to."""
    if "address" not in given:
        return False
    if "bit" in given:
        return bool(given & {"stuck_at", "expected", "read"})
    return {"expected", "read"} <= given and "stuck_at" not in given
