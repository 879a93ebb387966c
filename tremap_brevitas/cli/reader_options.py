"""Check ``--option NAME=VALUE`` against the options of the format readers, before any file is read."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from tremap_brevitas.faults.formats import (
    CellVoltages,
    Format,
    FormatError,
    read_fault_map,
    read_log,
    read_neuralfuse,
    read_readback,
    read_voltages,
)
from tremap_brevitas.faults.memory import Memory

_READERS: dict[Format, tuple[Callable[..., Any], ...]] = {
    "tremap": (),
    "csv": (read_log,),
    "log": (read_log,),
    "neuralfuse": (read_neuralfuse,),
    "readback": (read_readback,),
    "voltages": (read_voltages, CellVoltages.at),
}
# Options of ``read_fault_map`` itself, besides those of its readers.
_FILES: dict[Format, dict[str, Any]] = {
    "readback": {"written": Literal["ones", "zeros"], "other": str},
    "neuralfuse": {"sa1": str},
}
_OF_THE_COMMAND = {"self", "path", "memory", "progress", "sa0", "sa1", "after_ones", "after_zeros", "return"}
# Enough of a file for a reader to look at its options.
_SAMPLE = {"voltages": "1\n"}


def reader_options(texts: Iterable[str], format_: Format | None) -> dict[str, Any]:
    """Return the values of the options, in the types that the readers expect.

    Raises:
        click.UsageError: If an option has no ``=``, is given twice, is not one of the format's, or has no such value.
    """
    known = _known(format_)
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.UsageError(f"--option {text!r}: expected NAME=VALUE")
        if name not in known:
            whose = f"the format {format_}" if format_ else "any format"
            raise click.UsageError(f"--option {name}: no option of {whose}; there are {', '.join(sorted(known)) or 'none'}")
        try:
            parsed = _parsed(value, known[name])
        except ValueError as error:
            raise click.UsageError(f"--option {name}: {error}") from None
        if name in values and not isinstance(parsed, dict):
            raise click.UsageError(f"--option {name} is given twice")
        values[name] = {**values[name], **parsed} if name in values else parsed
    return values


def check_reader_options(options: Mapping[str, Any], format_: Format | None) -> None:
    """Let a reader check its options once, on a temporary file.

    Raises:
        click.UsageError: If it refuses them.
    """
    tried = [f for f in _READERS if set(options) <= set(_known(f))] if format_ is None else [format_]
    own_files = {name for files in _FILES.values() for name in files}
    probed = {name: value for name, value in options.items() if name not in own_files - {"written"}}
    if not tried or (format_ is None and not probed):
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "sa0")
        for name in ("sa0", "sa1"):
            Path(folder, name).write_text(_SAMPLE.get(tried[0], ""))
        try:
            read_fault_map(path, format=tried[0], memory=Memory(words=1, word_bits=1), **probed)
        except (FormatError, OSError) as error:
            if str(path) in str(error):
                return  # the options are accepted; the file has no content
            raise click.UsageError(f"--option: {error}") from None
        except (ValueError, TypeError) as error:
            raise click.UsageError(f"--option: {str(error).replace(f'{path}: ', '')}") from None


@cache  # type hints are evaluated anew each time, which takes milliseconds
def _known(format_: Format | None) -> Mapping[str, Any]:
    """Return names and types of a format's options, or of all formats if none is given."""
    known: dict[str, Any] = {"chip": str}
    for name in _READERS if format_ is None else [format_]:
        for reader in _READERS[name]:
            hints = get_type_hints(reader)
            known |= {key: hints[key] for key in inspect.signature(reader).parameters if key not in _OF_THE_COMMAND}
        known |= _FILES.get(name, {})
    return known


def _parsed(text: str, kind: Any) -> Any:
    """Convert text to a value of a type.

    Raises:
        ValueError: If it cannot be converted.
    """
    origin, kinds = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if type(None) in kinds and text.lower() == "none":
            return None
        # An option that may be text stays text: a number is then meant as the file would write it.
        return text if str in kinds else _parsed(text, next(k for k in kinds if k is not type(None)))
    if origin is Literal:
        chosen = next((choice for choice in kinds if str(choice) == text), None)
        if chosen is None:
            raise ValueError(f"must be one of {', '.join(map(str, kinds))}, got {text!r}")
        return chosen
    if origin is not None and issubclass(origin, Mapping):
        pairs = [pair.partition(":") for pair in text.split(",")]
        if not all(colon and key for key, colon, _ in pairs):
            raise ValueError(f"expected NAME:VALUE, or several with commas between, got {text!r}")
        return {key: _parsed(value, kinds[1]) for key, _, value in pairs}
    if origin is not None and issubclass(origin, Sequence):
        return [_parsed(part, kinds[0]) for part in text.split(",")]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"must be true or false, got {text!r}")
        return text.lower() == "true"
    if kind is int:
        return int(text, 0)
    if kind is float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"must be a finite number, got {text!r}")
        return number
    return text
