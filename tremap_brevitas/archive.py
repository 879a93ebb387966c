"""Save and load values: arrays as a compressed ``.npz`` with a JSON header and without pickle, others as JSON."""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.files import atomic_file
from tremap_brevitas.reading import check_regular, read_file, reading

MAX_BYTES = 8 << 30
MAX_JSON_BYTES = 1 << 30
MAX_RATIO = 1032  # Deflate cannot do better: 258 bytes for two bits
_HEADER = "header"
_NPY_HEADER = 66_000  # bytes: the most that version 1 of NumPy's format needs; version 2 is for structured arrays


class Digested(Protocol):
    """A value with a digest of its content."""

    @property
    def digest(self) -> str:
        """SHA-256 over the content of the value."""


class DigestedHeader(Protocol):
    """Header of an archive file; the digest may be missing in files of earlier versions."""

    @property
    def digest(self) -> str | None:
        """The digest that the value must have."""


Value = TypeVar("Value")
DigestedValue = TypeVar("DigestedValue", bound=Digested)
Content = TypeVar("Content")
Header = TypeVar("Header", bound=DigestedHeader)


def save_archive(
    value: Digested,
    path: str | os.PathLike[str],
    *,
    kind: str,
    schema: int,
    header: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
) -> Path:
    """Save a value as [write_archive][tremap_brevitas.archive.write_archive] does, with its digest in the header."""
    return write_archive(path, kind=kind, schema=schema, header={**header, "digest": value.digest}, arrays=arrays)


def load_archive(
    path: str | os.PathLike[str],
    make: Callable[[Header, dict[str, NDArray[Any]]], DigestedValue],
    *,
    kind: str,
    schema: int,
    header: type[Header],
) -> DigestedValue:
    """Load a value that ``save_archive`` wrote.

    Args:
        path: The file.
        make: Function from header and arrays to the value.
        kind: Kind of value that the file should hold.
        schema: Newest schema that ``make`` understands.
        header: Type of the header, a ``msgspec.Struct`` with a ``digest``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds something else, has a newer schema, or the value has another digest than the
            header says.
    """
    said, arrays = read_archive(path, kind=kind, schema=schema)
    with reading(path, f"a {kind}"):
        head = msgspec.convert(said, header)
        value = make(head, arrays)
        if head.digest not in (None, value.digest):
            raise ValueError(f"content has digest {value.digest}, header says {head.digest}")
    return value


def archive_kind(path: str | os.PathLike[str]) -> str | None:
    """Return the kind of value that an archive holds; None if it is not an archive, or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(_array(_HEADER, archive.read(f"{_HEADER}.npy")).tobytes().decode())["kind"])
    except Exception:  # a damaged file can cause any error in a library
        return None


def save_json(path: str | os.PathLike[str], content: Mapping[str, Any], *, indent: int | None = None) -> Path:
    """Save a value as a JSON file, atomically."""
    with atomic_file(path) as draft:
        draft.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")
    return Path(path)


def load_json(path: str | os.PathLike[str], make: Callable[[Content], Value], *, what: str, content: type[Content]) -> Value:
    """Load a value that ``save_json`` wrote.

    Args:
        path: The file.
        make: Function from the content to the value.
        what: What the file should be, with its article, such as ``"a resilience curve"``.
        content: Type of the content, a ``msgspec.Struct``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds anything else.
    """
    data = read_file(path, limit=MAX_JSON_BYTES)
    with reading(path, what):
        return make(msgspec.convert(json.loads(data), content))


def write_archive(
    path: str | os.PathLike[str],
    *,
    kind: str,
    schema: int,
    header: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    compress: bool = True,
) -> Path:
    """Write ``header`` and ``arrays`` to a file, atomically.

    The header also lists the arrays: the directory of a zip file has no checksum, and one damaged byte in it can hide an
    array.

    Args:
        path: File to write, used unchanged (no ending is added); an existing file is replaced.
        kind: What the file holds, such as ``"tremap fault map"``; checked when it is read.
        schema: Version of the layout of header and arrays, from 1 upwards.
        header: Anything JSON can hold.
        arrays: Arrays of numbers by name.
        compress: Whether to compress them; arrays that are not compressed can be mapped by [mapped_archive][].

    Returns:
        The path written.

    Raises:
        ValueError: If an array holds objects, which only a pickle could keep.
    """
    target = Path(path)
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f"{target}: array {name!r} is of dtype {array.dtype}; object arrays need a pickle, numbers do not")
    text = json.dumps({"kind": kind, "schema": schema, "arrays": sorted(arrays), **header}, sort_keys=True)
    members = {_HEADER: np.frombuffer(text.encode(), dtype=np.uint8), **arrays}
    with atomic_file(target) as draft, draft.open("wb") as file:
        # Without allow_pickle=False, which NumPy below 2.1 takes for one more array. Numbers need no pickle.
        (np.savez_compressed if compress else np.savez)(file, **members)  # type: ignore[arg-type]
    return target


def read_archive(path: str | os.PathLike[str], *, kind: str, schema: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a file that [write_archive][] wrote.

    Args:
        path: File to read.
        kind: What the caller expects the file to hold.
        schema: Newest schema that the caller understands.

    Returns:
        The header with its ``"schema"``, and the arrays by name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds something else, or has a newer schema.
    """
    data = read_file(path, limit=MAX_BYTES)
    return _read(path, lambda: _arrays(data), kind=kind, schema=schema)


