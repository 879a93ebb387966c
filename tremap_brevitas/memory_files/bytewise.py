"""Words as bytes, lowest first: raw, or as Intel HEX records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tremap_brevitas.memory_files.lines import BadLineError, lines_of, text_of
from tremap_brevitas.printable import counted

if TYPE_CHECKING:
    import bincopy
else:  # it brings a reader of ELF files along, which takes as long as all the rest of the command
    import lazy_loader

    bincopy = lazy_loader.load("bincopy")

# Numbers of payload bytes that each type of record may have; None for any.
_SIZES = {0: None, 1: 0, 2: 2, 3: 4, 4: 2, 5: 4}


def write_raw(words: Sequence[int], bits: int, text: str) -> bytes:
    """Write the bytes of the words; the format has no comments."""
    return b"".join(word.to_bytes(-(-bits // 8), "little") for word in words)


def read_raw(data: bytes, bits: int, line: int = 1) -> list[int]:
    """Read words from bytes.

    Raises:
        BadLineError: If they do not make up whole words, or a word has more bits.
    """
    size = -(-bits // 8)
    if len(data) % size:
        raise BadLineError(line, f"{counted(len(data), 'byte')} cannot be divided into words of {counted(size, 'byte')}")
    words = [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]
    for address, word in enumerate(words):
        if word >> bits:
            raise BadLineError(line, f"word {address} is {word:#x}, which has more than {counted(bits, 'bit')}")
    return words


def write_intel_hex(words: Sequence[int], bits: int, text: str) -> bytes:
    """Write data and extended linear address records; the format has no comments."""
    data = write_raw(words, bits, text)
    records, upper = [], -1
    for start in range(0, len(data), 16):
        if start >> 16 != upper:
            upper = start >> 16
            records.append(_record(0, 4, upper.to_bytes(2, "big")))
        records.append(_record(start & 0xFFFF, 0, data[start : start + 16]))
    return "".join(f"{r}\n" for r in [*records, _record(0, 1, b"")]).encode()


def read_intel_hex(data: bytes, bits: int) -> list[int]:
    """Read words from records of types 00 to 05. Start addresses (03 and 05) are ignored.

    Raises:
        BadLineError: If a line is not a record, or a byte is given twice or missing.
    """
    image = bincopy.BinFile()
    upper, segmented, ended, line, count = 0, False, False, 1, 0
    for line, text in lines_of(text_of(data)):
        if ended:
            raise BadLineError(line, "a record after the end record")
        kind, address, payload = _parse_record(text, line)
        if kind == 0:
            if segmented and address + len(payload) > 1 << 16:
                raise BadLineError(line, "a record that runs over the end of its segment of 64 KiB")
            count += len(payload)
            _add(image, upper + address, payload, count, line)
        elif kind in (2, 4):
            segmented = kind == 2
            upper = int.from_bytes(payload, "big") << (4 if segmented else 16)
        elif kind == 1:
            ended = True
    if not ended:
        raise BadLineError(line, "no end record")
    start = 0
    for segment in image.segments:
        if segment.address != start:
            raise BadLineError(line, f"no byte for address {start}, but one for a higher address")
        start = segment.address + len(segment)
    return read_raw(bytes(image.as_binary()), bits, line)


def _add(image: bincopy.BinFile, address: int, payload: bytes, count: int, line: int) -> None:
    try:
        if payload:
            image.add_binary(payload, address)
        # bincopy 20 notices an overlap with what lies below, and loses bytes where one runs into what lies above.
        if len(image) == count:
            return
    except bincopy.Error:
        pass
    raise BadLineError(line, f"bytes {address:#x} to {address + len(payload) - 1:#x}: some were given before")


def _parse_record(text: str, line: int) -> tuple[int, int, bytes]:
    if not text.isascii() or " " in text:
        raise BadLineError(line, f"{text[:20]!r} is not an Intel HEX record")
    try:
        kind, address, _, payload = bincopy.unpack_ihex(text)
    except bincopy.Error as error:
        if "crc" not in str(error):
            raise BadLineError(line, f"{text[:20]!r} is not an Intel HEX record") from None
        wrong = sum(bytes.fromhex(text[1:-2]))
        raise BadLineError(line, f"wrong checksum {text[-2:].upper()}, expected {-wrong & 0xFF:02X}") from None
    except ValueError:
        raise BadLineError(line, f"{text[:20]!r} is not an Intel HEX record") from None
    if kind not in _SIZES:
        raise BadLineError(line, f"record type {kind}, expected 0 to 5")
    if _SIZES[kind] not in (None, len(payload)):
        raise BadLineError(line, f"a record of type {kind} with {counted(len(payload), 'byte')}, expected {_SIZES[kind]}")
    return kind, address, bytes(payload)


def _record(address: int, kind: int, data: bytes) -> str:
    body = bytes([len(data), address >> 8, address & 0xFF, kind]) + data
    return f":{(body + bytes([-sum(body) & 0xFF])).hex().upper()}"
