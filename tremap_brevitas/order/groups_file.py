"""Save groups of channels, so that orders can be found without the model, and compute their digest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.archive import read_archive, write_archive
from tremap_brevitas.order.groups import ChannelGroup, Side
from tremap_brevitas.reading import reading

KIND = "tremap channel groups"
SCHEMA = 1


class _Side(msgspec.Struct):
    layer: str
    axis: int
    parts: int
    within: int | None = None  # axis
    only: int = 0  # number of indices on it


class _Group(msgspec.Struct):
    name: str
    channels: int
    sides: list[_Side]
    values: list[_Side]


class _Header(msgspec.Struct):
    groups: list[_Group]
    digest: str


def save_groups(groups: Sequence[ChannelGroup], path: str | os.PathLike[str]) -> Path:
    """Write groups of channels to one compressed file without pickle, atomically.

    Examples:
        >>> import tempfile
        >>> group = ChannelGroup("a", 2, (Side("a", 0, np.array([[0], [1]])),))
        >>> path = save_groups([group], Path(tempfile.mkdtemp()) / "groups.npz")
        >>> groups_digest(load_groups(path)) == groups_digest([group])
        True
    """
    header = {"groups": msgspec.to_builtins(_described(groups)), "digest": groups_digest(groups)}
    return write_archive(path, kind=KIND, schema=SCHEMA, header=header, arrays={"index": _indices(groups).astype(np.int32)})


def load_groups(path: str | os.PathLike[str]) -> tuple[ChannelGroup, ...]:
    """Read groups that [save_groups][tremap_brevitas.order.save_groups] wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds no groups, has a newer schema, or its content does not match its digest.
    """
    header, arrays = read_archive(path, kind=KIND, schema=SCHEMA)
    with reading(path, f"a file of {KIND}"):
        said = msgspec.convert(header, _Header)
        index = arrays["index"]
        needed = sum(group.channels * side.parts + side.only for group in said.groups for side in (*group.sides, *group.values))
        if index.shape != (needed,):
            raise ValueError(f"its groups have {needed} indices, but it holds {index.shape}")
        begin = 0

        def taken(count: int) -> NDArray[Any]:
            nonlocal begin
            begin += count
            return index[begin - count : begin]

        def side(text: _Side, channels: int) -> Side:
            own = taken(channels * text.parts).reshape(channels, text.parts)
            return Side(text.layer, text.axis, own, None if text.within is None else (text.within, taken(text.only)))

        groups = tuple(
            ChannelGroup(
                group.name,
                group.channels,
                tuple(side(text, group.channels) for text in group.sides),
                tuple(side(text, group.channels) for text in group.values),
            )
            for group in said.groups
        )
        if groups_digest(groups) != said.digest:
            raise ValueError(f"content has digest {groups_digest(groups)}, header says {said.digest}")
    return groups


def groups_digest(groups: Sequence[ChannelGroup]) -> str:
    """SHA-256 over the content of groups of channels, as 64 hexadecimal digits."""
    sha = hashlib.sha256(json.dumps(msgspec.to_builtins(_described(groups)), sort_keys=True).encode())
    sha.update(_indices(groups).astype("<i8").tobytes())
    return sha.hexdigest()


def _described(groups: Sequence[ChannelGroup]) -> list[_Group]:
    def described(side: Side) -> _Side:
        axis, only = (None, 0) if side.within is None else (side.within[0], len(side.within[1]))
        return _Side(side.layer, side.axis, side.index.shape[1], axis, only)

    return [
        _Group(group.name, group.channels, [described(s) for s in group.sides], [described(s) for s in group.values])
        for group in groups
    ]


def _indices(groups: Sequence[ChannelGroup]) -> NDArray[np.int64]:
    pieces = [np.empty(0, dtype=np.int64)]
    for group in groups:
        for side in (*group.sides, *group.values):
            pieces.append(side.index.reshape(-1))
            if side.within is not None:
                pieces.append(side.within[1])
    return np.concatenate(pieces)
