"""The stuck cells of one chip."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tremap_brevitas.archive import load_archive, save_archive
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.printable import counted

KIND = "tremap fault map"
SCHEMA = 1

OnConflict = Literal["error", "majority", "sa0", "sa1", "free"]


@dataclass(frozen=True, eq=False, repr=False)
class FaultMap:
    """The stuck cells of one chip's weight memory, each stuck at 0 or at 1.

    A map is a value: it cannot be changed, an invalid one cannot be made, and two maps with the same memory,
    cells and stuck values have the same [digest][tremap_brevitas.FaultMap.digest]. The chip's name and the
    metadata are labels; they do not enter the digest.

    Args:
        memory: Geometry of the memory.
        cells: Indices of the stuck cells, in any order; stored sorted, as int64.
        stuck_at: The value, 0 or 1, at which each of ``cells`` is stuck.
        chip: Name of the chip.
        metadata: Strings about the map, such as ``{"voltage": "0.55 V"}``.

    Raises:
        TypeError: If ``cells`` or ``stuck_at`` does not hold integers.
        ValueError: If the two differ in length, or a cell is out of range, appears twice or has a stuck
            value other than 0 and 1.

    Examples:
        >>> chip = FaultMap(Memory(words=16, word_bits=8), cells=[17, 3], stuck_at=[1, 0], chip="A7")
        >>> chip
        FaultMap(chip 'A7', 16 words × 8 bits, 2 faults: 1 stuck at 0, 1 stuck at 1, rate 1.56e-02)
        >>> chip.cells, chip.stuck_at
        (array([ 3, 17]), array([0, 1], dtype=uint8))
    """

    memory: Memory
    cells: NDArray[np.int64]
    stuck_at: NDArray[np.uint8]
    chip: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"chip {self.chip!r}: " if self.chip else ""
        cells = _integers(self.cells, where + "cells")
        stuck_at = _integers(self.stuck_at, where + "stuck_at")
        if len(cells) != len(stuck_at):
            raise ValueError(f"{where}{counted(len(cells), 'cell')}, but {counted(len(stuck_at), 'stuck value')}")
        if len(cells) > 1 and not np.all(cells[1:] > cells[:-1]):
            order = np.argsort(cells, kind="stable")
            cells, stuck_at = cells[order], stuck_at[order]
        if len(cells) and (cells[0] < 0 or cells[-1] >= self.memory.cells):
            bad = cells[0] if cells[0] < 0 else cells[-1]
            raise ValueError(f"{where}cell {bad} is outside the memory of {counted(self.memory.cells, 'cell')} ({self.memory})")
        if np.any((stuck_at != 0) & (stuck_at != 1)):
            bad = int(np.flatnonzero((stuck_at != 0) & (stuck_at != 1))[0])
            raise ValueError(f"{where}cell {cells[bad]} is stuck at {stuck_at[bad]}, which is neither 0 nor 1")
        twice = np.flatnonzero(cells[1:] == cells[:-1])
        if len(twice):
            first, second = stuck_at[twice[0]], stuck_at[twice[0] + 1]
            values = f"at {first}" if first == second else f"once at {first} and once at {second}"
            raise ValueError(f"{where}cell {cells[twice[0]]} appears more than once ({values})")
        object.__setattr__(self, "cells", _read_only(cells, np.int64))
        object.__setattr__(self, "stuck_at", _read_only(stuck_at, np.uint8))
        object.__setattr__(self, "metadata", MappingProxyType({str(k): str(v) for k, v in self.metadata.items()}))

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def fault_rate(self) -> float:
        """Number of stuck cells divided by the number of cells."""
        return len(self) / self.memory.cells

    @property
    def members(self) -> tuple[FaultMap, ...]:
        """The maps of the chips that this map stands for: the members of a merged map, otherwise the map itself."""
        return (self,)

    @property
    def on_conflict(self) -> OnConflict | None:
        """How conflicts between the members were resolved; None for the map of a single chip."""
        return None

    @cached_property
    def conflicts(self) -> NDArray[np.int64]:
        """Sorted cells that are stuck at 0 on one member and at 1 on another; none for the map of a single chip."""
        return _read_only(np.empty(0), np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over geometry, cells and stuck values, as 64 hexadecimal digits."""
        sha = hashlib.sha256(f"{self.memory.words} {self.memory.word_bits}\n".encode())
        sha.update(self.cells.astype("<i8").tobytes())
        sha.update(self.stuck_at.tobytes())
        return sha.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FaultMap):
            return NotImplemented
        return (self.digest, self.chip, self.metadata) == (other.digest, other.chip, other.metadata)

    def __hash__(self) -> int:
        return hash((self.digest, self.chip))

    def __reduce__(self) -> tuple[Any, ...]:
        # MappingProxyType cannot be pickled or deep-copied; a plain dict holds the same.
        return type(self), (self.memory, self.cells, self.stuck_at, self.chip, dict(self.metadata))

    def __repr__(self) -> str:
        return f"FaultMap({self._described()})"

    def _described(self) -> str:
        ones = int(self.stuck_at.sum())
        chip = f"chip {self.chip!r}, " if self.chip else ""
        return (
            f"{chip}{self.memory}, {counted(len(self), 'fault')}: {len(self) - ones} stuck at 0, {ones} stuck at 1, "
            f"rate {self.fault_rate:.2e}"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the map to one compressed file without pickle.

        The file is written atomically. The path is used unchanged; ``.npz`` is the usual ending.
        """
        header = {
            "words": self.memory.words,
            "word_bits": self.memory.word_bits,
            "banks": self.memory.banks,
            "chip": self.chip,
            "metadata": dict(self.metadata),
        }
        arrays: dict[str, NDArray[Any]] = {"cells": self.cells, "stuck_at": self.stuck_at}
        return save_archive(self, path, kind=KIND, schema=SCHEMA, header=header, arrays=arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FaultMap:
        """Read a map that [save][tremap_brevitas.FaultMap.save] wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, is not a fault map, has a newer schema, or its content does
                not match its digest.
        """
        return load_archive(path, _loaded, kind=KIND, schema=SCHEMA, header=_Header)


class _Header(msgspec.Struct):
    """Header of a map's file, which accompanies its arrays."""

    words: int
    word_bits: int
    chip: str
    metadata: dict[str, str]
    digest: str
    banks: int = 1


def _loaded(header: _Header, arrays: Mapping[str, NDArray[Any]]) -> FaultMap:
    memory = Memory(words=header.words, word_bits=header.word_bits, banks=header.banks)
    return FaultMap(memory, arrays["cells"], arrays["stuck_at"], header.chip, header.metadata)


def check_memory(fault_map: FaultMap, memory: Memory, *, whose: str) -> None:
    """Check that a map has a given memory; ``whose`` names the memory's owner in the error ("the image's").

    Raises:
        ValueError: If it is not.
    """
    if fault_map.memory != memory:
        raise ValueError(f"the fault map of chip {fault_map.chip!r} is of a memory of {fault_map.memory}, {whose} has {memory}")


def check_same_memory(maps: Iterable[FaultMap]) -> Memory:
    """Return the memory of several maps, which must be the same.

    Raises:
        ValueError: If there is not a fault map, or two differ in geometry.
    """
    maps = list(maps)
    if not maps:
        raise ValueError("an empty group: give at least one fault map")
    for other in maps[1:]:
        if other.memory != maps[0].memory:
            raise ValueError(
                f"fault maps of different memories: chip {maps[0].chip!r} has {maps[0].memory}, "
                f"chip {other.chip!r} has {other.memory}"
            )
    return maps[0].memory


def _integers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iub":
        raise TypeError(f"{name} must hold integers, got {array.dtype}")
    return array.astype(np.int64)


def _read_only(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    result = np.array(array, dtype=dtype)
    result.flags.writeable = False
    return result
