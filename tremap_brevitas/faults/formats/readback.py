"""Raw read-back: hexadecimal text of the whole memory after all ones, or all zeros, were written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.formats.cells import Cells, without_both_ways
from tremap_brevitas.faults.formats.columns import BothWays
from tremap_brevitas.faults.formats.table import DIGITS
from tremap_brevitas.faults.formats.text import BLOCK, FormatError, check_choice, chip_name, decoded, opened
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.files import atomic_file
from tremap_brevitas.memory_files import FORMATS, BadLineError
from tremap_brevitas.memory_files import Format as ImageFormat
from tremap_brevitas.printable import counted

ByteOrder = Literal["little", "big"]


def read_readback(
    after_ones: str | os.PathLike[str] | None,
    after_zeros: str | os.PathLike[str] | None,
    memory: Memory,
    *,
    chip: str | None = None,
    row_bits: int | None = None,
    duplicated_bytes: bool = False,
    byte_order: ByteOrder | None = None,
    image_format: ImageFormat | None = None,
    both_ways: BothWays = "error",
    progress: bool = False,
) -> FaultMap:
    """Read a memory's content after all ones, and after all zeros, were written to it.

    A file is hexadecimal digits, two for a byte, from word 0 upwards; blanks and line ends are ignored. After all ones every
    0 is a cell stuck at 0; after all zeros every 1 is one stuck at 1. Give both files, or one: then only that kind of fault is
    known. The files of the undervolting study of Salami et al. (MICRO 2018) have this form, with ``duplicated_bytes``. With
    ``image_format`` the files are memory images, such as a debugger or a simulator writes.

    Args:
        after_ones: File read after all ones were written, plain or gzip; or None.
        after_zeros: File read after all zeros were written; or None.
        memory: Geometry. The file must hold exactly its words.
        chip: Name of the chip; None for the file's name without endings and without ``ones`` and ``zeros``.
        row_bits: Bits of a row in the file, a multiple of 8 and at least a word's; bits beyond the word are ignored. None for
            the word, rounded up to whole bytes.
        duplicated_bytes: Whether every byte is written twice in a row. Two that differ are an error.
        byte_order: Whether a row's first byte holds its lowest bits (``"little"``, the default) or its highest (``"big"``).
        image_format: Format of the files, one of those of [read_memory_image][tremap_brevitas.placement.read_memory_image];
            None for bare hexadecimal digits. Such formats define the order of bytes.
        both_ways: What to do with cells that read 0 after ones and 1 after zeros, as for ``read_log``.
        progress: Whether to show a progress bar on standard error.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If a file is not hexadecimal text, or holds more or less than the memory (``path:line: …``).
        ValueError: If no file is given, or an option has an invalid value.

    Examples:
        >>> from pathlib import Path
        >>> dump = Path(getfixture("tmp_path")) / "A7.hex"
        >>> _ = dump.write_text("fffeff7f")
        >>> chip = read_readback(dump, None, Memory(words=4, word_bits=8))
        >>> chip.cells, chip.stuck_at
        (array([ 8, 31]), array([0, 0], dtype=uint8))
    """
    files = {0: after_ones, 1: after_zeros}
    if after_ones is None and after_zeros is None:
        raise ValueError("give the file read after all ones were written, the one after all zeros, or both")
    check_choice("byte_order", byte_order, ("little", "big", None))
    check_choice("image_format", image_format, (*get_args(ImageFormat), None))
    check_choice("both_ways", both_ways, ("error", "drop"))
    if image_format is not None and (duplicated_bytes or byte_order is not None):
        raise ValueError(f"duplicated_bytes and byte_order are for bare hexadecimal digits, not for {image_format}")
    unit = 8 if image_format is None else 1
    width = unit * -(-memory.word_bits // unit) if row_bits is None else row_bits
    if width % unit or width < memory.word_bits:
        multiple = "a multiple of 8 and " if unit == 8 else ""
        raise ValueError(f"row_bits must be {multiple}at least {memory.word_bits}, got {row_bits}")
    cells = Cells()
    for stuck_at, path in files.items():
        if path is not None:
            if image_format is None:
                found_rows = _rows(path, width // 8, memory, duplicated_bytes, progress)
            else:
                found_rows = _image(path, image_format, width, memory)
            for first, bits in found_rows:
                if byte_order == "big":
                    bits = bits[:, ::-1]
                wrong = bits if stuck_at else ~bits
                hit = np.flatnonzero(wrong.any(axis=1))
                bits = np.unpackbits(np.ascontiguousarray(wrong[hit]), axis=1, count=memory.word_bits, bitorder="little")
                row, bit = np.nonzero(bits)
                cells.add((first + hit[row]) * memory.word_bits + bit, stuck_at)
    one = next(path for path in (after_ones, after_zeros) if path is not None)
    found_cells, values, metadata = without_both_ways(cells, str(one), both_ways, memory.word_bits)
    return FaultMap(memory, found_cells, values, _name(one) if chip is None else chip, metadata)


def write_readback(
    fault_map: FaultMap, after_ones: str | os.PathLike[str] | None, after_zeros: str | os.PathLike[str] | None
) -> list[Path]:
    """Write what a memory with these faults returns after all ones and all zeros: a word per line, lowest byte first.

    Each file is written atomically. Chip and metadata are not written.

    Returns:
        The paths written.

    Raises:
        ValueError: If the map has faults that none of the files can show: those stuck at 1 are seen after zeros alone, those
            stuck at 0 after ones alone.
    """
    memory = fault_map.memory
    size = -(-memory.word_bits // 8)
    paths = []
    for stuck_at, path, name in ((0, after_ones, "after_ones"), (1, after_zeros, "after_zeros")):
        mine = fault_map.cells[fault_map.stuck_at == stuck_at]
        if path is None:
            if len(mine):
                raise ValueError(
                    f"{counted(len(mine), 'cell')} stuck at {stuck_at}, which only the file {name} can show; give it"
                )
            continue
        healthy = np.unpackbits(np.full(size, 255 * (1 - stuck_at), np.uint8), count=memory.word_bits, bitorder="little")
        with atomic_file(path) as draft, draft.open("w", encoding="ascii") as file:
            per_block = max(1, BLOCK // memory.word_bits)
            for first in range(0, memory.words, per_block):
                count = min(per_block, memory.words - first)
                bits = np.tile(healthy, (count, 1))
                start, stop = np.searchsorted(mine, [first * memory.word_bits, (first + count) * memory.word_bits])
                word, bit = np.divmod(mine[start:stop] - first * memory.word_bits, memory.word_bits)
                bits[word, bit] = stuck_at
                text = np.packbits(bits, axis=1, bitorder="little").tobytes().hex()
                file.writelines(f"{text[i : i + 2 * size]}\n" for i in range(0, len(text), 2 * size))
        paths.append(Path(path))
    return paths


def halves(name: str) -> tuple[str, str] | None:
    """Return which half of a read-back a file name stands for, ``"ones"`` or ``"zeros"``, and the other's name, or None."""
    match = re.search(r"(?<![A-Za-z0-9])(ones|zeros)(?![A-Za-z0-9])", name)
    if match is None:
        return None
    other = "zeros" if match[1] == "ones" else "ones"
    return match[1], f"{name[: match.start()]}{other}{name[match.end() :]}"


