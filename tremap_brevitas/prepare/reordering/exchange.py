"""Find parts of a channel graph that have the same structure and the same connections, so that they may be exchanged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tremap_brevitas.prepare.reordering.identities import FIXED, Identities, Nodes

Mode = Literal["within blocks", "whole blocks"]


@dataclass(frozen=True)
class Alike:
    """Interchangeable units: they may be put in any order.

    Attributes:
        units: For each unit its classes; those of the same role stand at the same index in all of them.
    """

    units: tuple[tuple[int, ...], ...]


class Graph:
    """The equivalence classes of a traced model's nodes, and the constraints between them.

    Args:
        identities: The nodes.
        mode: Whether blocks stay and their members move within them, or blocks move as a whole.
        axes: Nodes along every axis of a parameter: none of them may stand at two places of an axis.
        stay: Nodes that must stay in addition to the frozen ones.
    """

    def __init__(self, identities: Identities, mode: Mode, axes: Iterable[Nodes], stay: Iterable[int]) -> None:
        self.identities = identities
        self._merge_parts()
        self.frozen = {identities.find(node) for node in range(len(identities)) if identities.why_frozen(node) is not None}
        self.frozen |= {identities.find(node) for node in stay}
        self.blocks = {identities.find(node) for node in identities.blocks}
        edges = {(self._class(e.source), e.label, self._class(e.target)) for e in identities.edges}
        sets = list(identities.sets.values())
        if mode == "whole blocks":
            for node, members in identities.blocks.items():
                # A block may stand for several rows: of queries and of keys. Members of one row are told apart by their place.
                kind = self._kind_of_block(node)
                here = self._class(node)
                edges |= {(here, ("member", kind, i), self._class(n)) for i, n in enumerate(members.tolist())}
        else:
            sets += list(identities.blocks.values())
            self.frozen |= self.blocks
        for nodes in [*axes, *identities.sets.values()]:
            twice = Counter(self._class(n) for n in nodes.tolist() if n != FIXED)
            self.frozen |= {c for c, times in twice.items() if times > 1}
        self._edges: dict[int, list[tuple[Any, int]]] = defaultdict(list)
        for source, label, target in edges:
            self._edges[source].append((("to", label), target))
            self._edges[target].append((("from", label), source))
        self._colours = self._coloured(sets)

    def alike(self) -> list[Alike]:
        """Return all sets of two or more units that may be put in any order."""
        by_look: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
        for unit in self._units():
            if not self.frozen.isdisjoint(unit):
                continue
            ordered = sorted(unit, key=self._colours.__getitem__)
            look = tuple(self._colours[c] for c in ordered)
            if len(set(look)) == len(look):  # else its own parts cannot be told apart
                by_look[look].append(tuple(ordered))
        return [Alike(tuple(units)) for units in by_look.values() if len(units) > 1]

    def reason(self, node: int) -> str:
        """Explain why a node is in no group."""
        unit = self._unit_of(self._class(node))
        for c in unit:
            why = self.identities.why_frozen(c)
            if why is not None:
                return why
        if not self.frozen.isdisjoint(unit):
            return "stands at two places of one axis"
        return "no other channel is tied in the same way"

    def _class(self, node: int) -> int:
        return self.identities.find(node)

    def _kind_of_block(self, node: int) -> int:
        """Return the kind of a block: blocks that were created together are of one kind."""
        if not hasattr(self, "_kinds"):
            self._kinds = {int(n): kind for kind, nodes in enumerate(self.identities.rows_of_blocks()) for n in nodes.tolist()}
        return self._kinds[node]

    def _merge_parts(self) -> None:
        """Merge the parts of a class that have the same label."""
        find = self.identities.find
        while True:
            known: dict[tuple[int, Any], int] = {}
            changed = False
            for edge in self.identities.edges:
                key, target = (find(edge.source), edge.label), find(edge.target)
                other = known.setdefault(key, target)
                if find(other) != target:
                    self.identities.unify(np.array([other]), np.array([target]), "two parts of one channel")
                    changed = True
            if not changed:
                return

    def _coloured(self, sets: Iterable[Nodes]) -> dict[int, int]:
        """Refine the classes until two of them share a number only if they have the same sets and connections."""
        member_of: dict[int, set[int]] = defaultdict(set)
        for number, nodes in enumerate(sets):
            for node in set(nodes.tolist()) - {FIXED}:
                member_of[self._class(node)].add(number)
        classes = {self._class(node) for node in range(len(self.identities))}
        colours = _numbered({c: (c if c in self.frozen else -1, tuple(sorted(member_of[c]))) for c in classes})
        while True:
            finer = _numbered(
                {
                    c: (
                        colours[c],
                        tuple(sorted(((repr(label), colours[other]) for label, other in self._edges.get(c, ())))),
                    )
                    for c in classes
                }
            )
            if len(set(finer.values())) == len(set(colours.values())):
                return finer
            colours = finer

    def _units(self) -> list[list[int]]:
        """Return the connected components of the classes."""
        seen: set[int] = set()
        units = []
        for start in self._colours:
            if start in seen:
                continue
            units.append(self._unit_of(start))
            seen.update(units[-1])
        return units

    def _unit_of(self, start: int) -> list[int]:
        unit, queue, seen = [], [start], {start}
        while queue:
            here = queue.pop()
            unit.append(here)
            for _, other in self._edges.get(here, ()):
                if other not in seen:
                    seen.add(other)
                    queue.append(other)
        return unit


def _numbered(looks: Mapping[int, Any]) -> dict[int, int]:
    numbers: dict[Any, int] = {}
    return {c: numbers.setdefault(look, len(numbers)) for c, look in looks.items()}
