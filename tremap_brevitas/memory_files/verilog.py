"""Verilog's ``$readmemh``: hexadecimal words, ``@address``, and the comments of the language."""

from __future__ import annotations

from collections.abc import Sequence

from tremap_brevitas.memory_files.lines import BadLineError, Words, hexadecimal, number, text_of, tokens_of, without_comments


def write_readmemh(words: Sequence[int], bits: int, text: str) -> bytes:
    """Words below their first address and a comment."""
    return "\n".join([f"// {text}", "@0", *(hexadecimal(w, bits) for w in words), ""]).encode()


def read_readmemh(data: bytes, bits: int) -> list[int]:
    """Words of a file. A word has as many digits as its bits need, or more: one with fewer may have been cut short.

    Raises:
        BadLineError: If a line is not of the format.
    """
    found = Words(bits)
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
            raise BadLineError(line, f"word {token!r} has {digits} digits, but {bits} bits need {needed}; was it cut short?")
        found.put(address, word, line)
        address += 1
    return found.all(line)
