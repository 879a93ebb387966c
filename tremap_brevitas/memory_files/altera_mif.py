"""Altera's memory initialization file; grammar from Quartus' help, "Memory Initialization File (.mif)"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tremap_brevitas.memory_files.lines import BadLineError, Words, hexadecimal, number, text_of, tokens_of, without_comments
from tremap_brevitas.printable import counted

BASES = {"HEX": 16, "DEC": 10, "UNS": 10, "BIN": 2, "OCT": 8}
SETTINGS = ("WIDTH", "DEPTH", "ADDRESS_RADIX", "DATA_RADIX")
LARGEST = 1 << 28  # words; a range of more is damage, not a memory


def write_altera_mif(words: Sequence[int], bits: int, text: str) -> bytes:
    """Write words in hexadecimal, after a comment."""
    head = [f"-- {text}", f"WIDTH={bits};", f"DEPTH={len(words)};", "ADDRESS_RADIX=HEX;", "DATA_RADIX=HEX;", "CONTENT BEGIN"]
    return "\n".join([*head, *(f"{i:x} : {hexadecimal(w, bits)};" for i, w in enumerate(words)), "END;", ""]).encode()


def read_altera_mif(data: bytes, bits: int) -> list[int]:
    """Read words: ``address : word;``, ``address : word word …;``, and ``[first..last] : word …;``, which repeats.

    ``DEC`` words may have a sign; negative ones are stored in two's complement.

    Raises:
        BadLineError: If a line is not of the format.
    """
    text = without_comments(text_of(data), r"--[^\n]*|%[^%]*%", "%")
    statements = _statements(text)
    settings: dict[str, str] = {}
    words = Words(bits)
    inside, line = False, 1
    for line, tokens in statements:
        upper = [token.upper() for token in tokens]
        if not inside and upper == ["CONTENT", "BEGIN"]:
            _check(settings, bits, line)
            inside = True
        elif not inside:
            if len(tokens) != 3 or upper[0] not in SETTINGS or upper[1] != "=":
                raise BadLineError(line, f"expected a setting or CONTENT BEGIN, found {' '.join(tokens)!r}")
            if upper[0] in settings:
                raise BadLineError(line, f"a second {upper[0]}")
            settings[upper[0]] = upper[2]
        elif upper == ["END"]:
            break
        else:
            _entry(tokens, settings, words, line)
    else:
        raise BadLineError(line, "no END;")
    for after, _ in statements:
        raise BadLineError(after, "text after END;")
    if int(settings["DEPTH"]) != len(words):
        raise BadLineError(line, f"DEPTH is {settings['DEPTH']}, but the file has {counted(len(words), 'word')}")
    return words.all(line)


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the tokens of each statement without its semicolon, and its last line. CONTENT BEGIN has no semicolon."""
    tokens: list[str] = []
    line = 1
    for line, token in tokens_of(text, r"\.\.|[^\s;:=\[\].]+"):
        if token != ";":
            tokens.append(token)
        if token == ";" or [t.upper() for t in tokens] == ["CONTENT", "BEGIN"]:
            yield line, tokens
            tokens = []
    if tokens:
        raise BadLineError(line, f"the file ends without ';' after {' '.join(tokens[-6:])!r}")


def _check(settings: dict[str, str], bits: int, line: int) -> None:
    if settings.get("WIDTH") != str(bits):
        raise BadLineError(line, f"WIDTH is {settings.get('WIDTH')}, expected {bits}")
    if not {settings.get("ADDRESS_RADIX"), settings.get("DATA_RADIX")} <= set(BASES):
        raise BadLineError(line, f"ADDRESS_RADIX and DATA_RADIX must be among {', '.join(BASES)}")
    depth = number(settings.get("DEPTH", "?"), 10, line)
    if depth > LARGEST:
        raise BadLineError(line, f"DEPTH is {depth}, more than {LARGEST} words")


def _entry(tokens: list[str], settings: dict[str, str], memory_words: Words, line: int) -> None:
    written = " ".join(tokens)
    match = re.fullmatch(r"(?:\[ (\S+) \.\. (\S+) \]|(\S+)) : ([^:=\[\]]+)", written)
    if not match:
        raise BadLineError(line, f"expected 'address : word;', found {written[:60]!r}")
    words = [_word(token, settings["DATA_RADIX"], memory_words.bits, line) for token in match.group(4).split()]
    base = BASES[settings["ADDRESS_RADIX"]]
    if match.group(3) is not None:
        first = number(match.group(3), base, line)
        last = first + len(words) - 1
    else:
        first, last = (number(match.group(i), base, line) for i in (1, 2))
        if last < first:
            raise BadLineError(line, f"a range that begins at {first} and ends before, at {last}")
        if (last + 1 - first) % len(words):
            raise BadLineError(line, f"{counted(len(words), 'word')} cannot fill a range of {last + 1 - first} evenly")
    if last >= int(settings["DEPTH"]):
        raise BadLineError(line, f"address {last}, but DEPTH is {settings['DEPTH']}")
    for offset, address in enumerate(range(first, last + 1)):
        memory_words.put(address, words[offset % len(words)], line)


def _word(token: str, radix: str, bits: int, line: int) -> int:
    if radix == "DEC" and token.startswith("-"):
        value = number(token[1:], 10, line)
        if value > 1 << (bits - 1):
            raise BadLineError(line, f"{token} has more than {counted(bits, 'bit')}")
        return -value % (1 << bits)
    return number(token, BASES[radix], line)
