"""Print text that is safe for any terminal, tables and JSON."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from tabulate import tabulate

from tremap_brevitas.printable import printable


def echo(text: object, *, err: bool = False) -> None:
    """Print text; control and unprintable characters are escaped."""
    shown = printable(str(text), keep="\n")
    encoding = _encoding(sys.stderr if err else sys.stdout)
    click.echo(shown.encode(encoding, "backslashreplace").decode(encoding), err=err)


def print_json(value: Any) -> None:
    """Print a value as JSON; NaN and infinity become null."""
    text = json.dumps(_finite(value), indent=2, ensure_ascii=_encoding(sys.stdout) != "utf-8", allow_nan=False)
    click.echo(re.sub(r"[^\n]", lambda c: c[0] if c[0].isprintable() else json.dumps(c[0])[1:-1], text))


def table(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a table: the first column left-aligned, the others right-aligned."""
    # The heading as a row like the others: as a heading tabulate would give it more room.
    cells = [list(heading), *([printable(str(value)) for value in row] for row in rows)]
    align = ("left", *["right"] * (len(heading) - 1))
    text = tabulate(cells, tablefmt="plain", disable_numparse=True, preserve_whitespace=True, colalign=align)
    return "\n".join(line.rstrip() for line in text.splitlines())


def csv_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows that are safe in a spreadsheet: text that looks like a formula begins with an apostrophe."""
    return [{key: _no_formula(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]


def _no_formula(text: str) -> str:
    shown = printable(text)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@") else shown


def _encoding(stream: Any) -> str:
    return (getattr(stream, "encoding", None) or "utf-8").lower()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
