"""Shared functions for readers of memory images: text, tokens with line numbers, numbers, words by address."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tremap_brevitas.printable import counted

_DIGITS = {2: "[01_]+", 8: "[0-7_]+", 10: "[0-9_]+", 16: "[0-9a-fA-F_]+"}


class BadLineError(Exception):
    """Raised for a line that does not follow the format."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def text_of(data: bytes) -> str:
    r"""Return the text of a file with ``\n`` line ends. Non-ASCII characters are allowed in comments.

    Raises:
        BadLineError: If a carriage return stands alone. Tools differ on whether it ends a line, and so a comment.
    """
    alone = re.search(rb"\r(?!\n)", data)
    if alone:
        raise BadLineError(data[: alone.start()].count(b"\n") + 1, "a carriage return without a line feed")
    return data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").decode("utf-8", "replace")


def without_comments(text: str, comment: str, opening: str) -> str:
    """Replace comments by blanks in one pass, so that markers inside comments are ignored. Line ends stay.

    Args:
        text: The text.
        comment: Regular expression of a whole comment.
        opening: Beginning of a comment, to find one that is never closed.

    Raises:
        BadLineError: If a comment never ends.
    """

    def blank(match: re.Match[str]) -> str:
        if match.group() == opening:
            raise BadLineError(text.count("\n", 0, match.start()) + 1, f"a comment that begins with {opening} and never ends")
        return " " + "\n" * match.group().count("\n")

    return re.sub(f"{comment}|{re.escape(opening)}", blank, text, flags=re.S)


def tokens_of(text: str, token: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of every token; any other non-blank character is a token by itself."""
    for line, row in enumerate(text.split("\n"), start=1):
        for match in re.finditer(rf"{token}|[^\s]", row, flags=re.ASCII):
            yield line, match.group()


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line that is not blank."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def number(text: str, base: int, line: int) -> int:
    """Parse a number without a sign; underscores between the digits are ignored.

    Raises:
        BadLineError: If it is not a number.
    """
    if not re.fullmatch(_DIGITS[base], text) or not text.strip("_"):
        raise BadLineError(line, f"{text!r} is not a number of base {base}")
    digits = text.replace("_", "")
    if len(digits) > 4096:  # 16,384 bits in base 16; Python refuses decimals beyond that as well
        raise BadLineError(line, f"a number of {counted(len(digits), 'digit')}")
    return int(digits, base)


class Words:
    """Words by address, each given once.

    Args:
        bits: Bits a word.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._found: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._found)

    def put(self, address: int, word: int, line: int) -> None:
        """Store a word.

        Raises:
            BadLineError: If it has too many bits, or its address has one already.
        """
        if word >> self.bits:
            raise BadLineError(line, f"word {address} is {word:#x}, which has more than {counted(self.bits, 'bit')}")
        if address in self._found:
            raise BadLineError(line, f"a second word for address {address:#x}")
        self._found[address] = word

    def all(self, line: int) -> list[int]:
        """Return the words from address 0 upwards.

        Raises:
            BadLineError: If one is missing.
        """
        missing = next((i for i in range(len(self._found)) if i not in self._found), None)
        if missing is not None:
            raise BadLineError(line, f"no word for address {missing}, but one for a higher address")
        return [self._found[i] for i in range(len(self._found))]


def hexadecimal(word: int, bits: int) -> str:
    """Format a word with as many hexadecimal digits as its bits need."""
    return f"{word:0{-(-bits // 4)}x}"