def _name(path: str | os.PathLike[str]) -> str:
    whole = chip_name(path)
    return re.sub(r"[-_. ]?(?<![A-Za-z0-9])(ones|zeros)(?![A-Za-z0-9])", "", whole, count=1) or whole


def _image(
    path: str | os.PathLike[str], image_format: ImageFormat, width: int, memory: Memory
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read rows of a memory image like ``_rows``."""
    with opened(path) as stream:
        data = stream.read()
    try:
        words = FORMATS[image_format].read(data, width)
    except BadLineError as error:
        raise FormatError(f"{path}:{error.line}: {error}") from None
    if len(words) != memory.words:
        raise FormatError(f"{path}: holds {counted(len(words), 'word')}, but the memory has {memory.words}")
    size = -(-width // 8)
    content = b"".join(word.to_bytes(size, "little") for word in words)
    yield 0, np.frombuffer(content, dtype=np.uint8).reshape(len(words), size)


def _rows(
    path: str | os.PathLike[str], size: int, memory: Memory, duplicated: bool, progress: bool
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Return the number of the first word, and the bytes of some words, shape (words, bytes of a row)."""
    whole = size * (2 if duplicated else 1)
    word, line, left = 0, 1, np.empty(0, dtype=np.uint8)
    with opened(path, progress=progress) as stream:
        for block in decoded(stream, path):
            data = np.frombuffer(block, dtype=np.uint8)
            blank = (data == 10) | (data == 32) | (data == 9)
            digits = DIGITS[data]
            bad = (digits == 255) & ~blank
            if bad.any():
                at = int(np.argmax(bad))
                number = line + block[:at].count(b"\n")
                raise FormatError(f"{path}:{number}: {chr(block[at])!r} is not a hexadecimal digit")
            left = np.concatenate([left, digits[~blank]])
            line += block.count(b"\n")
            count = len(left) // (2 * whole)
            if count:
                used, left = left[: count * 2 * whole].reshape(-1, 2), left[count * 2 * whole :]
                rows: NDArray[Any] = (used[:, 0] << 4 | used[:, 1]).astype(np.uint8).reshape(count, whole)
                if duplicated:
                    rows = _once(rows, path, word)
                word += count
                if word > memory.words:
                    raise FormatError(
                        f"{path}:{line}: holds more than the {memory.words} words of {size} bytes that the memory has"
                    )
                yield word - count, rows
    if len(left) or word != memory.words:
        raise FormatError(
            f"{path}:{line}: holds {counted(word, 'word')} of {counted(size, 'byte')} and {counted(len(left), 'digit')} more, "
            f"but the memory has {counted(memory.words, 'word')}"
        )


def _once(data: NDArray[np.uint8], path: str | os.PathLike[str], word: int) -> NDArray[np.uint8]:
    pairs = data.reshape(len(data), -1, 2)
    differ = np.any(pairs[:, :, 0] != pairs[:, :, 1], axis=1)
    if differ.any():
        at = int(np.argmax(differ))
        raise FormatError(f"{path}: word {word + at}: its bytes are not duplicated: {data[at].tobytes().hex()}")
    once: NDArray[np.uint8] = pairs[:, :, 0]
    return once
