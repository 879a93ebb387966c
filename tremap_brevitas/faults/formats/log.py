"""Tables of failing reads: the log of a memory's built-in self-test, and a plain CSV of stuck cells."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats.failing_reads import take, words_of
from tremap_brevitas.faults.formats.text import (
    Cells,
    FormatError,
    blocks,
    check_choice,
    chip_name,
    opened,
    rows,
    settled,
    split_line,
)
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.files import whole_file

BothWays = Literal["error", "drop"]

ALIASES = {
    "address": ("address", "addr", "word", "row"),
    "bit": ("bit", "bit_index", "column"),
    "expected": ("expected", "exp", "written"),
    "read": ("read", "actual", "act", "observed", "got"),
    "stuck_at": ("stuck_at", "stuck", "value", "polarity"),
}
CSV_FIRST_LINE = "# tremap fault map"
CSV_CHIP = "# chip="


def read_log(
    path: str | os.PathLike[str],
    memory: Memory | None = None,
    *,
    chip: str | None = None,
    columns: Sequence[str] | None = None,
    base: int | None = None,
    first_address: int = 0,
    address_step: int = 1,
    both_ways: BothWays = "error",
    progress: bool = False,
) -> FaultMap:
    r"""Read a table with a line for each failing read, or for each stuck cell.

    Fields are separated by blanks, tabs, commas or semicolons; ``#`` begins a comment. A line of names tells the columns, or
    ``columns`` does; names that are not known (element, time …) are passed over. A line has an address, and one of

    - ``expected`` and ``read``, whole words: every bit in which they differ is stuck at what was read;
    - ``bit`` and ``stuck_at``;
    - ``bit`` and ``expected`` or ``read``, one bit: stuck at the opposite of what was expected, or at what was read.

    The same cell may fail in several march elements. If it fails both as 0 and as 1 it is not stuck, and that is an error
    unless ``both_ways`` says otherwise. Files of any length are read in bounded memory: that of the distinct stuck cells. A
    line has at most 1 MiB, a word at most 16,384 bits.

    Args:
        path: The file, plain or gzip.
        memory: Geometry; None if the file says it in comments, as our own CSV does. A file that says another is refused.
        chip: Name of the chip; None for what the file says, or its name without endings.
        columns: Names of the columns, if no line in the file tells them.
        base: 16 or 10: how addresses and words are written if they do not begin with ``0x``; None for 16 where a line has
            words, 10 where it has a bit. Bits are always decimal.
        first_address: Address of word 0.
        address_step: What the address grows by from word to word, such as 4 for byte addresses of 32-bit words.
        both_ways: ``"error"``, or ``"drop"`` to leave such cells out and count them in the map's metadata.
        progress: Whether to show a progress bar on standard error.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If a line is not of the format, or lies outside the memory (``path:line: …``); if a cell failed both ways.
        ValueError: If an option is not what it may be.

    Examples:
        >>> from pathlib import Path
        >>> log = Path(getfixture("tmp_path")) / "A7.log"
        >>> _ = log.write_text("element,address,expected,read\nM1,0x0,ff,7f\nM2,0x3,00,01\n")
        >>> read_log(log, Memory(words=4, word_bits=8))
        FaultMap(chip 'A7', 4 words × 8 bits, 2 faults: 1 stuck at 0, 1 stuck at 1, rate 6.25e-02)
    """
    check_choice("base", base, (10, 16, None))
    check_choice("both_ways", both_ways, ("error", "drop"))
    if address_step < 1:
        raise ValueError(f"address_step must be at least 1, got {address_step}")
    cells = Cells()
    names = None if columns is None else _known(list(columns), str(path), 0)
    said: dict[str, str] = {}
    with opened(path, progress=progress) as stream:
        for line, block in blocks(stream, path):
            if line == 1:
                said = _said(block)
                memory = _agreed(memory, said, path)
            if memory is None:
                raise FormatError(f"{path}: does not say how large the memory is; give it")
            if names is None:
                head = _header(block, line, path)
                if head is None:
                    continue
                at, fields = head
                names = _known(fields, str(path), at)
                block = b"\n" * (at - line + 1) + b"\n".join(block.split(b"\n")[at - line + 1 :])
            table = rows(block, line, len(names), path)
            if len(table):
                radix = base or (10 if "bit" in names else 16)
                words = words_of(table, names, memory, radix, first_address, address_step)
                take(table, names, words, memory, radix, cells)
    if memory is None:
        raise FormatError(f"{path}: does not say how large the memory is; give it")
    if names is None:
        raise FormatError(f"{path}: has no line that names its columns; give columns=")
    found, stuck_at, metadata = settled(cells, str(path), both_ways, memory.word_bits)
    name = chip if chip is not None else said.get("chip", chip_name(path))
    result = FaultMap(memory, found, stuck_at, name, metadata)
    if "digest" in said and not metadata and result.digest != said["digest"]:
        raise FormatError(f"{path}: damaged: its cells have digest {result.digest}, it says {said['digest']}")
    return result


def write_csv_map(fault_map: FaultMap, path: str | os.PathLike[str]) -> Path:
    """Write a map as plain CSV, ``address,bit,stuck_at`` in decimal, below comments with geometry, chip and digest.

    The file appears whole or not at all. Metadata are not written.
    """
    memory = fault_map.memory
    head = [
        CSV_FIRST_LINE,
        f"# words={memory.words} word_bits={memory.word_bits} banks={memory.banks}",
        f"{CSV_CHIP}{json.dumps(fault_map.chip)}",
        f"# digest={fault_map.digest}",
        "address,bit,stuck_at",
    ]
    word, bit = np.divmod(fault_map.cells, memory.word_bits)
    with whole_file(path) as draft, draft.open("w", encoding="ascii") as file:
        file.write("\n".join([*head, ""]))
        np.savetxt(file, np.stack([word, bit, fault_map.stuck_at.astype(np.int64)], axis=1), fmt="%d", delimiter=",")
    return Path(path)


def write_log(fault_map: FaultMap, path: str | os.PathLike[str]) -> Path:
    """Write a map as the log of a self-test with two march elements, ``element,address,expected,read`` in hexadecimal.

    Element ``r0`` finds the cells stuck at 1, ``r1`` those stuck at 0. The file appears whole or not at all. Chip and metadata
    are not written.
    """
    memory = fault_map.memory
    full = (1 << memory.word_bits) - 1
    digits = -(-memory.word_bits // 4)
    address_digits = -(-(max(memory.words - 1, 1)).bit_length() // 4)
    with whole_file(path) as draft, draft.open("w", encoding="ascii") as file:
        file.write("element,address,expected,read\n")
        for element, stuck_at, expected in (("r0", 1, 0), ("r1", 0, full)):
            wrong: dict[int, int] = {}
            for cell in fault_map.cells[fault_map.stuck_at == stuck_at].tolist():
                word, bit = divmod(cell, memory.word_bits)
                wrong[word] = wrong.get(word, 0) | 1 << bit
            file.writelines(
                f"{element},{word:0{address_digits}x},{expected:0{digits}x},{expected ^ mask:0{digits}x}\n"
                for word, mask in wrong.items()
            )
    return Path(path)


def looks_like_log(head: bytes) -> str | None:
    """Format that the first lines of a file name: ``"csv"``, ``"log"`` or None."""
    if head.startswith(CSV_FIRST_LINE.encode()):
        return "csv"
    for line in head.decode("ascii", "replace").splitlines():
        fields = [f.lower() for f in split_line(line)]
        if not fields:
            continue
        names = {known for known, aliases in ALIASES.items() if set(fields) & set(aliases)}
        if {"address", "expected", "read"} <= names:
            return "log"
        return "csv" if {"address", "bit"} <= names and names & {"stuck_at", "expected", "read"} else None
    return None


def _known(fields: list[str], path: str, line: int) -> list[str]:
    """Our names for a table's columns; an unknown one keeps its own."""
    where = f"{path}:{line}: " if line else "columns: "
    known = [next((k for k, aliases in ALIASES.items() if f.lower() in aliases), f"({f})") for f in fields]
    for name in ALIASES:
        if known.count(name) > 1:
            raise FormatError(f"{where}two columns are the {name}: {', '.join(fields)}")
    given = set(known)
    word_wise = {"address", "expected", "read"} <= given and "bit" not in given
    bit_wise = {"address", "bit"} <= given and given & {"stuck_at", "expected", "read"}
    if not (word_wise or bit_wise):
        raise FormatError(
            f"{where}columns {', '.join(fields)}: need address, and expected and read, or bit and one of stuck_at, expected, "
            f"read"
        )
    return known


