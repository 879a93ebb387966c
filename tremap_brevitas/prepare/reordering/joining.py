"""Combine several tensors along named dimensions, as in an Einstein sum."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from tremap_brevitas.prepare.reordering.identities import FIXED, Identities, Nodes
from tremap_brevitas.prepare.reordering.labels import Factor, Labels, Names, product, renumbered, slot, split_slot


def joined(operands: Sequence[tuple[Labels, Names]], out: Names, identities: Identities, why: str) -> Labels | None:
    """Label the result of an elementwise function or sum of products of several tensors.

    Dimensions of the same name meet place by place; those that are not in ``out`` are summed over, or treated in another way
    that does not depend on the order. A dimension of size 1 meets any other.

    Args:
        operands: The tensors, and the names of their dimensions.
        out: Names of the result's dimensions.
        identities: The graph.
        why: Name of the operation, for messages.

    Returns:
        The labels; None where dimensions do not fall on common boundaries.
    """
    refined = _refined([labels for labels, _ in operands], [names for _, names in operands])
    if refined is None:
        return None
    labels, slots = refined
    kept = [s for name in out for s in slots.get(name, ())]
    system: list[Factor] = []
    for one in labels:
        system = _meet(system, [factor for factor in one.factors if factor.slots], set(kept), identities, why)
    factors = [factor for factor in (_reduced(factor, kept, identities) for factor in system) if factor.slots]
    return Labels(tuple(slots.get(name, ()) for name in out), tuple(factors))


def _refined(labels: list[Labels], names: list[Names]) -> tuple[list[Labels], dict[Hashable, tuple[int, ...]]] | None:
    """Split the slots of all labels so that they agree along every name."""
    labels = [renumbered(one, {s: slot() for dim in one.dims for s in dim}) for one in labels]
    slots: dict[Hashable, tuple[int, ...]] = {}
    for name in dict.fromkeys(name for some in names for name in some):
        where = [(i, some.index(name)) for i, some in enumerate(names) if name in some]
        where = [(i, d) for i, d in where if labels[i].dims[d]]
        while where:
            sizes = [[labels[i].size(s) for s in labels[i].dims[d]] for i, d in where]
            bounds = [[math.prod(some[k:]) for k in range(len(some))] for some in sizes]
            if len({some[0] for some in bounds}) > 1:
                return None
            every = sorted(set().union(*bounds), reverse=True)
            steps = [a // b for a, b in zip(every, [*every[1:], 1], strict=True)]
            if any(a % b for a, b in zip(every, [*every[1:], 1], strict=True)):
                return None
            if all(some == every for some in bounds):
                break
            for (i, d), some in zip(where, bounds, strict=True):
                for s, high, low in zip(labels[i].dims[d], some, [*some[1:], 1], strict=True):
                    inner = [step for step, bound in zip(steps, every, strict=True) if low < bound <= high]
                    if len(inner) > 1:
                        labels[i], _ = split_slot(labels[i], s, inner)
        if where:
            first, dim = where[0]
            slots[name] = labels[first].dims[dim]
            for i, d in where[1:]:
                labels[i] = renumbered(labels[i], dict(zip(labels[i].dims[d], slots[name], strict=True)))
    return labels, slots


def _meet(system: list[Factor], other: list[Factor], kept: set[int], identities: Identities, why: str) -> list[Factor]:
    """Unify two sets of factors that share slots."""
    result: list[Factor] = []
    left, right = list(system), list(other)
    while left or right:
        ours = [left.pop(0)] if left else []
        theirs = [] if ours else [right.pop(0)]
        grown = True
        while grown:
            reach = {s for factor in (*ours, *theirs) for s in factor.slots}
            more_left = [factor for factor in left if reach & set(factor.slots)]
            more_right = [factor for factor in right if reach & set(factor.slots)]
            left = [factor for factor in left if factor not in more_left]
            right = [factor for factor in right if factor not in more_right]
            ours += more_left
            theirs += more_right
            grown = bool(more_left or more_right)
        result += _tied(ours, theirs, kept, identities, why)
    return result


def _tied(ours: list[Factor], theirs: list[Factor], kept: set[int], identities: Identities, why: str) -> list[Factor]:
    if not ours or not theirs:
        return ours or theirs
    reach = [{s for factor in side for s in factor.slots} for side in (ours, theirs)]
    common = reach[0] & reach[1]
    if all(len(side) == 1 for side in (ours, theirs)) or reach[0] == reach[1]:
        order = [s for factor in ours for s in factor.slots if s in common]
        one, two = (_nodes(side, order, identities, why) for side in (ours, theirs))
        identities.unify(one, two, why)
        if reach[0] >= reach[1]:
            # One factor for each slot is more precise than one for all of them.
            return theirs if reach[0] == reach[1] and len(theirs) > len(ours) else ours
        # Slots that only one of them has are summed over; otherwise the two cannot be described together.
        if not (reach[0] - common) & kept:
            return theirs
        if not (reach[1] - common) & kept:
            return ours
    elif len(ours) == 1 and reach[0] > reach[1]:
        for factor in theirs:
            _tied(ours, [factor], kept, identities, why)
        return ours
    elif len(theirs) == 1 and reach[1] > reach[0]:
        for factor in ours:
            _tied([factor], theirs, kept, identities, why)
        return theirs
    sizes = {s: n for factor in (*ours, *theirs) for s, n in zip(factor.slots, factor.nodes.shape, strict=True)}
    for factor in (*ours, *theirs):
        identities.freeze(factor.nodes.reshape(-1).tolist(), f"moves against other channels in {why}")
    return [Factor((s,), np.full(n, FIXED)) for s, n in sizes.items()]


def _nodes(factors: list[Factor], slots: list[int], identities: Identities, why: str) -> Nodes:
    """Return the nodes of factors along some of their slots."""
    parts = [_reduced(factor, slots, identities) for factor in factors]
    return product([part for part in parts if part.slots], slots, identities, why)


def _reduced(factor: Factor, kept: Sequence[int], identities: Identities) -> Factor:
    """Remove the slots that are summed over from a factor; the result refers to blocks of it."""
    slots = tuple(s for s in factor.slots if s in kept)
    if slots == factor.slots or not slots:
        return Factor(slots, factor.nodes)
    gone = [s for s in factor.slots if s not in kept]
    nodes = factor.nodes.transpose([factor.slots.index(s) for s in (*slots, *gone)])
    shape = nodes.shape[: len(slots)]
    return Factor(slots, identities.blocks_of(nodes.reshape(math.prod(shape), -1)).reshape(shape))
