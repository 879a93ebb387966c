"""The file formats of memory images: words to bytes and back. What each is stands at ``write_memory_image``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np


class BadLineError(Exception):
    """A line that is not of the format."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class FileFormat(NamedTuple):
    """How words become bytes and bytes words, and whether the format has comments.

    ``write`` takes words, bits a word and the text of a comment; ``read`` takes bytes and bits a word.
    """

    write: Callable[[Sequence[int], int, str], bytes]
    read: Callable[[bytes, int], list[int]]
    comments: bool


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadLineError(data[: error.start].count(b"\n") + 1, "a byte that is not ASCII text") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def _number(text: str, base: int, line: int) -> int:
    try:
        if not text.strip("_") or text[0] in "+-":
            raise ValueError
        return int(text.replace("_", ""), base)
    except ValueError:
        raise BadLineError(line, f"{text!r} is no number of base {base}") from None


def _filled(found: dict[int, int], line: int) -> list[int]:
    if sorted(found) != list(range(len(found))):
        missing = next(i for i in range(len(found) + 1) if i not in found)
        raise BadLineError(line, f"no word for address {missing}, but one for a higher address")
    return [found[i] for i in range(len(found))]


def _hex(word: int, bits: int) -> str:
    return f"{word:0{-(-bits // 4)}x}"


def _write_readmemh(words: Sequence[int], bits: int, text: str) -> bytes:
    return "\n".join([f"// {text}", "@0", *(_hex(w, bits) for w in words), ""]).encode()


def _read_readmemh(data: bytes, bits: int) -> list[int]:
    found: dict[int, int] = {}
    address, line = 0, 1
    bare = re.sub(rb"/\*.*?\*/", lambda m: re.sub(rb"[^\n]", b" ", m.group()), data, flags=re.S)
    for line, text in _lines(re.sub(rb"//[^\n]*", b"", bare)):
        for token in text.split():
            if token.startswith("@"):
                address = _number(token[1:] or "@", 16, line)
                continue
            found[address] = _number(token, 16, line)
            address += 1
    return _filled(found, line)


def _write_amd_mif(words: Sequence[int], bits: int, text: str) -> bytes:
    return "".join(f"{w:0{bits}b}\n" for w in words).encode()


def _read_amd_mif(data: bytes, bits: int) -> list[int]:
    words = []
    for line, text in _lines(data):
        if len(text) != bits:
            raise BadLineError(line, f"{len(text)} digits, expected {bits}")
        words.append(_number(text, 2, line))
    return words


def _write_coe(words: Sequence[int], bits: int, text: str) -> bytes:
    head = [f"; {text}", "memory_initialization_radix=16;", "memory_initialization_vector="]
    return ("\n".join(head) + "\n" + ",\n".join(_hex(w, bits) for w in words) + ";\n").encode()


def _read_coe(data: bytes, bits: int) -> list[int]:
    radix, inside, ended, words = 0, False, False, []
    for line, raw in _lines(data):
        text = raw
        if text.startswith(";"):
            continue
        if ended:
            raise BadLineError(line, "text after the end of the vector")
        match = re.fullmatch(r"(?i)memory_initialization_radix\s*=\s*(\d+)\s*;", text)
        if match:
            radix = int(match.group(1))
            if radix not in (2, 10, 16):
                raise BadLineError(line, f"radix {radix}, expected 2, 10 or 16")
            continue
        match = re.match(r"(?i)memory_initialization_vector\s*=\s*", text)
        if match:
            inside, text = True, text[match.end() :]
        elif not inside:
            raise BadLineError(line, f"expected memory_initialization_vector, found {text!r}")
        if not radix:
            raise BadLineError(line, "no memory_initialization_radix before the vector")
        ended = text.endswith(";")
        words += [_number(token, radix, line) for token in re.split(r"[\s,]+", text.rstrip(";").strip(" ,")) if token]
    if not ended:
        raise BadLineError(data.count(b"\n") + 1, "the vector does not end with ';'")
    return words


def _write_altera_mif(words: Sequence[int], bits: int, text: str) -> bytes:
    head = [f"-- {text}", f"WIDTH={bits};", f"DEPTH={len(words)};", "ADDRESS_RADIX=HEX;", "DATA_RADIX=HEX;", "CONTENT BEGIN"]
    return "\n".join([*head, *(f"{i:x} : {_hex(w, bits)};" for i, w in enumerate(words)), "END;", ""]).encode()


