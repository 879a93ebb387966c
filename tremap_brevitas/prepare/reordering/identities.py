"""Track channel identities: which channels must move together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Nodes = NDArray[np.int64]
FIXED = -1  # the identity of a place that never moves


@dataclass(frozen=True)
class Edge:
    """A constraint: ``target`` is part ``label`` of ``source`` and moves with it."""

    source: int
    label: Any
    target: int


@dataclass
class Identities:
    """A graph of positions along the axes of tensors, and the constraints between them.

    A change of order maps nodes to nodes. It keeps the network's function unchanged if nodes that were unified have one image,
    frozen ones stay, every set in ``sets`` is mapped onto itself, and edges are mapped onto edges of the same label. Blocks
    are the exception: either each block stays as a set, and its members may change places within it, or a block moves with
    all its members in their order.
    """

    edges: list[Edge] = field(default_factory=list)
    sets: dict[bytes, Nodes] = field(default_factory=dict)
    blocks: dict[int, Nodes] = field(default_factory=dict)
    opaque: list[tuple[Nodes, list[int], str]] = field(default_factory=list)
    _parent: list[int] = field(default_factory=list)
    _why: dict[int, str] = field(default_factory=dict)
    _children: dict[tuple[int, Any], int] = field(default_factory=dict)
    _blocks_by_members: dict[bytes, Nodes] = field(default_factory=dict)

    def new(self, count: int) -> Nodes:
        """Create new nodes."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def __len__(self) -> int:
        return len(self._parent)

    def find(self, node: int) -> int:
        """Return the representative of a node's class."""
        parent = self._parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def why_frozen(self, node: int) -> str | None:
        """Return why a node must stay, or None if it may move."""
        return self._why.get(self.find(node))

    def moves(self, nodes: Nodes) -> bool:
        """Check whether any of these nodes may still move."""
        return any(node != FIXED and self.why_frozen(node) is None for node in nodes.reshape(-1).tolist())

    def freeze(self, nodes: Iterable[int], why: str) -> None:
        """Mark nodes as fixed in place."""
        for node in nodes:
            if node != FIXED:
                self._why.setdefault(self.find(int(node)), why)

    def unify(self, one: Nodes, other: Nodes, why: str) -> None:
        """Tie nodes in pairs; a node that is paired with a fixed position is frozen.

        Args:
            one: Nodes.
            other: Nodes, in the same shape.
            why: Where they meet, for messages.
        """
        if one is other:
            return
        for a, b in zip(one.reshape(-1).tolist(), other.reshape(-1).tolist(), strict=True):
            if a == b:
                continue
            if a == FIXED or b == FIXED:
                self.freeze([max(a, b)], f"meets what does not move in {why}")
                continue
            a, b = self.find(a), self.find(b)
            if a != b:
                self._parent[b] = a
                if b in self._why:
                    self._why.setdefault(a, self._why.pop(b))

    def parts(self, of: Nodes, label: Any, count: int) -> Nodes:
        """Return ``count`` parts of each node, which move with it, in a new last axis; repeated calls return the same parts.

        Parts of a fixed place are fixed.
        """
        result = np.full((*of.shape, count), FIXED)
        flat = result.reshape(-1, count)
        for row, source in zip(flat, of.reshape(-1).tolist(), strict=True):
            if source == FIXED:
                continue
            for number in range(count):
                key = source, (label, number)
                if key not in self._children:
                    (self._children[key],) = self.new(1).tolist()
                    self.edges.append(Edge(source, (label, number), self._children[key]))
                row[number] = self._children[key]
        return result

    def blocks_of(self, members: Nodes) -> Nodes:
        """Return one node for each row of members; it represents the whole row."""
        if (members == FIXED).all():
            return np.full(len(members), FIXED)
        key = repr(members.shape).encode() + members.tobytes()
        if key not in self._blocks_by_members:
            nodes = self.new(len(members))
            for node, row in zip(nodes.tolist(), members, strict=True):
                self.blocks[node] = row
                if (row == FIXED).any():
                    self.freeze([node], "a block with a fixed member")
            self._blocks_by_members[key] = nodes
        return self._blocks_by_members[key]

    def hidden(self, count: int, nodes: list[int], why: str) -> Nodes:
        """Create nodes for positions whose original nodes are no longer traced.

        This has no effect if all of these positions are summed over, or used in another way that does not depend on their
        order. If one of them is tied to another node or told apart, ``nodes`` are frozen; see ``settle``.
        """
        fresh = self.new(count)
        self.opaque.append((fresh, nodes, why))
        return fresh

    def settle(self) -> None:
        """Freeze the nodes that are no longer traced but would have to be."""
        ends = {end for edge in self.edges for end in (edge.source, edge.target)}
        ends |= {int(node) for members in self.blocks.values() for node in members}
        size: dict[int, int] = {}
        for node in range(len(self)):
            size[self.find(node)] = size.get(self.find(node), 0) + 1
        for fresh, nodes, why in self.opaque:
            own = fresh.tolist()
            if not ends.isdisjoint(own) or any(size[self.find(n)] > 1 or self.why_frozen(n) is not None for n in own):
                self.freeze([*own, *nodes], why)
        self.opaque.clear()

    def rows_of_blocks(self) -> list[Nodes]:
        """Return the blocks, grouped as they were created."""
        return list(self._blocks_by_members.values())

    def seen(self, nodes: Nodes) -> None:
        """Record that these nodes form one axis, within which they must stay."""
        if nodes.size > 1:
            self.sets.setdefault(nodes.tobytes(), nodes.reshape(-1))
