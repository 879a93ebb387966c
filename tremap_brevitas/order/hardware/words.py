"""Read a chip's words through its stuck cells, and write them to files, with hardware that moves words and bits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.memory_files import FORMATS
from tremap_brevitas.placement.image_file import Format, write_memory_image, write_words
from tremap_brevitas.tables import write_table

if TYPE_CHECKING:
    from tremap_brevitas.order.chip_order import ChipOrder


def stuck_words(words: Sequence[int], chip: FaultMap) -> list[int]:
    """Return the words that a chip returns after these were written to it.

    Args:
        words: Words of the chip's memory, tile after tile.
        chip: The chip's fault map.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> stuck_words([0b00, 0b11], FaultMap(Memory(words=2, word_bits=2), cells=[1, 2], stuck_at=[1, 0]))
        [2, 2]
    """
    read = list(words)
    for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
        word, bit = divmod(cell, chip.memory.word_bits)
        for at in range(word, len(read), chip.memory.words):
            read[at] = read[at] | 1 << bit if value else read[at] & ~(1 << bit)
    return read


def write_chip_words(order: ChipOrder, path: str | os.PathLike[str], *, format: Format) -> Path:
    """Write the words that a chip's cells must hold to a file: in order, moved by its hardware, with flags and amounts.

    Args:
        order: The chip's order.
        path: File to write, atomically.
        format: As for [write_memory_image][tremap_brevitas.placement.write_memory_image].

    Raises:
        ValueError: If the format is unknown, or has no comments and the file's name does not contain ``as_written``.
    """
    if order.hardware is None:
        return write_memory_image(order.image, path, format=format, fault_map=None)
    if not FORMATS[format].comments and "as_written" not in Path(path).name:
        raise ValueError(f"{path}: {format} has no comments, so the name must contain 'as_written'")
    text = (
        f"words as written: before any fault of chip {order.chip!a}, image {order.image.digest}, "
        f"as its cells hold them: {order.hardware.hardware}"
    )
    return write_words(order.words, path, format=format, word_bits=order.memory.word_bits, text=text)


def write_keys(order: ChipOrder, path: str | os.PathLike[str]) -> Path:
    """Write the keys of a chip's banks to a CSV file: they are loaded into registers beside the memory.

    Raises:
        ValueError: If the chip has no keys.
    """
    if order.hardware is None or not len(order.hardware.keys):
        raise ValueError(f"chip {order.chip!r} has no keys to write to {path}: its addresses are not scrambled")
    return write_table(path, [{"bank": bank, "key": key} for bank, key in enumerate(order.hardware.keys.tolist())])
