"""File formats for the words of a memory: conversion of words to bytes and back, one module per format.

``write_memory_image`` describes the formats. Every reader refuses what it does not understand, and names the line.
Not here: codes and layers; see ``placement/``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from tremap_brevitas.memory_files.altera_mif import read_altera_mif, write_altera_mif
from tremap_brevitas.memory_files.amd import read_amd_mif, read_coe, write_amd_mif, write_coe
from tremap_brevitas.memory_files.bytewise import read_intel_hex, read_raw, write_intel_hex, write_raw
from tremap_brevitas.memory_files.lines import BadLineError
from tremap_brevitas.memory_files.verilog import read_readmemh, write_readmemh

__all__ = ["FORMATS", "BadLineError", "FileFormat", "Format"]

Format = Literal["readmemh", "amd_mif", "coe", "altera_mif", "intel_hex", "raw"]


class FileFormat(NamedTuple):
    """Conversion functions of a file format, and whether it has comments.

    ``write`` takes words, bits a word and the text of a comment; ``read`` takes bytes and bits a word.
    """

    write: Callable[[Sequence[int], int, str], bytes]
    read: Callable[[bytes, int], list[int]]
    comments: bool


FORMATS = {
    "readmemh": FileFormat(write_readmemh, read_readmemh, True),
    "amd_mif": FileFormat(write_amd_mif, read_amd_mif, False),
    "coe": FileFormat(write_coe, read_coe, True),
    "altera_mif": FileFormat(write_altera_mif, read_altera_mif, True),
    "intel_hex": FileFormat(write_intel_hex, read_intel_hex, False),
    "raw": FileFormat(write_raw, read_raw, False),
}
