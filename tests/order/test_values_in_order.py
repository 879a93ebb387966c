"""What there is one of for each channel, in a chip's order."""

import channel_networks as networks
import numpy as np
import pytest

from tremap_brevitas import Memory
from tremap_brevitas.order import SearchOptions, solve
from tremap_brevitas.placement import LayerCodes, linear_placement


def an_order(groups, shapes, seed=0):
    rng = np.random.default_rng(seed)
    layers = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in shapes.items()]
    image = networks.random_image(linear_placement(layers, Memory(200, 8)), rng)
    order = solve(image, groups, networks.random_chip(image.placement.memory, rng, 0.02), options=SearchOptions(rounds=3))
    assert order.moved
    return order


def test_channels_of_a_chain():
    groups = networks.groups_of_a_chain(4, 5, 2)
    order = an_order(groups, {"first": (4, 2, 3), "deep": (4, 1, 2), "second": (5, 4, 2), "last": (2, 10)})
    assert order.channels("first").tolist() == order.channels("deep").tolist() == order.orders["a"].tolist()
    assert order.channels("second").tolist() == order.orders["b"].tolist()
    assert order.channels("second", axis=1).tolist() == order.orders["a"].tolist()
    assert order.channels("last").tolist() == [0, 1]
    bias = np.arange(5) / 2
    moved = order.values({"second.bias": bias, "last.bias": np.zeros(2)})
    assert moved["second.bias"].tolist() == bias[order.orders["b"]].tolist()
    assert moved["last.bias"].tolist() == [0, 0]
    for axis in (-1, 3):
        with pytest.raises(ValueError, match=f"layer 'first': no axis {axis} in a weight of shape"):
            order.channels("first", axis=axis)
    with pytest.raises(KeyError, match="no layer 'none'"):
        order.channels("none")


def test_channels_of_heads_follow_the_rows():
    groups = networks.groups_of_heads(3, 3)
    order = an_order(groups, {"first": (9, 2), "middle": (6, 3), "last": (2, 6)})
    rows = networks.plainly_ordered(
        {"first": np.repeat(np.arange(9)[:, None], 2, axis=1)}, _only(groups, "first"), order.orders
    )
    assert order.channels("first").tolist() == rows["first"][:, 0].tolist()
    assert sorted(order.channels("middle").tolist()) == list(range(6))
    inside = [order.orders[f"in head {h}"].tolist() for h in range(3)]
    if inside[0] != inside[1] or inside[1] != inside[2]:  # the inputs of each group of outputs in an order of their own
        with pytest.raises(ValueError, match="layer 'middle': its channels on axis 1 differ along another axis"):
            order.channels("middle", axis=1)


def _only(groups, layer):
    from tremap_brevitas.order import ChannelGroup

    return [ChannelGroup(g.name, g.channels, tuple(s for s in g.sides if s.layer == layer)) for g in groups]
