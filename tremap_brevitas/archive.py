"""One way to put arrays into a file: a compressed ``.npz`` with a JSON header, no pickle, a schema version."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.files import whole_file

_HEADER = "header"


def write_archive(
    path: str | os.PathLike[str],
    *,
    kind: str,
    schema: int,
    header: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
) -> Path:
    """Write ``header`` and ``arrays`` to ``path``: the whole file appears at once, or nothing does.

    Args:
        path: File to write, taken as it stands (no ending is added); an existing file is replaced.
        kind: What the file holds, such as ``"tremap fault map"``; checked when it is read.
        schema: Version of the layout of header and arrays, from 1 upwards.
        header: Anything JSON can hold.
        arrays: Arrays of numbers by name.

    Returns:
        The path written.

    Raises:
        ValueError: If an array holds objects, which only a pickle could keep.
    """
    target = Path(path)
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f"{target}: array {name!r} is of dtype {array.dtype}; object arrays need a pickle, numbers do not")
    text = json.dumps({"kind": kind, "schema": schema, **header}, sort_keys=True)
    members = {_HEADER: np.frombuffer(text.encode(), dtype=np.uint8), **arrays}
    with whole_file(target) as draft, draft.open("wb") as file:
        # Without allow_pickle=False, which NumPy below 2.1 takes for one more array. Numbers need no pickle.
        np.savez_compressed(file, **members)  # type: ignore[arg-type]
    return target


def read_archive(path: str | os.PathLike[str], *, kind: str, schema: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what [write_archive][] wrote.

    Args:
        path: File to read.
        kind: What the caller expects the file to hold.
        schema: Newest schema that the caller understands.

    Returns:
        The header, and the arrays by name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds something else, or has a newer schema.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        arrays.pop("allow_pickle", None)  # see write_archive: files of earlier versions, under NumPy below 2.1
        header = json.loads(arrays.pop(_HEADER).tobytes().decode())
        found = header.pop("kind"), int(header.pop("schema"))
    except FileNotFoundError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        raise ValueError(f"{path}: not a {kind} file, or damaged ({type(error).__name__}: {error})") from None
    if found[0] != kind:
        raise ValueError(f"{path}: holds a {found[0]}, expected a {kind}")
    if not 1 <= found[1] <= schema:
        raise ValueError(f"{path}: schema {found[1]} of {kind}, but this version reads 1 to {schema} only")
    return header, arrays
