"""Merge the fault maps of a group of chips."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.archive import load_archive, save_archive
from tremap_brevitas.faults.fault_map import FaultMap, OnConflict, check_same_memory
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.printable import counted

KIND = "tremap merged fault map"
SCHEMA = 1


@dataclass(frozen=True, eq=False, repr=False)
class MergedFaultMap(FaultMap):
    """The union of the members' faults, with every conflict resolved. Made by [merge][tremap_brevitas.merge].

    It is a fault map like any other: ``cells`` and ``stuck_at`` are what a network is trained under.

    Attributes:
        members: The chips' own maps, each once.
        conflicts: Sorted cells that are stuck at 0 on one member and at 1 on another.
        on_conflict: How they were resolved. Under ``"free"`` they are not among ``cells``.
    """

    members: tuple[FaultMap, ...] = ()
    conflicts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    on_conflict: OnConflict = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        conflicts = np.array(self.conflicts, dtype=np.int64)
        conflicts.flags.writeable = False
        object.__setattr__(self, "conflicts", conflicts)

    @property
    def union_rate(self) -> float:
        """Cells stuck on any member, including conflicts, divided by all cells of the memory."""
        freed = len(self.conflicts) if self.on_conflict == "free" else 0
        return (len(self) + freed) / self.memory.cells

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the members and the conflict rule to one compressed file; loading it merges them again."""
        header = {
            "on_conflict": self.on_conflict,
            "memory": [self.memory.words, self.memory.word_bits, self.memory.banks],
            "members": [{"chip": m.chip, "metadata": dict(m.metadata), "digest": m.digest} for m in self.members],
        }
        arrays: dict[str, NDArray[Any]] = {}
        for index, member in enumerate(self.members):
            arrays[f"cells_{index}"], arrays[f"stuck_at_{index}"] = member.cells, member.stuck_at
        return save_archive(self, path, kind=KIND, schema=SCHEMA, header=header, arrays=arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MergedFaultMap:
        """Read a merged map that [save][tremap_brevitas.MergedFaultMap.save] wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, is not a merged fault map, or has a newer schema.
        """
        return load_archive(path, _loaded, kind=KIND, schema=SCHEMA, header=_Header)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MergedFaultMap):
            return NotImplemented
        return super().__eq__(other) and (self.members, self.on_conflict) == (other.members, other.on_conflict)

    __hash__ = FaultMap.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        construct, values = super().__reduce__()
        return construct, (*values, self.members, self.conflicts, self.on_conflict)

    def __repr__(self) -> str:
        return (
            f"MergedFaultMap({counted(len(self.members), 'chip')}, {self._described()}, "
            f"{counted(len(self.conflicts), 'conflict')}: {self.on_conflict})"
        )


class _Member(msgspec.Struct):
    chip: str
    metadata: dict[str, str]
    digest: str | None = None  # files of earlier versions have that of the union alone


class _Header(msgspec.Struct):
    """Header of a merged map's file, which accompanies its arrays."""

    memory: list[int]
    members: list[_Member]
    on_conflict: OnConflict
    digest: str


def _loaded(header: _Header, arrays: Mapping[str, NDArray[Any]]) -> MergedFaultMap:
    memory = Memory(*header.memory)
    members = []
    for i, said in enumerate(header.members):
        member = FaultMap(memory, arrays[f"cells_{i}"], arrays[f"stuck_at_{i}"], said.chip, said.metadata)
        if said.digest not in (None, member.digest):
            raise ValueError(f"member {i} has digest {member.digest}, header says {said.digest}")
        members.append(member)
    return _merged(tuple(members), header.on_conflict)


