"""AMD's memory initialization file, with one binary word per line, and its coefficient file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tremap_brevitas.memory_files.lines import BadLineError, Words, hexadecimal, lines_of, number, text_of
from tremap_brevitas.printable import counted

RADIX, VECTOR = "memory_initialization_radix", "memory_initialization_vector"


def write_amd_mif(words: Sequence[int], bits: int, text: str) -> bytes:
    """Write one word per line; the format has no comments."""
    return "".join(f"{w:0{bits}b}\n" for w in words).encode()


def read_amd_mif(data: bytes, bits: int) -> list[int]:
    """Read the words of a file.

    Raises:
        BadLineError: If a line is not a word of ``bits`` binary digits.
    """
    words = []
    for line, text in lines_of(text_of(data)):
        if len(text) != bits:
            raise BadLineError(line, f"{counted(len(text), 'digit')}, expected {bits}")
        if "_" in text:
            raise BadLineError(line, f"{text!r} is not a number of base 2")
        words.append(number(text, 2, line))
    return words


def write_coe(words: Sequence[int], bits: int, text: str) -> bytes:
    """Write words in hexadecimal, after a comment."""
    head = [f"; {text}", f"{RADIX}=16;", f"{VECTOR}="]
    return ("\n".join(head) + "\n" + ",\n".join(hexadecimal(w, bits) for w in words) + ";\n").encode()


def read_coe(data: bytes, bits: int) -> list[int]:
    """Read the words of a file.

    A semicolon ends a statement and begins a comment up to the end of the line. In the vector it only begins a comment where a
    word must follow: at its beginning and after a comma.

    Raises:
        BadLineError: If a line is not of the format.
    """
    words = Words(bits)
    part, radix, awaited, line = "head", 0, True, 1
    for line, text in lines_of(text_of(data)):
        rest = text
        if part == "head":
            part, radix, rest = _head(rest, radix, line)
        if part == "ended" and not rest.startswith(";"):
            raise BadLineError(line, "text after the end of the vector")
        if part == "vector":
            values, semicolon, _ = rest.partition(";")
            for token in re.findall(r",|[^\s,]+", values):
                if token == "," and awaited:
                    raise BadLineError(line, "a comma without a word before it")
                if token != ",":
                    words.put(len(words), number(token, radix, line), line)
                awaited = token == ","
            part = "ended" if semicolon and not awaited else part
    if part != "ended":
        raise BadLineError(line, "the vector does not end with ';'" if part == "vector" else f"no {VECTOR}")
    return words.all(line)


def _head(rest: str, radix: int, line: int) -> tuple[str, int, str]:
    """Return the next part of the file, the radix, and the rest of a line."""
    match = re.match(rf"(?i){RADIX}\s*=\s*(\w+)\s*;\s*", rest)
    if match:
        if radix:
            raise BadLineError(line, f"a second {RADIX}")
        if match.group(1) not in ("2", "10", "16"):
            raise BadLineError(line, f"radix {match.group(1)}, expected 2, 10 or 16")
        radix, rest = int(match.group(1)), rest[match.end() :]
    if not rest or rest.startswith(";"):
        return "head", radix, ""
    match = re.match(rf"(?i){VECTOR}\s*=\s*", rest)
    if not match:
        raise BadLineError(line, f"expected {VECTOR}, found {rest[:60]!r}")
    if not radix:
        raise BadLineError(line, f"no {RADIX} before the vector")
    return "vector", radix, rest[match.end() :]
