"""Groups of channels: what an order does to tensors, and what is refused."""

import channel_networks as networks
import numpy as np
import pytest
from channel_networks import each
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas import Memory
from tremap_brevitas.order import (
    ChannelGroup,
    Side,
    check_groups,
    groups_digest,
    in_order,
    load_groups,
    out_of_order,
    save_groups,
)
from tremap_brevitas.placement import LayerCodes, linear_placement


@given(networks.networks(), st.integers(0, 2**32))
def test_an_order_moves_what_it_says_and_back(network, seed):
    image, groups = network
    orders = networks.random_orders(groups, np.random.default_rng(seed))
    ordered = in_order(image.codes, groups, orders)
    expected = networks.plainly_ordered(image.codes, groups, orders)
    back = out_of_order(ordered, groups, orders)
    for name, codes in image.codes.items():
        assert np.array_equal(ordered[name], expected[name])
        assert np.array_equal(back[name], codes)


@given(st.integers(0, 2**32))
def test_a_chain_in_order_computes_the_same(seed):
    rng = np.random.default_rng(seed)
    first, second, last = (rng.integers(-9, 9, shape) for shape in ((5, 3), (4, 5), (2, 8)))
    groups = (
        ChannelGroup("a", 5, (Side("first", 0, each(5)), Side("second", 1, each(5)))),
        ChannelGroup("b", 4, (Side("second", 0, each(4)), Side("last", 1, np.arange(8).reshape(4, 2)))),
    )

    def run(w, x):
        hidden = np.maximum(w["second"] @ np.maximum(w["first"] @ x, 0), 0)
        return w["last"] @ np.stack([hidden, 2 * hidden + 1], axis=1).reshape(8)

    weights = {"first": first, "second": second, "last": last}
    x = rng.integers(-9, 9, 3)
    orders = networks.random_orders(groups, rng)
    assert np.array_equal(run(in_order(weights, groups, orders), x), run(weights, x))


def test_values_follow_too():
    groups = networks.groups_of_a_chain(2, 3, 1)
    tensors = {"second.bias": np.array([1.0, 2.0, 3.0]), "other": np.zeros(2)}
    moved = in_order(tensors, groups, {"b": [2, 0, 1]}, values=True)
    assert moved["second.bias"].tolist() == [3.0, 1.0, 2.0]
    assert moved["other"] is tensors["other"]
    assert out_of_order(moved, groups, {"b": [2, 0, 1]}, values=True)["second.bias"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Side("a", 0, np.arange(3)), ValueError, r"'a': index must have 2 dimensions, got shape \(3,\)"),
        (lambda: Side("a", 0, np.array([[0.5]])), TypeError, "must hold integers, got float64"),
        (lambda: Side("a", 0, np.array([[0], [0]])), ValueError, "holds 0 twice"),
        (lambda: Side("a", 0, np.array([[-1]])), ValueError, "holds -1, which is negative"),
        (lambda: Side("a", -1, each(2)), ValueError, "axis must be 0 or more, got -1"),
        (lambda: Side("a", 1, each(2), (1, np.arange(2))), ValueError, "another axis than 1, got 1"),
        (lambda: ChannelGroup("g", 0, ()), ValueError, "at least one channel, got 0"),
        (lambda: ChannelGroup("g", 3, (Side("a", 1, each(2)),)), ValueError, "3 channels, but 'a' has 2 on axis 1"),
    ],
)
def test_groups_that_cannot_be(make, error, says):
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([ChannelGroup("g", 2, ()), ChannelGroup("g", 2, ())], "two groups of channels have the same name 'g'"),
        ([ChannelGroup("g", 2, (Side("b", 0, each(2)),))], "group 'g': no layer 'b'"),
        ([ChannelGroup("g", 2, (Side("a", 2, each(2)),))], r"group 'g': 'a': no index 1 on axis 2 of .* shape \(2, 3\)"),
        ([ChannelGroup("g", 3, (Side("a", 0, each(3)),))], "no index 2 on axis 0"),
        ([ChannelGroup("g", 2, (Side("a", 0, each(2), (1, np.array([3]))),))], "no index 3 on axis 1"),
    ],
)
def test_groups_of_another_network(groups, says):
    placement = linear_placement([LayerCodes("a", (2, 3), 8, "binary")], Memory(6, 8))
    with pytest.raises(ValueError, match=says):
        check_groups(groups, placement)


def test_orders_that_are_none():
    groups = networks.groups_of_a_chain(2, 3, 1)
    with pytest.raises(ValueError, match="order of group 'b' must be a permutation of 0 to 2, got one without 1"):
        in_order({}, groups, {"b": [2, 0, 0]})
    with pytest.raises(ValueError, match=r"orders of groups \['c'\], but there are a, b"):
        in_order({}, groups, {"c": [0]})


def test_groups_survive_a_file(tmp_path):
    for groups in (networks.groups_of_a_chain(3, 4, 2), networks.groups_of_heads(3, 2), ()):
        loaded = load_groups(save_groups(groups, tmp_path / "groups.npz"))
        assert groups_digest(loaded) == groups_digest(groups)
        assert [group.name for group in loaded] == [group.name for group in groups]
        for one, other in zip(loaded, groups, strict=True):
            for side, same in zip((*one.sides, *one.values), (*other.sides, *other.values), strict=True):
                assert (side.layer, side.axis) == (same.layer, same.axis)
                assert np.array_equal(side.index, same.index)
                assert (side.within is None) == (same.within is None)
                if side.within is not None:
                    assert np.array_equal(side.within[1], same.within[1])


def test_damaged_groups_are_refused(tmp_path):
    path = save_groups(networks.groups_of_heads(3, 2), tmp_path / "groups.npz")
    whole = path.read_bytes()
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["index"] = arrays["index"][::-1]
    np.savez_compressed(path, **arrays)
    with pytest.raises(ValueError, match=r"groups\.npz"):
        load_groups(path)
    arrays["index"] = arrays["index"][:-1]
    np.savez_compressed(path, **arrays)
    with pytest.raises(ValueError, match="its groups have"):
        load_groups(path)
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"groups\.npz"):
            load_groups(path)
