"""Reorder the channels of a placed model, and undo it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from tremap_brevitas.faults.permutation import inverse
from tremap_brevitas.order import ChannelGroup, ChipOrder, Side, in_order
from tremap_brevitas.order.groups import Orders, checked_orders
from tremap_brevitas.placed.slots import matching_slots
from tremap_brevitas.placed.state import PlacedState


def apply_order_(
    net: PlacedState, order: ChipOrder | Mapping[str, ArrayLike], *, groups: Sequence[ChannelGroup] | None = None
) -> None:
    """Reorder a network's channels in place: weights, biases, BatchNorms and per-channel scales.

    The network's function does not change. Slot ``s`` of a group then holds channel ``order[s]``. Faults that are set stay
    where they are, because they belong to the slots. So with a chip's order applied and its fault map set, the network
    computes as that chip does.

    Args:
        net: The placed model.
        order: A chip's order, or a permutation for each group by name; groups without one stay as they are.
        groups: Needed with permutations: the groups that [channel_groups][tremap_brevitas.prepare.channel_groups] returns.

    Raises:
        TypeError: If permutations are given without groups.
        ValueError: If an order is not a permutation, a group is not of this network, a chip's order is of other codes, or a
            layer's quantizer makes other codes of the weights in another order. The model is then unchanged.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> model = nn.Sequential(QuantLinear(4, 3, bias=True), nn.ReLU(), QuantLinear(3, 2, bias=True))
        >>> net = tm.place(tm.make_faulty(model), tm.Memory(words=32, word_bits=8))
        >>> x = torch.randn(5, 4)
        >>> before, channels = model(x), tm.prepare.channel_groups(net, x)
        >>> tm.apply_order_(net, {"0": [2, 0, 1]}, groups=channels.groups)
        >>> torch.allclose(model(x), before, atol=1e-6)
        True
    """
    groups, checked = _resolved(order, groups)
    with net.using(None):
        before = _codes(net)
        if isinstance(order, ChipOrder):
            _check_network(order, before)
        _move(net, groups, checked)
        wanted, now = in_order(before, groups, checked), _codes(net)
    wrong = [name for name, codes in now.items() if not np.array_equal(codes, wanted[name])]
    if wrong:
        _move(net, groups[::-1], _inverses(checked))
        raise ValueError(
            f"layer {wrong[0]!r}: its quantizer gives other codes once the weights are reordered; only quantizers that "
            f"treat all channels alike can be reordered"
        )


@contextmanager
def in_another_order(
    net: PlacedState, order: ChipOrder | Mapping[str, ArrayLike], *, groups: Sequence[ChannelGroup] | None = None
) -> Iterator[None]:
    """Temporarily reorder a network's channels, in a ``with`` block; see [apply_order_][tremap_brevitas.apply_order_].

    Changes within the block, by training for example, stay with their channels.
    """
    resolved, checked = _resolved(order, groups)
    apply_order_(net, order, groups=groups)
    try:
        yield
    finally:
        _move(net, resolved[::-1], _inverses(checked))


def _resolved(
    order: ChipOrder | Mapping[str, ArrayLike], groups: Sequence[ChannelGroup] | None
) -> tuple[Sequence[ChannelGroup], Orders]:
    if isinstance(order, ChipOrder):
        return order.groups, order.orders
    if groups is None:
        raise TypeError("permutations need groups=…, the groups of channels that they reorder")
    return groups, checked_orders(groups, order)


def _check_network(order: ChipOrder, codes: Mapping[str, Any]) -> None:
    for name, wanted in order.network.codes.items():
        if name not in codes or not np.array_equal(codes[name], wanted):
            raise ValueError(
                f"layer {name!r}: the order of chip {order.chip!r} is of a network with other codes, or one that is in "
                f"another order already"
            )


def forget_cached(model: nn.Module) -> None:
    """Drop the quantized weights and biases that Brevitas caches between inferences."""
    for module in model.modules():
        for name in ("_cached_weight", "_cached_bias"):
            if name in vars(module):
                setattr(module, name, None)


def _codes(net: PlacedState) -> Mapping[str, Any]:
    return net.memory_image().codes  # without faults; the layers are looked up once for all


def _inverses(orders: Orders) -> dict[str, Any]:
    return {name: inverse(order) for name, order in orders.items()}


@torch.no_grad()
def _move(net: PlacedState, groups: Sequence[ChannelGroup], orders: Orders) -> None:
    """Move all tensors, or none if there is an error."""
    tensors = tensors_of(net)
    made: dict[int, tuple[Tensor, Tensor]] = {}
    for group in groups:
        order = orders[group.name]
        if np.array_equal(order, np.arange(group.channels)):
            continue
        done = set()
        for kind, sides in (("layer", group.sides), ("value", group.values)):
            for side in sides:
                tensor = tensors.get((kind, side.layer))
                if tensor is None:
                    raise ValueError(f"group {group.name!r}: the model has no {kind} {side.layer!r}")
                # A tensor that has two names is moved once.
                key = id(tensor), side.axis, None if side.within is None else side.within[1].tobytes()
                if key not in done:
                    done.add(key)
                    _, now = made.get(id(tensor), (tensor, tensor))
                    made[id(tensor)] = tensor, _moved(now, side, order)
    for tensor, now in made.values():
        tensor.data.copy_(now)
    forget_cached(net.model)


def tensors_of(net: PlacedState) -> dict[tuple[str, str], Tensor]:
    """Return the tensors that groups refer to: ``("layer", name)`` and ``("value", key)``."""
    tensors: dict[tuple[str, str], Tensor] = {
        ("layer", name): entry.parameter for name, entry in matching_slots(net.model, net.placement).items()
    }
    for key, value in net.model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            tensors["value", key] = value
    return tensors


def _moved(tensor: Tensor, side: Side, order: Any) -> Tensor:
    side.check_shape(tensor.shape)

    def index(places: Any) -> Tensor:
        return torch.from_numpy(np.array(places).reshape(-1)).to(tensor.device)

    target, source = index(side.index), index(side.index[order])
    result = tensor.detach().clone()
    if side.within is None:
        return result.index_copy_(side.axis, target, tensor.detach().index_select(side.axis, source))
    axis, only = side.within[0], index(side.within[1])
    part = tensor.detach().index_select(axis, only)
    part = part.clone().index_copy_(side.axis, target, part.index_select(side.axis, source))
    return result.index_copy_(axis, only, part)