def _read_altera_mif(data: bytes, bits: int) -> list[int]:
    settings: dict[str, str] = {}
    found: dict[int, int] = {}
    inside, ended, line = False, False, 1
    bases = {"HEX": 16, "DEC": 10, "UNS": 10, "BIN": 2, "OCT": 8}
    for line, raw in _lines(re.sub(rb"--[^\n]*|%[^%\n]*%", b"", data)):
        if not inside:
            match = re.fullmatch(r"(?i)(WIDTH|DEPTH|ADDRESS_RADIX|DATA_RADIX)\s*=\s*(\w+)\s*;", raw)
            if match:
                settings[match.group(1).upper()] = match.group(2).upper()
            elif re.fullmatch(r"(?i)CONTENT\s+BEGIN", raw):
                inside = True
                if settings.get("WIDTH") != str(bits):
                    raise BadLineError(line, f"WIDTH is {settings.get('WIDTH')}, expected {bits}")
                if not {settings.get("ADDRESS_RADIX"), settings.get("DATA_RADIX")} <= set(bases):
                    raise BadLineError(line, f"ADDRESS_RADIX and DATA_RADIX must be among {', '.join(bases)}")
            else:
                raise BadLineError(line, f"expected a setting or CONTENT BEGIN, found {raw!r}")
            continue
        if re.fullmatch(r"(?i)END\s*;", raw):
            ended = True
            break
        match = re.fullmatch(r"\s*(\w+)\s*:\s*(\w+)\s*;", raw)
        if not match:
            raise BadLineError(line, f"expected 'address : word;', found {raw!r}")
        address = _number(match.group(1), bases[settings["ADDRESS_RADIX"]], line)
        found[address] = _number(match.group(2), bases[settings["DATA_RADIX"]], line)
    if not ended:
        raise BadLineError(line, "no END;")
    if settings.get("DEPTH") != str(len(found)):
        raise BadLineError(line, f"DEPTH is {settings.get('DEPTH')}, but there are {len(found)} words")
    return _filled(found, line)


def _write_raw(words: Sequence[int], bits: int, text: str) -> bytes:
    return b"".join(word.to_bytes(-(-bits // 8), "little") for word in words)


def _read_raw(data: bytes, bits: int) -> list[int]:
    size = -(-bits // 8)
    if len(data) % size:
        raise BadLineError(1, f"{len(data)} bytes are no whole number of words of {size} bytes")
    return [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]


def _write_intel_hex(words: Sequence[int], bits: int, text: str) -> bytes:
    data = _write_raw(words, bits, text)
    records, upper = [], -1
    for start in range(0, len(data), 16):
        if start >> 16 != upper:
            upper = start >> 16
            records.append(_record(0, 4, upper.to_bytes(2, "big")))
        records.append(_record(start & 0xFFFF, 0, data[start : start + 16]))
    return "".join(f"{r}\n" for r in [*records, _record(0, 1, b"")]).encode()


def _record(address: int, kind: int, data: bytes) -> str:
    body = bytes([len(data), address >> 8, address & 0xFF, kind]) + data
    return f":{(body + bytes([-sum(body) & 0xFF])).hex().upper()}"


def _read_intel_hex(data: bytes, bits: int) -> list[int]:
    found: dict[int, int] = {}
    upper, ended, line = 0, False, 1
    for line, text in _lines(data):
        if ended:
            raise BadLineError(line, "a record after the end record")
        try:
            body = bytes.fromhex(text[1:])
        except ValueError:
            body = b""
        if not text.startswith(":") or len(body) < 5 or len(body) != body[0] + 5:
            raise BadLineError(line, f"{text[:20]!r} is no Intel HEX record")
        if sum(body) & 0xFF:
            raise BadLineError(line, f"wrong checksum {body[-1]:02X}, expected {-sum(body[:-1]) & 0xFF:02X}")
        address, kind, payload = int.from_bytes(body[1:3], "big"), body[3], body[4:-1]
        if kind == 0:
            found.update({upper + address + i: byte for i, byte in enumerate(payload)})
        elif kind == 4:
            upper = int.from_bytes(payload, "big") << 16
        elif kind == 1:
            ended = True
        else:
            raise BadLineError(line, f"record type {kind}, expected 0, 1 or 4")
    if not ended:
        raise BadLineError(line, "no end record")
    return _read_raw(np.array(_filled(found, line), dtype=np.uint8).tobytes(), bits)


FORMATS = {
    "readmemh": FileFormat(_write_readmemh, _read_readmemh, True),
    "amd_mif": FileFormat(_write_amd_mif, _read_amd_mif, False),
    "coe": FileFormat(_write_coe, _read_coe, True),
    "altera_mif": FileFormat(_write_altera_mif, _read_altera_mif, True),
    "intel_hex": FileFormat(_write_intel_hex, _read_intel_hex, False),
    "raw": FileFormat(_write_raw, _read_raw, False),
}