def merge(maps: Iterable[FaultMap], *, on_conflict: OnConflict) -> MergedFaultMap:
    """Merge the fault maps of a group of chips into one, as TRE-Map does (Hoang et al., DSD 2021).

    A stored code that satisfies the union's stuck bits reads back unchanged on every member. Only a
    **conflict**, a cell stuck at 0 on one member and at 1 on another, cannot be satisfied on all of them. How to
    settle conflicts is this project's own choice, and has no default:

    - ``"error"``: refuse.
    - ``"majority"``: the value that more members have; 0 where both have equally many.
    - ``"sa0"``, ``"sa1"``: always that value.
    - ``"free"``: leave the cell healthy in training.

    Without conflicts merging is commutative, associative and idempotent. Merging merged maps merges their
    members. The time is that of sorting the faults; the size of the memory does not matter.

    Args:
        maps: Fault maps of one memory. A chip that appears twice, by name and stuck cells, counts once, whatever the metadata;
            maps of one chip with other stuck cells, such as those at several voltages, are several members.
        on_conflict: What to do with conflicts.

    Raises:
        ValueError: If the group is empty, two maps differ in memory, ``on_conflict`` is none of the above, or
            it is ``"error"`` and there are conflicts.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> memory = Memory(words=4, word_bits=8)
        >>> a = FaultMap(memory, cells=[1, 9], stuck_at=[0, 1], chip="a")
        >>> b = FaultMap(memory, cells=[9, 20], stuck_at=[0, 1], chip="b")
        >>> merged = merge([a, b], on_conflict="free")
        >>> merged.cells, merged.conflicts, merged.union_rate
        (array([ 1, 20]), array([9]), 0.09375)
    """
    return _merged(_members(maps), on_conflict)


def _merged(members: tuple[FaultMap, ...], on_conflict: OnConflict) -> MergedFaultMap:
    if on_conflict not in get_args(OnConflict):
        raise ValueError(f"on_conflict must be one of {', '.join(get_args(OnConflict))}, got {on_conflict!r}")
    memory = check_same_memory(members)
    cells = np.concatenate([m.cells for m in members])
    stuck_at = np.concatenate([m.stuck_at for m in members])
    # A stable sort of sorted runs is a merge: NumPy's "stable" takes time linear in what is already in order.
    order = np.argsort(cells, kind="stable")
    cells, stuck_at = cells[order], stuck_at[order]
    first = np.flatnonzero(np.append(True, cells[1:] != cells[:-1])) if len(cells) else np.empty(0, np.int64)
    union = cells[first]
    votes = np.diff(np.append(first, len(cells)))
    ones = np.add.reduceat(stuck_at, first, dtype=np.int64) if len(first) else np.empty(0, np.int64)
    conflict = (ones > 0) & (ones < votes)
    conflicts = union[conflict]
    if on_conflict == "error" and len(conflicts):
        cell = int(conflicts[0])
        names = {value: _holders(members, cell, value) for value in (0, 1)}
        raise ValueError(
            f"{counted(len(conflicts), 'conflict')}, the first at cell {cell}: stuck at 0 on chip {names[0]!r}, at 1 on chip "
            f"{names[1]!r}; choose another on_conflict, or group the chips otherwise"
        )
    value = ones > 0
    if on_conflict == "majority":
        value = 2 * ones > votes
    elif on_conflict == "sa0":
        value = ones == votes
    keep = ~conflict if on_conflict == "free" else np.ones(len(union), dtype=bool)
    conflicts.flags.writeable = False
    return MergedFaultMap(
        memory,
        union[keep],
        value[keep].astype(np.uint8),
        chip="+".join(m.chip for m in members) if len(members) <= 4 else f"{len(members)} chips",
        members=members,
        conflicts=conflicts,
        on_conflict=on_conflict,
    )


def overlaid(first: FaultMap, second: FaultMap) -> FaultMap:
    """Return the cells stuck in either map; where both are stuck, the first map's value is used.

    Raises:
        ValueError: If the maps differ in memory.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> memory = Memory(words=4, word_bits=8)
        >>> both = overlaid(FaultMap(memory, [1, 9], [0, 1]), FaultMap(memory, [9, 20], [0, 1]))
        >>> both.cells, both.stuck_at
        (array([ 1,  9, 20]), array([0, 1, 1], dtype=uint8))
    """
    memory = check_same_memory([first, second])
    new = ~np.isin(second.cells, first.cells, assume_unique=True, kind="sort")
    return FaultMap(
        memory,
        np.concatenate([first.cells, second.cells[new]]),
        np.concatenate([first.stuck_at, second.stuck_at[new]]),
        chip=f"{first.chip} and {second.chip}",
    )


def _members(maps: Iterable[FaultMap]) -> tuple[FaultMap, ...]:
    members: dict[object, FaultMap] = {}
    for fault_map in maps:
        for member in fault_map.members:
            # Two chips without a name may well have the same faults; only the same object is the same chip then.
            members.setdefault((member.chip, member.digest) if member.chip else id(member), member)
    return tuple(members.values())


def _holders(members: tuple[FaultMap, ...], cell: int, value: int) -> str:
    for member in members:
        at = int(np.searchsorted(member.cells, cell))
        if at < len(member) and member.cells[at] == cell and member.stuck_at[at] == value:
            return member.chip
    return ""
