"""Read large text files: gzip, encodings, line ends, blocks, progress, and errors with ``path:line``."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, NamedTuple

from tqdm import tqdm

BLOCK = 1 << 22
MAX_LINE = 1 << 20

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class FormatError(ValueError):
    """Raised for a file that does not follow its format. The message begins with ``path:line:`` or ``path:``."""


class Block(NamedTuple):
    r"""Some complete lines of a file.

    Attributes:
        line: Number of the first.
        text: The lines, as UTF-8, each with ``\n`` at its end.
        cut: Whether the last of them has no line end in the file, and so may have been cut short.
    """

    line: int
    text: bytes
    cut: bool


@contextmanager
def opened(path: str | os.PathLike[str], *, progress: bool = False) -> Iterator[IO[bytes]]:
    """Open a file, plain or gzip (detected by its first bytes), with an optional progress bar over the bytes on disk.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If the gzip stream is damaged.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        bar = {"total": size, "desc": Path(path).name, "leave": False, "unit": "B", "unit_scale": True}
        with tqdm.wrapattr(file, "read", **bar) if progress else nullcontext(file) as watched:
            try:
                if zipped:
                    with gzip.GzipFile(fileobj=watched, mode="rb") as stream:
                        yield stream  # type: ignore[misc]
                else:
                    yield watched
            except (gzip.BadGzipFile, zlib.error, EOFError) as error:
                raise FormatError(f"{path}: damaged gzip file ({error})") from None


def decoded(stream: IO[bytes], path: str | os.PathLike[str]) -> Iterator[bytes]:
    r"""Yield the text of a file as UTF-8 with ``\n`` line ends, some megabytes at a time.

    UTF-8 with or without its mark, UTF-16 with it (spreadsheets write both), and line ends of any system. Bytes that are not
    UTF-8 are left unchanged, because they may be part of a comment.

    Raises:
        FormatError: If the file holds a zero byte, or is damaged UTF-16.
    """
    line, decoder = 1, None
    while True:
        chunk = stream.read(max(BLOCK, 4))
        if decoder is None:
            encoding = next((name for mark, name in _MARKS.items() if chunk.startswith(mark)), "utf-8-sig")
            inner = codecs.getincrementaldecoder(encoding)("surrogateescape")
            decoder = io.IncrementalNewlineDecoder(inner, translate=True)
        try:
            text: bytes = decoder.decode(chunk, final=not chunk).encode("utf-8", "surrogateescape")
        except UnicodeError as error:
            raise FormatError(
                f"{path}:{line}: not the {encoding.upper()} text that its first bytes indicate ({error})"
            ) from None
        if b"\0" in text:
            line += text[: text.index(b"\0")].count(b"\n")
            raise FormatError(f"{path}:{line}: a zero byte; this is not text, or UTF-16 without a byte order mark")
        line += text.count(b"\n")
        if text:
            yield text
        if not chunk:
            return


def first_bytes(path: str | os.PathLike[str], count: int = 1 << 14) -> bytes:
    """Return the first bytes of a file, decoded if it is text; of a long file only complete lines.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If the gzip stream is damaged.
    """
    with opened(path) as stream:
        raw = stream.read(count)
    try:
        text = b"".join(decoded(io.BytesIO(raw), path))
    except FormatError:
        return raw
    return text[: text.rfind(b"\n") + 1] if len(raw) == count else text


def blocks(stream: IO[bytes], path: str | os.PathLike[str]) -> Iterator[Block]:
    """Yield complete lines, a few megabytes at a time.

    Raises:
        FormatError: If a line is longer than 1 MiB, or the file is not text.
    """
    line, rest = 1, b""
    for chunk in decoded(stream, path):
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            rest += chunk
            if len(rest) > MAX_LINE:
                raise FormatError(f"{path}:{line}: a line of more than {MAX_LINE} bytes")
            continue
        block, rest = rest + chunk[:cut], chunk[cut:]
        yield Block(line, block, False)
        line += block.count(b"\n")
    if rest:
        yield Block(line, rest + b"\n", True)


def chip_name(path: str | os.PathLike[str]) -> str:
    """Derive the name of a chip from its file name: without ``.gz`` and one more alphabetic extension."""
    return re.sub(r"\.[A-Za-z]+$", "", re.sub(r"\.gz$", "", Path(path).name))


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Check that an option has one of its allowed values.

    Raises:
        ValueError: If it is none of the choices.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
