"""Write and read the words of a weight memory as files. NumPy and the standard library only.

Every format has a writer and a reader; what one writes, the other reads back. A word is written with as many digits or bytes as
its width needs, and the first word of the file is address 0; a reused memory's tiles follow one another.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.files import atomic_file
from tremap_brevitas.memory_files import FORMATS, BadLineError, FileFormat
from tremap_brevitas.memory_files import Format as Format
from tremap_brevitas.placement.image import MemoryImage
from tremap_brevitas.placement.packed import after_stuck_cells, words_of_bits


def write_memory_image(image: MemoryImage, path: str | os.PathLike[str], *, format: Format, fault_map: FaultMap | None) -> Path:
    """Write the words of a memory image to a file, which states whether stuck cells have taken effect.

    Args:
        image: The codes and where they lie.
        path: File to write, atomically.
        format: One of

            - ``"readmemh"``: Verilog ``$readmemh`` (IEEE 1800-2017, 21.4), also AMD's ``.mem``: ``@address``, hexadecimal
              words with all their digits, ``//`` and ``/* */`` comments.
            - ``"amd_mif"``: AMD memory initialization file: a line of binary digits an address, most significant bit first.
            - ``"coe"``: AMD coefficient file: ``memory_initialization_radix``, ``memory_initialization_vector``, ``;``
              comments.
            - ``"altera_mif"``: Altera memory initialization file: ``WIDTH``, ``DEPTH``, radices, ``CONTENT BEGIN … END;``,
              ``--`` comments. Same ending as AMD's, and incompatible.
            - ``"intel_hex"``: Intel HEX (1988): data, extended linear address and end records; a word is its bytes, lowest
              first, at byte address ``word * bytes per word``.
            - ``"raw"``: bytes of the words, lowest first, nothing else.
        fault_map: None for the words as they are written into any chip; a chip's map for the words as that chip reads them.
            There is no default, because the two kinds of file are easily mistaken for each other. ``amd_mif``, ``intel_hex``
            and ``raw`` have no comments; there the file's name must contain ``as_written`` or ``as_read``.

    Returns:
        The path written.

    Raises:
        ValueError: If the format is unknown, the map is of another memory, or the file's name lacks the words it must contain.
    """
    kind = _format(format)
    target = Path(path)
    said = "as_written" if fault_map is None else "as_read"
    if not kind.comments and said not in target.name:
        raise ValueError(
            f"{target}: {format} has no comments, so the name must say whether the words are before or after the faults; "
            f"put {said!r} into it"
        )
    words = image.words() if fault_map is None else words_read(image, fault_map)
    by = "before any fault" if fault_map is None else f"after the faults of chip {fault_map.chip!a}, digest {fault_map.digest}"
    text = f"words {said.replace('_', ' ')}: {by}, image {image.digest}"
    return write_words(words, target, format=format, word_bits=image.placement.memory.word_bits, text=text)


def write_words(words: Sequence[int], path: str | os.PathLike[str], *, format: Format, word_bits: int, text: str) -> Path:
    """Write words to a file, atomically, with a line of text in it where the format has comments."""
    with atomic_file(path) as draft:
        draft.write_bytes(_format(format).write(words, word_bits, text))
    return Path(path)


def read_memory_image(path: str | os.PathLike[str], *, format: Format, word_bits: int) -> list[int]:
    """Read a file that [write_memory_image][tremap_brevitas.placement.write_memory_image] or another tool wrote.

    ``MemoryImage.from_words`` turns them into codes. Every address must have one word, and only one. Of what other tools write,
    it reads: several words a line, ranges, signed decimals and ``%`` comments of an ``altera_mif``; records of the types 00 to
    05 of an ``intel_hex``; any radix of a ``coe``. A ``readmemh`` word with fewer digits than ``word_bits`` need is refused,
    since nothing else in such a file shows that it was cut short.

    Args:
        path: The file.
        format: Its format, as in [write_memory_image][tremap_brevitas.placement.write_memory_image].
        word_bits: Bits of a word; no word may have more.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not of that format; names path and line.
    """
    kind = _format(format)
    try:
        return kind.read(Path(path).read_bytes(), word_bits)
    except BadLineError as error:
        raise ValueError(f"{path}:{error.line}: {error}") from None


def words_read(image: MemoryImage, fault_map: FaultMap) -> list[int]:
    """Return the words that a chip returns after ``image`` was written to it.

    Raises:
        ValueError: If the map is of another memory.
    """
    placement = image.placement
    check_memory(fault_map, placement.memory, whose="the image's")
    read = after_stuck_cells(placement, image.bits, fault_map)
    return words_of_bits(read, words=placement.tiles * placement.memory.words, width=placement.memory.word_bits)


def _format(name: str) -> FileFormat:
    if name not in get_args(Format):
        raise ValueError(f"format must be one of {', '.join(get_args(Format))}, got {name!r}")
    return FORMATS[name]
