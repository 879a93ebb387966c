"""Channel labels along each axis of a tensor, and their changes through reshapes, sums and products."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from tremap_brevitas.prepare.reordering.identities import FIXED, Identities, Nodes

_numbers = count()
Names = Sequence[Hashable]


@dataclass(frozen=True, eq=False)
class Factor:
    """Identities along one or several slots that move independently of all other slots.

    With several slots the identity belongs to a place in all of them together, as (head, channel of the head).
    """

    slots: tuple[int, ...]
    nodes: Nodes


@dataclass(frozen=True, eq=False)
class Labels:
    """Channel identities of a tensor.

    Attributes:
        dims: For each dimension the slots that it is made of, in row-major order; none if its size is 1.
        factors: Identities of all slots.
        spoiled: Nodes that must stay if this tensor is used at all, such as those that an ``argmax`` was taken over.
    """

    dims: tuple[tuple[int, ...], ...]
    factors: tuple[Factor, ...]
    spoiled: tuple[int, ...] = ()

    def factor_of(self, slot: int) -> Factor:
        """Return the factor that a slot belongs to."""
        return next(factor for factor in self.factors if slot in factor.slots)

    def size(self, slot: int) -> int:
        """Return the number of positions along a slot."""
        factor = self.factor_of(slot)
        return int(factor.nodes.shape[factor.slots.index(slot)])

    def shape(self) -> tuple[int, ...]:
        """Return the shape of the tensor."""
        return tuple(math.prod(self.size(slot) for slot in slots) for slots in self.dims)

    def all_nodes(self) -> list[int]:
        """Return every node."""
        return [node for factor in self.factors for node in factor.nodes.reshape(-1).tolist()]


def slot() -> int:
    """Return the number of a new slot."""
    return next(_numbers)


def labels_from_nodes(columns: Sequence[Nodes | None], spoiled: tuple[int, ...] = ()) -> Labels:
    """Create labels from the nodes along each dimension; a dimension of size 1 has None or one node."""
    dims: list[tuple[int, ...]] = []
    factors = []
    for nodes in columns:
        if nodes is None or len(nodes) == 1:
            dims.append(())
            continue
        number = slot()
        dims.append((number,))
        factors.append(Factor((number,), nodes))
    return Labels(tuple(dims), tuple(factors), spoiled)


def fixed(shape: Sequence[int]) -> Labels:
    """Create labels of a tensor in which nothing moves."""
    return labels_from_nodes([np.full(n, FIXED) for n in shape])


def fresh(shape: Sequence[int], identities: Identities) -> Labels:
    """Create labels of a tensor whose positions are not tied to anything yet."""
    return labels_from_nodes([identities.new(n) if n != 1 else None for n in shape])


def split_slot(labels: Labels, number: int, sizes: Sequence[int]) -> tuple[Labels, tuple[int, ...]]:
    """Split a slot, row-major, into several.

    Returns:
        The labels with it, and the numbers of the new slots.
    """
    factor = labels.factor_of(number)
    axis = factor.slots.index(number)
    nodes = factor.nodes.reshape(*factor.nodes.shape[:axis], *sizes, *factor.nodes.shape[axis + 1 :])
    new = tuple(slot() for _ in sizes)
    slots = (*factor.slots[:axis], *new, *factor.slots[axis + 1 :])
    others = tuple(other for other in labels.factors if other is not factor)
    if (nodes == FIXED).all():
        parts = tuple(Factor((s,), np.full(n, FIXED)) for s, n in zip(slots, nodes.shape, strict=True))
    else:
        parts = (Factor(slots, nodes),)
    dims = tuple(tuple(t for s in dim for t in (new if s == number else (s,))) for dim in labels.dims)
    return Labels(dims, (*others, *parts), labels.spoiled), new


def viewed(labels: Labels, shape: Sequence[int]) -> Labels | None:
    """Return labels after a reshape; None if it does not preserve the boundaries of slots."""
    if 0 in shape:
        return None
    pending = [s for dim in labels.dims for s in dim]
    dims: list[tuple[int, ...]] = []
    for size in shape:
        dim: list[int] = []
        while size > 1:
            if not pending:
                return None
            first = pending[0]
            n = labels.size(first)
            if size % n == 0:
                size //= n
            elif n % size == 0:
                labels, (first, rest) = split_slot(labels, first, (size, n // size))
                pending.insert(1, rest)
                size = 1
            else:
                return None
            dim.append(first)
            pending.pop(0)
        dims.append(tuple(dim))
    return Labels(tuple(dims), labels.factors, labels.spoiled)


def renumbered(labels: Labels, to: dict[int, int]) -> Labels:
    """Return the same labels with other slot numbers."""
    return Labels(
        tuple(tuple(to.get(s, s) for s in dim) for dim in labels.dims),
        tuple(Factor(tuple(to.get(s, s) for s in factor.slots), factor.nodes) for factor in labels.factors),
        labels.spoiled,
    )


def selected(labels: Labels, dim: int, pick: Callable[[Nodes], Nodes], identities: Identities, why: str) -> Labels:
    """Return labels after some positions of a dimension were selected or reordered.

    Args:
        labels: Labels of the whole tensor.
        dim: The dimension.
        pick: Function from the numbers of all positions to those that are left.
        identities: The graph.
        why: Name of the operation, for messages.
    """
    slots = labels.dims[dim]
    size = math.prod(labels.size(s) for s in slots)
    places = pick(np.arange(size))
    if np.array_equal(places, np.arange(size)):
        return labels
    if len(slots) > 1:
        labels = one_slot(labels, dim, identities, why)
        slots = labels.dims[dim]
    if not slots:  # a dimension of size 1 that is repeated or dropped
        return with_dim(labels, dim, identities.new(len(places)))
    factor = labels.factor_of(slots[0])
    axis = factor.slots.index(slots[0])
    others = tuple(other for other in labels.factors if other is not factor)
    nodes = np.take(factor.nodes, places, axis=axis)
    number = slot()
    if len(places) == 1:
        rest = tuple(s for s in factor.slots if s != slots[0])
        if not rest:
            identities.freeze(nodes.reshape(-1).tolist(), f"one of them is picked out in {why}")
            factors = others
        else:
            identities.seen(nodes.reshape(-1))
            nodes = identities.parts(nodes.squeeze(axis), ("slice", places.tobytes()), 1)[..., 0]
            factors = (*others, Factor(rest, nodes))
        return Labels((*labels.dims[:dim], (), *labels.dims[dim + 1 :]), factors, labels.spoiled)
    # Separate parts: a part that meets another slice of the same axis must not be unified with it.
    identities.seen(nodes.reshape(-1))
    nodes = identities.parts(nodes, ("slice", places.tobytes()), 1)[..., 0]
    new = Factor(tuple(number if s == slots[0] else s for s in factor.slots), nodes)
    return Labels((*labels.dims[:dim], (number,), *labels.dims[dim + 1 :]), (*others, new), labels.spoiled)


def with_dim(labels: Labels, dim: int, nodes: Nodes) -> Labels:
    """Replace one dimension of size 1 in labels."""
    column = labels_from_nodes([nodes])
    return Labels(
        (*labels.dims[:dim], *column.dims, *labels.dims[dim + 1 :]), (*labels.factors, *column.factors), labels.spoiled
    )


def one_slot(labels: Labels, dim: int, identities: Identities, why: str) -> Labels:
    """Merge the slots of a dimension into a single one."""
    slots = labels.dims[dim]
    if len(slots) < 2:
        return labels
    inside = [factor for factor in labels.factors if set(factor.slots) <= set(slots)]
    crossing = [factor for factor in labels.factors if set(factor.slots) & set(slots) and factor not in inside]
    if crossing:
        for factor in crossing:
            identities.freeze(factor.nodes.reshape(-1).tolist(), f"a reshape in {why}")
        return fixed(labels.shape())
    nodes = product(inside, slots, identities, why).reshape(-1)
    number = slot()
    others = tuple(factor for factor in labels.factors if factor not in inside)
    return Labels((*labels.dims[:dim], (number,), *labels.dims[dim + 1 :]), (*others, Factor((number,), nodes)), labels.spoiled)


def product(factors: Sequence[Factor], slots: Sequence[int], identities: Identities, why: str) -> Nodes:
    """Return the nodes of every combined position of several factors, as parts of the factor that moves.

    Where more than one moves, all but the largest are frozen.

    Returns:
        Nodes with one axis for each of ``slots``.
    """
    ordered = sorted(factors, key=lambda factor: min(slots.index(s) for s in factor.slots))
    moving = [factor for factor in ordered if identities.moves(factor.nodes)]
    lead = max(moving or ordered, key=lambda factor: factor.nodes.size)
    rest = [factor for factor in ordered if factor is not lead]
    for factor in rest:
        identities.freeze(factor.nodes.reshape(-1).tolist(), f"moves against other channels in {why}")
    others = [s for s in slots if s not in lead.slots]
    sizes = [next(f.nodes.shape[f.slots.index(s)] for f in rest if s in f.slots) for s in others]
    nodes = lead.nodes if not others else identities.parts(lead.nodes, tuple(sizes), math.prod(sizes))
    nodes = nodes.reshape(*lead.nodes.shape, *sizes)
    order = [*lead.slots, *others]
    return nodes.transpose([order.index(s) for s in slots])