def mapped_archive(path: str | os.PathLike[str], *, kind: str, schema: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a file that [write_archive][] wrote, with the arrays memory-mapped, read-only.

    This makes an array of a large file available at once. Its checksum is not compared: to notice damage, compare a digest.
    Compressed arrays are read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As read_archive, except for damage inside an array.
    """
    check_regular(path)
    return _read(path, lambda: _mapped(Path(path)), kind=kind, schema=schema)


def _read(
    path: str | os.PathLike[str], arrays_of: Callable[[], dict[str, NDArray[Any]]], *, kind: str, schema: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    with reading(path, f"a {kind} file"):
        arrays = arrays_of()
        header = json.loads(arrays.pop(_HEADER).tobytes().decode())
        arrays.pop("allow_pickle", None)  # see write_archive: files of earlier versions, under NumPy below 2.1
        said_kind, said_schema = header.pop("kind"), header["schema"]
        said = header.pop("arrays", None)  # files of earlier versions do not list them
        if said is not None and said != sorted(arrays):
            raise ValueError(f"its header announces the arrays {said}, but it holds {sorted(arrays)}")
    if said_kind != kind:
        raise ValueError(f"{path}: holds a {said_kind}, expected a {kind}")
    if type(said_schema) is not int or not 1 <= said_schema <= schema:
        raise ValueError(f"{path}: schema {said_schema} of {kind}, but this version reads 1 to {schema} only")
    return header, arrays


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """Memory-map the arrays of an ``.npz`` file where they are not compressed.

    Raises:
        Exception: Of any class, if it is damaged.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise ValueError("it is empty")
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"it holds {name!r} twice")
            if member.compress_type != zipfile.ZIP_STORED:
                _check_ratio(member)
                arrays[name] = _array(name, archive.read(member))
                continue
            begin = member.header_offset + 30  # the local header, then the name and what else it says
            lengths = struct.unpack_from("<HH", memory, member.header_offset + 26)
            if bytes(memory[member.header_offset : member.header_offset + 4]) != b"PK\3\4":
                raise ValueError(f"{member.filename!r} is not where the directory says")
            begin += sum(lengths)
            if begin + member.file_size > size:
                raise ValueError(f"{member.filename!r} declares {member.file_size} bytes, more than it can hold")
            arrays[name] = _view(name, memory[begin : begin + member.file_size])
    return arrays


def _check_ratio(member: zipfile.ZipInfo) -> None:
    if member.file_size > member.compress_size * MAX_RATIO + MAX_RATIO:
        raise ValueError(f"{member.filename!r} declares {member.file_size} bytes, more than it can hold")


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Read the arrays of an ``.npz`` file, without allocating more than the file can hold.

    Raises:
        Exception: Of any class, if it is damaged.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        (count,) = struct.unpack_from("<H", data, data.rfind(b"PK\5\6") + 10)  # the end record counts the members too
        if count != len(members):
            raise ValueError(f"its directory lists {len(members)} members, but counts {count}")
        for member in members:
            _check_ratio(member)
        total = sum(member.file_size for member in members)
        if total > MAX_BYTES:
            raise ValueError(f"it declares {total} bytes, more than the {MAX_BYTES} that such a file may have")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"it holds {name!r} twice")
            arrays[name] = _array(name, archive.read(member))
    return arrays


def _array(name: str, data: bytes) -> NDArray[Any]:
    return _view(name, memoryview(data)).copy()


def _view(name: str, data: memoryview) -> NDArray[Any]:
    file = io.BytesIO(data[:_NPY_HEADER])
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"array {name!r}: version {version} of NumPy's format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if dtype.kind not in "biufc":
        raise ValueError(f"array {name!r}: is of dtype {dtype}, and holds no numbers")
    held, declared = len(data) - file.tell(), math.prod(shape) * dtype.itemsize
    if held != declared or any(n < 0 for n in shape):
        raise ValueError(f"array {name!r}: declares shape {shape} of {dtype}, {declared} bytes, but holds {held}")
    return np.ndarray(shape, dtype, buffer=data, offset=file.tell(), order="F" if fortran_order else "C")
