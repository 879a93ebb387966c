"""Groups of interchangeable channels of a placed model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from tremap_brevitas.order import ChannelGroup, Side
from tremap_brevitas.placed import PlacedModel
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.slots import matching_slots
from tremap_brevitas.prepare.reordering.apply import forget_cached
from tremap_brevitas.prepare.reordering.convolutions import KERNEL
from tremap_brevitas.prepare.reordering.exchange import Alike, Graph
from tremap_brevitas.prepare.reordering.identities import Nodes
from tremap_brevitas.prepare.reordering.trace import Traced, trace_channels

Within = tuple[int, Nodes] | None


@dataclass(frozen=True)
class LeftAlone:
    """Channels of one weight that stay where they are.

    Attributes:
        layer: The layer of the placement.
        axis: Axis of its weight.
        channels: Number of positions along that axis.
        reason: Why.
    """

    layer: str
    axis: int
    channels: int
    reason: str


@dataclass(frozen=True)
class ChannelReport:
    """Channels that may be reordered, and those that must stay.

    Attributes:
        groups: The groups, to be applied one after the other.
        left_alone: Channels that stay, and why: axes of placed weights that no group moves, or of which some positions stay.
    """

    groups: tuple[ChannelGroup, ...]
    left_alone: tuple[LeftAlone, ...]

    def __iter__(self) -> Iterator[ChannelGroup]:
        """Iterate over the groups."""
        return iter(self.groups)

    def __str__(self) -> str:
        rows = [
            (group.name, group.channels, ", ".join(f"{side.layer}[{side.axis}]" for side in group.sides))
            for group in self.groups
        ]
        text = tabulate(rows, headers=["group", "channels", "layers [axis]"], disable_numparse=True)
        left = [(one.layer, one.axis, one.channels, one.reason) for one in self.left_alone]
        if not left:
            return text
        return f"{text}\n\n{tabulate(left, headers=['left alone', 'axis', 'channels', 'because'], disable_numparse=True)}"


@dataclass(frozen=True, eq=False)
class _Axis:
    """Nodes along an axis of a tensor, with every name that the tensor has."""

    layers: tuple[str, ...]
    keys: tuple[str, ...]
    axis: int
    nodes: Nodes
    within: Within = None


def find_groups(net: PlacedModel, inputs: Sequence[Any], *, outputs_free: bool) -> tuple[list[ChannelGroup], list[LeftAlone]]:
    """Find the groups of a placed model from one forward pass, without a proof."""
    model = net.model
    with net.using(None), evaluation_mode(model):
        forget_cached(model)
        seen = trace_channels(model, lambda: model(*inputs), inputs, outputs_free=outputs_free)
    seen.identities.settle()
    axes, stay = _axes(net, seen)
    groups: list[ChannelGroup] = []
    within = Graph(seen.identities, "within blocks", [axis.nodes for axis in axes], stay)
    for alike in within.alike():
        groups += _group(alike, within, axes)
    groups.sort(key=lambda group: _place(group, axes))
    whole: list[ChannelGroup] = []
    if seen.identities.blocks:
        plain = [axis for axis in axes if axis.within is None]
        graph = Graph(seen.identities, "whole blocks", [axis.nodes for axis in plain], stay)
        for alike in graph.alike():
            if not graph.blocks.isdisjoint(alike.units[0]):
                whole += _group(alike, graph, plain)
        whole.sort(key=lambda group: _place(group, axes))
    named = _named(groups, whole)
    return named, _left_alone(named, within, axes)


def _axes(net: PlacedModel, seen: Traced) -> tuple[list[_Axis], list[int]]:
    """Return all axes of parameters and buffers, and the nodes that these require to stay."""
    model = net.model
    placed: dict[int, list[str]] = {}
    for name, entry in matching_slots(model, net.placement).items():
        placed.setdefault(id(entry.parameter), []).append(name)
    keys: dict[int, list[str]] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            keys.setdefault(id(value), []).append(key)
    tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    grouped = {one.tensor for one in seen.columns}
    axes: list[_Axis] = []
    stay: list[int] = []
    for name, nodes_by_axis in seen.axes.items():
        tensor = tensors[name]
        layers, names = tuple(placed.get(id(tensor), ())), tuple(keys.get(id(tensor), ()))
        for number, nodes in enumerate(nodes_by_axis):
            if nodes is None:
                continue
            if not layers and not names and not _is_constant(tensor, number):
                seen.identities.freeze(nodes.tolist(), f"{name!r} is in no state dict")
            elif name in grouped and number == 1:
                stay += nodes.tolist()
            else:
                axes.append(_Axis(layers, () if layers else names, number, nodes))
        for one in seen.columns:
            if one.tensor == name:
                axes.append(_Axis(layers, () if layers else names, 1, one.nodes, (0, one.rows)))
    _check_columns(seen, axes)
    return axes, stay


def _check_columns(seen: Traced, axes: list[_Axis]) -> None:
    """Freeze the columns of a grouped convolution if anything else, such as scales, is tied to them."""
    identities = seen.identities
    others = {identities.find(node) for axis in axes for node in axis.nodes.tolist()}
    others |= {identities.find(end) for edge in identities.edges for end in (edge.source, edge.target)}
    for one in seen.columns:
        own = seen.axes[one.tensor][1]
        assert own is not None
        classes = {identities.find(node) for node in own.tolist()}
        tied = any(identities.why_frozen(node) is not None for node in classes) or classes & others
        if tied or len(classes) < len(own):
            identities.freeze(one.nodes.tolist(), f"the columns of {one.tensor!r} are tied to something")


@torch.no_grad()
def _is_constant(tensor: Tensor, axis: int) -> bool:
    return bool((tensor == tensor.narrow(axis, 0, 1)).all())


def _group(alike: Alike, graph: Graph, axes: list[_Axis]) -> list[ChannelGroup]:
    """Return the sides of interchangeable channels; none if they are in no placed weight."""
    sides: list[Side] = []
    values: list[Side] = []
    find = graph.identities.find
    for axis in axes:
        where = {find(node): place for place, node in enumerate(axis.nodes.tolist())}
        index = [[where[c] for c in unit if c in where] for unit in alike.units]
        if not index[0]:
            continue
        places = np.array(index, dtype=np.int64)
        sides += [Side(layer, axis.axis, places, axis.within) for layer in axis.layers]
        values += [Side(key, axis.axis, places, axis.within) for key in axis.keys]
    if not sides:
        return []
    lead = min((side for side in sides), key=lambda side: (side.axis != 0, sides.index(side)))
    order = np.argsort(lead.index.min(axis=1), kind="stable")

    def sorted_(some: Iterable[Side]) -> tuple[Side, ...]:
        # The same in every process: positions of a channel in the order in which they lie in the first one.
        ordered = ((side, side.index[order]) for side in some)
        return tuple(Side(s.layer, s.axis, index[:, np.argsort(index[0])], s.within) for s, index in ordered)

    rest = [side for side in sides if side is not lead]
    return [ChannelGroup(lead.layer, len(order), sorted_([lead, *rest]), sorted_(values))]


def _place(group: ChannelGroup, axes: list[_Axis]) -> tuple[int, int]:
    layers = [layer for axis in axes for layer in axis.layers]
    return layers.index(group.sides[0].layer), int(group.sides[0].index.min())


def _named(groups: list[ChannelGroup], whole: list[ChannelGroup]) -> list[ChannelGroup]:
    """Give each group a unique name."""
    named: list[ChannelGroup] = []
    count: dict[str, int] = {}
    for kind, some in (("", groups), (" blocks", whole)):
        for group in some:
            name = f"{group.name}{kind}"
            count[name] = count.get(name, 0) + 1
            if count[name] > 1:
                name = f"{name} #{count[name]}"
            named.append(ChannelGroup(name, group.channels, group.sides, group.values))
    return named


def _left_alone(groups: Iterable[ChannelGroup], graph: Graph, axes: list[_Axis]) -> list[LeftAlone]:
    moved: dict[tuple[str, int], list[tuple[Within, Nodes]]] = {}
    for group in groups:
        for side in group.sides:
            moved.setdefault((side.layer, side.axis), []).append((side.within, side.index.reshape(-1)))
    left = []
    for axis in axes:
        for layer in axis.layers:
            places = set(range(len(axis.nodes)))
            for within, index in moved.get((layer, axis.axis), []):
                if within is axis.within or (within and axis.within and np.array_equal(within[1], axis.within[1])):
                    places -= set(index.tolist())
            reasons: dict[str, int] = {}
            for place in sorted(places):
                reason = graph.reason(int(axis.nodes[place]))
                if reason == KERNEL:
                    continue
                reasons[reason] = reasons.get(reason, 0) + 1
            left += [LeftAlone(layer, axis.axis, count, reason) for reason, count in reasons.items()]
    return left
