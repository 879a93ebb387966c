"""Tables of failing reads: the log of a memory's built-in self-test, or a table of stuck cells."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats.cells import Cells, without_both_ways
from tremap_brevitas.faults.formats.columns import BothWays, LogForm, needs_met, our_name
from tremap_brevitas.faults.formats.csv_map import CSV_FIRST_LINE, memory_of, metadata_of, read_comments
from tremap_brevitas.faults.formats.failing_reads import FailingReads
from tremap_brevitas.faults.formats.lines import MatchedLines, Tables
from tremap_brevitas.faults.formats.table import Rows, separator_of, split_line
from tremap_brevitas.faults.formats.text import FormatError, blocks, chip_name, opened
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.files import atomic_file


def read_log(
    path: str | os.PathLike[str],
    memory: Memory | None = None,
    *,
    chip: str | None = None,
    columns: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    pattern: str | None = None,
    expected: int | str | None = None,
    stuck_at: Literal[0, 1] | None = None,
    base: int | None = None,
    unpadded: bool | None = None,
    first_address: int = 0,
    address_step: int = 1,
    passed: Literal["error", "skip"] = "error",
    both_ways: BothWays = "error",
    progress: bool = False,
) -> FaultMap:
    r"""Read a table with one line for each failing read or stuck cell.

    Fields are separated by semicolons, tabs, commas or blanks, whichever of them the first line has; they may stand in quotes.
    ``#`` begins a comment. A line of names, or ``columns``, names the columns. Every other line has an address, and one of

    - ``expected`` and ``read``, complete words: every bit in which they differ is stuck at the bit read;
    - ``bit`` and ``stuck_at``;
    - ``bit`` and ``expected`` or ``read``, one bit: stuck at the opposite of the expected bit, or at the bit read.

    With a column ``bank`` addresses count within a bank. A column ``chip`` names the chip of each line; ``read_logs`` reads a
    file of several chips. Columns about the test (element, time, cycle …) are skipped; any other is an error.

    The same cell may fail in several march elements. If it fails both as 0 and as 1 it is not stuck, and that is an error
    unless ``both_ways`` says otherwise. Files of any length are read in bounded memory: that of the distinct stuck cells. A
    line has at most 1 MiB, a word at most 16,384 bits. Text is UTF-8, or UTF-16 with its mark.

    Args:
        path: The file, plain or gzip.
        memory: Geometry; None if the file states it in comments, as this package's CSV does. A file that states another is
            refused.
        chip: Name of the chip; None for the name in the file, or the file's name without endings.
        columns: Names of the columns, if no line in the file names them.
        rename: Meaning of columns with other names: ``{"fail_addr": "address"}``.
        ignore: Names of columns to skip.
        pattern: Regular expression for lines that are not a table; its named groups are the columns. It must match every
            complete line except blank ones and comments; a line that it matches without an address is skipped:
            ``BIST FAIL: addr=(?P<address>\w+) expected=(?P<expected>\w+) got=(?P<read>\w+)|BIST DONE``.
        expected: Expected value in every line, if there is no column for it: a number, or text as in the file.
        stuck_at: Value at which every cell is stuck, if there is no column for it.
        base: 16 or 10: base of addresses and words that do not begin with ``0x``. None for 16 where a line has words,
            10 where it has a bit; then a file in which some begin with ``0x`` and others could be either is an error. Bits and
            banks are decimal.
        unpadded: Whether words are written without leading zeros. If not, a word shorter than its neighbour was cut short, and
            is an error. None for yes with ``pattern``, and no without.
        first_address: Address of word 0.
        address_step: Increment of the address from word to word, such as 4 for byte addresses of 32-bit words.
        passed: Whether lines whose read value equals the expected one are an error, or skipped.
        both_ways: ``"error"``, or ``"drop"`` to leave such cells out and count them in the map's metadata.
        progress: Whether to show a progress bar on standard error.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If a line is not of the format, or lies outside the memory (``path:line: …``); if a cell failed both ways;
            if the file is of several chips.
        ValueError: If an option has an invalid value.

    Examples:
        >>> from pathlib import Path
        >>> log = Path(getfixture("tmp_path")) / "A7.log"
        >>> _ = log.write_text("element,address,expected,read\nM1,0x0,0xff,0x7f\nM2,0x3,0x00,0x01\n")
        >>> read_log(log, Memory(words=4, word_bits=8))
        FaultMap(chip 'A7', 4 words × 8 bits, 2 faults: 1 stuck at 0, 1 stuck at 1, rate 6.25e-02)
    """
    maps = read_logs(
        path,
        memory,
        chip=chip,
        progress=progress,
        columns=columns,
        rename=rename or {},
        ignore=ignore,
        pattern=pattern,
        expected=expected,
        stuck_at=stuck_at,
        base=base,
        unpadded=unpadded,
        first_address=first_address,
        address_step=address_step,
        passed=passed,
        both_ways=both_ways,
    )
    if len(maps) > 1:
        raise FormatError(
            f"{path}: holds {len(maps)} chips, {maps[0].chip!r} and {maps[1].chip!r} among them; read_fault_maps gives a "
            f"map of each"
        )
    return maps[0]


def read_logs(
    path: str | os.PathLike[str],
    memory: Memory | None = None,
    *,
    chip: str | None = None,
    progress: bool = False,
    **options: Any,
) -> list[FaultMap]:
    """Read a log of one chip or, with a column ``chip``, of several: one map for each, in order of appearance.

    A chip without a failing line does not appear in such a file.

    Args:
        path: The file, plain or gzip.
        memory: Geometry, as for ``read_log``.
        chip: Name of the chip, if there is only one.
        progress: Whether to show a progress bar on standard error.
        **options: As for ``read_log``.

    Raises:
        FileNotFoundError, FormatError, ValueError: As ``read_log``.
    """
    form = LogForm(**options)
    groups = form.groups()
    cells: dict[str | None, Cells] = {}
    reads: FailingReads | None = None
    said: dict[str, str] = {}
    with opened(path, progress=progress) as stream:
        tables = MatchedLines(groups, form, path) if groups else Tables(form, path)
        for block in blocks(stream, path):
            if block.line == 1:
                said = read_comments(block.text, path)
                memory = memory_of(said, path, memory)
            table = tables.take(block)
            if table is None or not len(table):
                continue
            if memory is None:
                break
            if reads is None:
                reads = FailingReads(tables.names, memory, form)
            for name, part in _by_chip(table, tables.names):
                reads.take(part, cells.setdefault(name, Cells()))
            if block.cut:
                reads.check_end(table, tables.last)
    if memory is None:
        raise FormatError(f"{path}: does not say how large the memory is; give it")
    tables.finish()
    if reads is not None:
        reads.finish(str(path))
    if chip is not None and len(cells) > 1:
        raise FormatError(f"{path}: holds {len(cells)} chips, so that {chip!r} cannot be the name of all")
    result = []
    for name, held in (cells or {None: Cells()}).items():
        at, stuck, metadata = without_both_ways(held, str(path), form.both_ways, memory.word_bits)
        label = chip if chip is not None else name if name is not None else said.get("chip", chip_name(path))
        result.append(FaultMap(memory, at, stuck, label, {**metadata_of(said), **metadata}))
        if "digest" in said and not metadata and result[-1].digest != said["digest"]:
            raise FormatError(f"{path}: damaged: its cells have digest {result[-1].digest}, it says {said['digest']}")
    return result


def write_log(fault_map: FaultMap, path: str | os.PathLike[str]) -> Path:
    """Write a map as the log of a self-test with two march elements, ``element,address,expected,read`` in hexadecimal.

    Element ``r0`` finds the cells stuck at 1, ``r1`` those stuck at 0. The file is written atomically. Chip and metadata
    are not written.
    """
    memory = fault_map.memory
    full = (1 << memory.word_bits) - 1
    digits = -(-memory.word_bits // 4)
    address_digits = -(-(max(memory.words - 1, 1)).bit_length() // 4)
    with atomic_file(path) as draft, draft.open("w", encoding="ascii") as file:
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
    """Return the format that a file's first lines suggest: ``"csv"``, ``"log"`` or None."""
    if head.startswith(CSV_FIRST_LINE.encode()):
        return "csv"
    for line in head.decode("utf-8", "replace").split("\n"):
        try:
            fields = split_line(line, separator_of(line))
        except ValueError:
            return None
        if fields:
            given = {our_name(name) or "" for name in fields}
            return None if not needs_met(given) else "csv" if "bit" in given else "log"
    return None


def _by_chip(table: Rows, names: list[str]) -> Iterator[tuple[str | None, Rows]]:
    """Yield the lines of each chip, in the order in which the chips appear."""
    if "chip" not in names:
        yield None, table
        return
    texts = [table.text(row, names.index("chip")) for row in range(len(table))]
    if "" in texts:
        raise table.fail(texts.index(""), "chip is missing")
    number = {name: i for i, name in enumerate(dict.fromkeys(texts))}
    whose = np.array([number[text] for text in texts])
    for name, i in number.items():
        yield name, table.subset(whose == i)
