"""Verilog's ``$readmemh`` format: hexadecimal words, ``@address``, and Verilog comments."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tremap_brevitas.memory_files.lines import BadLineError, Words, hexadecimal, number, text_of, tokens_of, without_comments
from tremap_brevitas.printable import counted


def write_readmemh(words: Sequence[int], bits: int, text: str) -> bytes:
    """Write words after a comment and their first address."""
    return "\n".join([f"// {text}", "@0", *(hexadecimal(w, bits) for w in words), ""]).encode()


def read_readmemh(data: bytes, bits: int) -> list[int]:
    """Read words. A word with fewer digits than its bits need is refused because it may have been cut short.

    Raises:
        BadLineError: If a line is not of the format.
    """
    plain = _plain_words(data, bits)
    if plain is not None:
        return plain
    memory_words = Words(bits)
    address, line = 0, 1
    needed = -(-bits // 4)
    bare = without_comments(text_of(data), r"//[^\n]*|/\*.*?\*/", "/*")
    for line, token in tokens_of(bare, r"[^\s]+"):
        if token.startswith("@"):
            address = number(token[1:], 16, line)
            continue
        word = number(token, 16, line)
        digits = len(token.replace("_", ""))
        if digits < needed:
            raise BadLineError(
                line,
                f"word {token!r} has {counted(digits, 'digit')}, but {counted(bits, 'bit')} need {needed}; was it cut short?",
            )
        memory_words.put(address, word, line)
        address += 1
    return memory_words.all(line)


def _plain_words(data: bytes, bits: int) -> list[int] | None:
    """Read a file exactly as ``write_readmemh`` writes it, all at once; None for any other file."""
    head = re.match(rb"(?://[^\n]*\n)?@0\n", data)
    digits = -(-bits // 4)
    if head is None or bits > 64 or (len(data) - head.end()) % (digits + 1):
        return None
    rows = np.frombuffer(data, dtype=np.uint8, offset=head.end()).reshape(-1, digits + 1)
    values = _VALUES[rows[:, :digits]]
    if not len(rows) or (rows[:, digits] != ord("\n")).any() or (values > 15).any():
        return None
    words = np.zeros(len(rows), dtype=np.uint64)
    for digit in range(digits):
        words = words << np.uint64(4) | values[:, digit]
    if bits < 64 and (words >> np.uint64(bits)).any():
        return None
    as_list: list[int] = words.tolist()
    return as_list


_VALUES = np.full(256, 255, dtype=np.uint8)  # value of each hexadecimal digit
for _digit in "0123456789abcdefABCDEF":
    _VALUES[ord(_digit)] = int(_digit, 16)
