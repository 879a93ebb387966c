"""CSV format of this package: a table of stuck cells after comments that name the memory and the chip."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats.text import FormatError
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.files import atomic_file

CSV_FIRST_LINE = "# tremap fault map"
CSV_CHIP = "# chip="
CSV_METADATA = "# metadata="


def write_csv_map(fault_map: FaultMap, path: str | os.PathLike[str]) -> Path:
    """Write a map as CSV, ``address,bit,stuck_at`` in decimal, after comments with geometry, chip, metadata and digest.

    The file is written atomically.
    """
    memory = fault_map.memory
    head = [
        CSV_FIRST_LINE,
        f"# words={memory.words} word_bits={memory.word_bits} banks={memory.banks}",
        f"{CSV_CHIP}{json.dumps(fault_map.chip)}",
        *([f"{CSV_METADATA}{json.dumps(dict(fault_map.metadata))}"] if fault_map.metadata else []),
        f"# digest={fault_map.digest}",
        "address,bit,stuck_at",
    ]
    word, bit = np.divmod(fault_map.cells, memory.word_bits)
    with atomic_file(path) as draft, draft.open("w", encoding="ascii") as file:
        file.write("\n".join([*head, ""]))
        np.savetxt(file, np.stack([word, bit, fault_map.stuck_at.astype(np.int64)], axis=1), fmt="%d", delimiter=",")
    return Path(path)


def read_comments(block: bytes, path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the comments at the top of this package's CSV; the metadata stay as text.

    Raises:
        FormatError: If the chip's name or the metadata are damaged.
    """
    if not block.startswith(CSV_FIRST_LINE.encode()):
        return {}
    said: dict[str, str] = {}
    for number, raw in enumerate(block.split(b"\n"), start=1):
        line = raw.decode("utf-8", "replace").strip()
        if not line.startswith("#"):
            break
        try:
            if line.startswith(CSV_CHIP):
                said["chip"] = str(json.loads(line.removeprefix(CSV_CHIP)))
            elif line.startswith(CSV_METADATA):
                said["metadata"] = line.removeprefix(CSV_METADATA)
                dict(json.loads(said["metadata"]))
            else:
                said.update(re.findall(r"(\w+)=(\w+)", line))
        except (ValueError, TypeError, RecursionError) as error:
            raise FormatError(f"{path}:{number}: the text after '=' cannot be parsed ({error})") from None
    return said


def metadata_of(said: dict[str, str]) -> dict[str, str]:
    """Parse the metadata from the comments."""
    return dict(json.loads(said.get("metadata", "{}")))


def memory_of(said: dict[str, str], path: str | os.PathLike[str], memory: Memory | None) -> Memory | None:
    """Return the memory given in the comments, or else the caller's.

    Raises:
        FormatError: If there is no such memory, or it is another than the caller's.
    """
    try:
        numbers = {name: int(said[name]) for name in ("words", "word_bits", "banks") if name in said}
        own = Memory(**numbers) if {"words", "word_bits"} <= set(numbers) else None
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from None
    if memory is None:
        return own
    if any(numbers.get(name, getattr(memory, name)) != getattr(memory, name) for name in ("words", "word_bits")):
        is_of = own or ", ".join(f"{name}={value}" for name, value in numbers.items())
        raise FormatError(f"{path}: is of a memory of {is_of}, expected {memory}")
    return own or memory