def _header(block: bytes, first_line: int, path: str | os.PathLike[str]) -> tuple[int, list[str]] | None:
    for offset, line in enumerate(block.split(b"\n")):
        fields = split_line(line.decode("ascii", "replace"))
        if fields:
            if all(re.fullmatch(r"(0[xX])?[0-9a-fA-F]+", f) for f in fields):
                raise FormatError(f"{path}:{first_line + offset}: no line before this names the columns; give columns=")
            return first_line + offset, fields
    return None


def _said(block: bytes) -> dict[str, str]:
    """What the comments at the top of our own CSV say."""
    if not block.startswith(CSV_FIRST_LINE.encode()):
        return {}
    said: dict[str, str] = {}
    for raw in block.split(b"\n"):
        line = raw.decode("ascii", "replace").strip()
        if not line.startswith("#"):
            break
        if line.startswith(CSV_CHIP):
            try:
                said["chip"] = str(json.loads(line.removeprefix(CSV_CHIP)))
            except ValueError:
                continue  # somebody's own comment; the file's name serves
        else:
            said.update(re.findall(r"(\w+)=(\w+)", line))
    return said


def _agreed(memory: Memory | None, said: dict[str, str], path: str | os.PathLike[str]) -> Memory | None:
    """The memory that the file says, or else the caller's.

    Raises:
        FormatError: If the two are different.
    """
    try:
        numbers = {name: int(said[name]) for name in ("words", "word_bits", "banks") if name in said}
        stated = Memory(**numbers) if {"words", "word_bits"} <= set(numbers) else None
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from None
    if memory is None:
        return stated
    if any(numbers.get(name, getattr(memory, name)) != getattr(memory, name) for name in ("words", "word_bits")):
        is_of = stated or ", ".join(f"{name}={value}" for name, value in numbers.items())
        raise FormatError(f"{path}: is of a memory of {is_of}, expected {memory}")
    return stated or memory
