"""Groups of channels that can be reordered together, and their positions in a network's weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tremap_brevitas.faults.permutation import inverse, permutation
from tremap_brevitas.placement import Placement
from tremap_brevitas.printable import counted

Index = NDArray[np.int64]
Orders = Mapping[str, Index]


@dataclass(frozen=True, eq=False)
class Side:
    """Positions of a group's channels in one tensor.

    Args:
        layer: Name of the tensor: of a placed layer for ``ChannelGroup.sides``, a key of the state dict for
            ``ChannelGroup.values``.
        axis: Axis of the tensor along which the channels stand.
        index: Shape (channels, k): the indices along the axis that belong to each channel. More than one after a flatten
            (k pixels of a channel), where a whole head moves, or where queries, keys and values lie in one tensor; not the
            channel's own number after a concatenation. All differ.
        within: ``(other axis, indices)``: the channels stand there only at these indices of another axis, as in a grouped
            convolution, where each group of outputs has inputs of its own. None: everywhere.

    Raises:
        TypeError: If an index is not an integer.
        ValueError: If ``index`` has not two dimensions, an index is negative or appears twice, or ``within`` names the
            same axis.

    Examples:
        The columns of a linear layer behind 3 channels of 2 pixels each.

        >>> Side("fc", 1, np.arange(6).reshape(3, 2)).channels
        3
    """

    layer: str
    axis: int
    index: Index
    within: tuple[int, Index] | None = None

    def __post_init__(self) -> None:
        index = _indices(self.index, f"{self.layer!r}: index", dimensions=2)
        object.__setattr__(self, "index", index)
        if self.axis < 0:
            raise ValueError(f"{self.layer!r}: axis must be 0 or more, got {self.axis}")
        if self.within is not None:
            axis, only = self.within
            if axis == self.axis or axis < 0:
                raise ValueError(f"{self.layer!r}: within must name another axis than {self.axis}, got {axis}")
            object.__setattr__(self, "within", (axis, _indices(only, f"{self.layer!r}: within", dimensions=1)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, so that the arrays are read-only again.
        return type(self), (self.layer, self.axis, self.index, self.within)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.index)

    def check_shape(self, shape: Sequence[int]) -> None:
        """Check that a tensor shape has these axes and indices.

        Raises:
            ValueError: If it has not.
        """
        for axis, index in [(self.axis, self.index), *([] if self.within is None else [self.within])]:
            last = int(index.max(initial=0))
            if axis >= len(shape) or last >= shape[axis]:
                raise ValueError(f"{self.layer!r}: no index {last} on axis {axis} of a tensor of shape {tuple(shape)}")

    def moved(self, array: NDArray[Any], order: ArrayLike) -> NDArray[Any]:
        """Return a copy of a tensor in this channel order: slot ``s`` holds channel ``order[s]``.

        Examples:
            >>> Side("fc", 0, np.arange(3)[:, None]).moved(np.array([10, 11, 12]), [2, 0, 1])
            array([12, 10, 11])
        """
        self.check_shape(array.shape)
        result = np.array(array)
        target: list[Any] = [slice(None)] * array.ndim
        source = list(target)
        target[self.axis], source[self.axis] = self.index.reshape(-1), self.index[np.asarray(order)].reshape(-1)
        if self.within is None:
            result[tuple(target)] = array[tuple(source)]
            return result
        axis, only = self.within
        # Two lists of indices meet as an outer product only if they are shaped so, and the two axes then come first.
        ahead, before = np.moveaxis(result, (axis, self.axis), (0, 1)), np.moveaxis(array, (axis, self.axis), (0, 1))
        ahead[np.ix_(only, target[self.axis])] = before[np.ix_(only, source[self.axis])]
        return result


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that can be put in any order, as long as all tensors use the same one.

    An *order* is a permutation: slot ``s`` holds channel ``order[s]``. Several groups of a network are applied one after the
    other, in the order in which they are listed; each is a change that leaves the network's function as it is. Channels that
    may only move within blocks, and blocks that may only move whole, are groups of their own:

        8 attention heads of 16   8 groups of 16 channels (within each head), then 1 group of 8 channels with 16 indices each
        grouped convolution       for each of its groups one of its inputs, and one of its outputs; then one of whole groups
        depthwise convolution     none of its own: its rows (axis 0) are one more side of the group before it

    Args:
        name: Name of the group, such as that of the layer that makes the channels; no two have the same.
        channels: Number of channels.
        sides: Their positions in placed weights (and placed biases).
        values: Their positions in other tensors of the state dict: biases, BatchNorm's four, scales for each channel.

    Raises:
        ValueError: If there are no channels, or a side has another number of them.

    Examples:
        The hidden channels between two linear layers, ``a`` of shape (3, 2) and ``b`` of shape (1, 3).

        >>> each = np.arange(3)[:, None]
        >>> hidden = ChannelGroup("a", 3, (Side("a", 0, each), Side("b", 1, each)), (Side("a.bias", 0, each),))
        >>> weights = {"a": np.arange(6).reshape(3, 2), "b": np.array([[7, 8, 9]])}
        >>> ordered = in_order(weights, [hidden], {"a": [2, 0, 1]})
        >>> ordered["a"].tolist(), ordered["b"].tolist()
        ([[4, 5], [0, 1], [2, 3]], [[9, 7, 8]])
    """

    name: str
    channels: int
    sides: tuple[Side, ...]
    values: tuple[Side, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sides", tuple(self.sides))
        object.__setattr__(self, "values", tuple(self.values))
        if self.channels < 1:
            raise ValueError(f"group {self.name!r}: needs at least one channel, got {self.channels}")
        for side in (*self.sides, *self.values):
            if side.channels != self.channels:
                raise ValueError(
                    f"group {self.name!r}: {counted(self.channels, 'channel')}, but {side.layer!r} has {side.channels} on axis "
                    f"{side.axis}"
                )


def check_groups(groups: Iterable[ChannelGroup], placement: Placement) -> None:
    """Check that groups belong to the network of a placement.

    Raises:
        ValueError: If two groups have the same name, or a side is of no placed layer or reaches beyond its weight.
    """
    names = set()
    for group in groups:
        if group.name in names:
            raise ValueError(f"two groups of channels have the same name {group.name!r}")
        names.add(group.name)
        for side in group.sides:
            try:
                side.check_shape(placement.layer(side.layer).shape)
            except (KeyError, ValueError) as error:
                raise ValueError(f"group {group.name!r}: {error.args[0]}") from None


def checked_orders(groups: Sequence[ChannelGroup], orders: Mapping[str, ArrayLike]) -> dict[str, Index]:
    """Return the orders of all groups by name; groups without an order stay as they are.

    Raises:
        TypeError: If an order holds no integers.
        ValueError: If there is an order of no group, or one is not a permutation.

    Examples:
        >>> each = np.arange(2)[:, None]
        >>> checked_orders([ChannelGroup("a", 2, (Side("a", 0, each),))], {"a": [1, 1]})
        Traceback (most recent call last):
        ValueError: order of group 'a' must be a permutation of 0 to 1, got one without 0
    """
    unknown = sorted(set(orders) - {group.name for group in groups})
    if unknown:
        raise ValueError(f"orders of groups {unknown}, but there are {', '.join(group.name for group in groups) or 'none'}")
    checked = {}
    for group in groups:
        order = permutation(orders.get(group.name), f"order of group {group.name!r}", group.channels)
        if order is None:
            order = np.arange(group.channels)
            order.flags.writeable = False
        checked[group.name] = order
    return checked


def in_order(
    tensors: Mapping[str, NDArray[Any]],
    groups: Sequence[ChannelGroup],
    orders: Mapping[str, ArrayLike],
    *,
    values: bool = False,
) -> dict[str, NDArray[Any]]:
    """Return tensors with their channels reordered.

    Args:
        tensors: Arrays by name; tensors that are in no group are returned unchanged.
        groups: The groups, applied one after the other.
        orders: A permutation for each group by name; groups without one stay as they are.
        values: Whether the tensors are those of ``ChannelGroup.values``, not of ``ChannelGroup.sides``.

    Raises:
        ValueError: If an order is not a permutation, or a tensor has too few channels.
    """
    return _applied(tensors, groups, checked_orders(groups, orders), values)


def out_of_order(
    tensors: Mapping[str, NDArray[Any]],
    groups: Sequence[ChannelGroup],
    orders: Mapping[str, ArrayLike],
    *,
    values: bool = False,
) -> dict[str, NDArray[Any]]:
    """Return tensors in their original channel order; the inverse of [in_order][tremap_brevitas.order.in_order]."""
    back = {name: np.asarray(inverse(order)) for name, order in checked_orders(groups, orders).items()}
    return _applied(tensors, groups[::-1], back, values)


def _applied(
    tensors: Mapping[str, NDArray[Any]], groups: Sequence[ChannelGroup], orders: Orders, values: bool
) -> dict[str, NDArray[Any]]:
    result = dict(tensors)
    for group in groups:
        order = orders[group.name]
        if np.array_equal(order, np.arange(group.channels)):
            continue
        for side in group.values if values else group.sides:
            if side.layer in result:
                result[side.layer] = side.moved(np.asarray(result[side.layer]), order)
    return result


def _indices(values: ArrayLike, what: str, *, dimensions: int) -> Index:
    array = np.array(values)
    if array.ndim != dimensions:
        raise ValueError(f"{what} must have {dimensions} dimension{'s' * (dimensions > 1)}, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what} must hold integers, got {array.dtype}")
    kept = array.astype(np.int64)
    if kept.size and kept.min() < 0:
        raise ValueError(f"{what} holds {kept.min()}, which is negative")
    ordered = np.sort(kept, axis=None)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(twice):
        raise ValueError(f"{what} holds {ordered[twice[0]]} twice")
    kept.flags.writeable = False
    return kept
