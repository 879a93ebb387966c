"""A placed model in another order of its channels, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from tremap_brevitas.faults.permutation import inverse
from tremap_brevitas.order import ChannelGroup, Side, in_order
from tremap_brevitas.order.groups import Orders, checked_orders
from tremap_brevitas.placed.slots import matching_slots
from tremap_brevitas.placed.state import PlacedState


def apply_order_(net: PlacedState, groups: Sequence[ChannelGroup], orders: Mapping[str, ArrayLike]) -> None:
    """Put a network's channels into another order: weights, biases, BatchNorms and scales for each channel, in place.

    The network computes what it computed. Slot ``s`` of a group holds channel ``orders[group][s]`` afterwards. Faults that are
    set stay where they are: they belong to the slots.

    Args:
        net: The placed model.
        groups: Its groups of channels, as [channel_groups][tremap_brevitas.channel_groups] finds them.
        orders: A permutation for each group by name; groups without one stay as they are.

    Raises:
        ValueError: If an order is no permutation, a group is not of this network, or a layer's quantizer makes other codes of
            the weights in another order. The model is as it was then.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> from tremap_brevitas.prepare.reordering import apply_order_, channel_groups
        >>> model = nn.Sequential(QuantLinear(4, 3, bias=True), nn.ReLU(), QuantLinear(3, 2, bias=True))
        >>> net = tm.place(tm.make_faulty(model), tm.Memory(words=32, word_bits=8))
        >>> x = torch.randn(5, 4)
        >>> before, found = model(x), channel_groups(net, x)
        >>> apply_order_(net, found.groups, {"0": [2, 0, 1]})
        >>> torch.allclose(model(x), before, atol=1e-6)
        True
    """
    checked = checked_orders(groups, orders)
    with net.using(None):
        before = _codes(net)
        _move(net, groups, checked)
        wanted, now = in_order(before, groups, checked), _codes(net)
    wrong = [name for name, codes in now.items() if not np.array_equal(codes, wanted[name])]
    if wrong:
        _move(net, groups[::-1], _inverses(checked))
        raise ValueError(
            f"layer {wrong[0]!r}: its quantizer makes other codes of the same weights in another order; only quantizers that "
            f"treat all channels alike can be reordered"
        )


@contextmanager
def in_another_order(net: PlacedState, groups: Sequence[ChannelGroup], orders: Mapping[str, ArrayLike]) -> Iterator[None]:
    """Put a network's channels into another order for a ``with`` block; see [apply_order_][tremap_brevitas.apply_order_]."""
    apply_order_(net, groups, orders)
    try:
        yield
    finally:
        _move(net, groups[::-1], _inverses(checked_orders(groups, orders)))


def forget_cached(model: nn.Module) -> None:
    """Drop the quantized weights and biases that Brevitas keeps from one inference to the next."""
    for module in model.modules():
        for name in ("_cached_weight", "_cached_bias"):
            if name in vars(module):
                setattr(module, name, None)


def _codes(net: PlacedState) -> dict[str, Any]:
    return {layer.name: net.codes(layer.name).wanted for layer in net.placement.layers}


def _inverses(orders: Orders) -> dict[str, Any]:
    return {name: inverse(order) for name, order in orders.items()}


@torch.no_grad()
def _move(net: PlacedState, groups: Sequence[ChannelGroup], orders: Orders) -> None:
    """Move all tensors; either all of them or, on an error, none."""
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
    """The tensors that sides and values of groups are of: ``("layer", name)`` and ``("value", key)``."""
    found: dict[tuple[str, str], Tensor] = {
        ("layer", name): entry.parameter for name, entry in matching_slots(net.model, net.placement).items()
    }
    for key, value in net.model.state_dict(keep_vars=True).items():
        if isinstance(value, Tensor):
            found["value", key] = value
    return found


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
