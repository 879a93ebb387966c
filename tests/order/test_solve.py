"""The order of one chip against plain Python and against all orders there are."""

import itertools

import channel_networks as networks
import numpy as np
import pytest
from channel_networks import each
from hypothesis import given, settings
from hypothesis import strategies as st

from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.order import ChannelGroup, SearchOptions, Side, check_order, in_order, solve
from tremap_brevitas.order.bound import unavoidable
from tremap_brevitas.order.network import Network
from tremap_brevitas.order.problem import Problem
from tremap_brevitas.placement import LayerCodes, certificate, finn_placement, linear_placement, words_read


def all_orders(groups):
    for orders in itertools.product(*(itertools.permutations(range(group.channels)) for group in groups)):
        yield {group.name: np.array(order) for group, order in zip(groups, orders, strict=True)}


def wrong_in(image, groups, orders, chip):
    return networks.plainly_wrong(networks.plainly_ordered(image.codes, groups, orders), image.placement, chip)


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(networks.networks(), st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.4]), st.sampled_from(["wrong_codes", "error"]))
def test_what_is_said_is_what_is_read(network, seed, rate, aim):
    image, groups = network
    chip = networks.random_chip(image.placement.memory, np.random.default_rng(seed), rate)
    order = solve(image, groups, chip, options=SearchOptions(aim=aim, rounds=5))

    as_it_lies = networks.plainly_wrong(image.codes, image.placement, chip)
    expected = wrong_in(image, groups, order.orders, chip)
    said = {
        (d.layer, int(w)): (int(t), int(r))
        for d in order.differences
        for w, t, r in zip(d.weight, d.trained, d.read, strict=True)
    }
    assert said == expected
    assert order.wrong_as_it_lies == len(as_it_lies) == certificate(image, chip, deployment="chip_image").weights_that_differ
    if aim == "wrong_codes":
        assert len(expected) <= len(as_it_lies)
    assert order.exact == (not expected)
    assert order.unavoidable <= len(expected)
    assert order.worst_error == max((abs(t - r) for t, r in expected.values()), default=0)
    assert order.certificate.relative_error == pytest.approx(order.relative_error)
    again = certificate(order.ordered, chip, deployment="chip_image")
    assert again.weights_that_differ == order.wrong

    # From the words alone: written, read back, put into the network's own order.
    read = order.read(words_read(order.image, chip))
    wanted = networks.plainly_ordered(image.codes, groups, order.orders)
    for (name, flat), (_, value) in expected.items():
        wanted[name].reshape(-1)[flat] = value
    for name in image.codes:
        assert np.array_equal(networks.plainly_ordered(read, groups, order.orders)[name], wanted[name])
        if order.exact:
            assert np.array_equal(read[name], image.codes[name])
    assert check_order(order, chip) == ()


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**32), st.sampled_from([0.05, 0.2]))
def test_one_group_gets_the_best_of_all_orders(seed, rate):
    rng = np.random.default_rng(seed)
    layers = [LayerCodes("a", (4, 3), 6, "sign_magnitude"), LayerCodes("b", (2, 4), 8, "twos_complement")]
    image = networks.random_image(linear_placement(layers, Memory(20, 8)), rng)
    groups = [ChannelGroup("a", 4, (Side("a", 0, each(4)), Side("b", 1, each(4))))]
    chip = networks.random_chip(image.placement.memory, rng, rate)
    order = solve(image, groups, chip)

    def harm(orders):
        wrong = wrong_in(image, groups, orders, chip)
        return len(wrong), sum((w - r) ** 2 / image.squares[name] for (name, _), (w, r) in wrong.items())

    best = min(map(harm, all_orders(groups)))
    assert harm(order.orders) == pytest.approx(best, rel=1e-9)
    assert order.unavoidable == (best[0] if order.wrong else 0)
    least = min(harm(orders)[1] for orders in all_orders(groups))
    of_error = solve(image, groups, chip, options=SearchOptions(aim="error"))
    assert harm(of_error.orders)[1] == pytest.approx(least, rel=1e-9)


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(networks.networks(), st.integers(0, 2**32))
def test_no_order_beats_the_bound(network, seed):
    image, groups = network
    if np.prod([float(np.prod(range(1, group.channels + 1))) for group in groups]) > 200:
        return
    chip = networks.random_chip(image.placement.memory, np.random.default_rng(seed), 0.1)
    problem = Problem(Network(image, groups), chip)
    bound = unavoidable(problem, problem.network.identity)
    assert bound <= min(len(wrong_in(image, groups, orders, chip)) for orders in all_orders(groups))


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(st.integers(0, 2**32))
def test_two_groups_come_near_the_best_of_all_orders(seed):
    rng = np.random.default_rng(seed)
    groups = networks.groups_of_a_chain(3, 4, 1)
    shapes = {"first": (3, 2, 3), "deep": (3, 1, 2), "second": (4, 3, 2), "last": (2, 4)}
    layers = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in shapes.items()]
    image = networks.random_image(linear_placement(layers, Memory(60, 8)), rng)
    chip = networks.random_chip(image.placement.memory, rng, 0.04)
    best = min(len(wrong_in(image, groups, orders, chip)) for orders in all_orders(groups))
    assert best <= solve(image, groups, chip).wrong <= best + 1


def test_the_costs_are_those_of_plain_counting():
    rng = np.random.default_rng(0)
    for groups, shapes in (
        (networks.groups_of_a_chain(3, 4, 2), {"first": (3, 2, 3), "deep": (3, 1, 2), "second": (4, 3, 2), "last": (2, 8)}),
        (networks.groups_of_heads(3, 3), {"first": (9, 2), "middle": (6, 3), "last": (2, 6)}),
    ):
        layers = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in shapes.items()]
        image = networks.random_image(linear_placement(layers, Memory(100, 8)), rng)
        chip = networks.random_chip(image.placement.memory, rng, 0.1)
        network = Network(image, groups)
        problem = Problem(network, chip)
        for number, group in enumerate(groups):
            orders = [rng.permutation(g.channels) for g in groups]
            named = {g.name: order for g, order in zip(groups, orders, strict=True)}
            wrong = len(wrong_in(image, groups, named, chip))
            costs = problem.costs(number, orders, None)
            here = costs.costs[np.arange(len(costs.slots)), orders[number][costs.slots]].sum()
            for _ in range(5):
                other = rng.permutation(group.channels)
                moved = len(wrong_in(image, groups, {**named, group.name: other}, chip))
                there = costs.costs[np.arange(len(costs.slots)), other[costs.slots]].sum()
                assert there - here == moved - wrong


def test_importance_decides_which_code_stays_wrong():
    layers = [LayerCodes("a", (2, 1), 8, "binary")]
    image = networks.random_image(linear_placement(layers, Memory(2, 8)), np.random.default_rng(0))
    image = type(image)(image.placement, {"a": [[1], [3]]})
    groups = [ChannelGroup("a", 2, (Side("a", 0, each(2)),))]
    chip = FaultMap(image.placement.memory, [0, 1, 8, 9], [0, 0, 0, 0], "zeros")  # 1 and 3 both come out as 0, or 4
    for counts, slot in (([[1.0], [0.0]], 0), ([[0.0], [1.0]], 0)):
        order = solve(image, groups, chip, importance={"a": counts})
        assert order.wrong == 2
        assert order.orders["a"][slot] == slot  # nothing to gain: nothing moves
    one_bit = FaultMap(image.placement.memory, [0, 9], [0, 0], "one bit each")  # slot 0 costs 1 for each; slot 1 costs 3 only
    assert solve(image, groups, one_bit).orders["a"].tolist() == [1, 0]
    with pytest.raises(ValueError, match="importance of layer 'a' must be finite"):
        solve(image, groups, chip, importance={"a": [[1.0], [-1.0]]})
    with pytest.raises(ValueError, match=r"importance of layers \['b'\]"):
        solve(image, groups, chip, importance={"b": [[1.0]]})


def test_finns_layout():
    rng = np.random.default_rng(3)
    layers = [LayerCodes("a", (4, 2, 3, 3), 8, "twos_complement"), LayerCodes("b", (4, 4, 3, 3), 8, "twos_complement")]
    placement = finn_placement(layers, Memory(80, 32), folding={"a": (2, 1), "b": (1, 4)})
    image = networks.random_image(placement, rng)
    groups = [ChannelGroup("a", 4, (Side("a", 0, each(4)), Side("b", 1, each(4))))]
    for _ in range(5):
        chip = networks.random_chip(placement.memory, rng, 0.002)
        order = solve(image, groups, chip)
        assert order.wrong == len(wrong_in(image, groups, order.orders, chip)) <= order.wrong_as_it_lies
        assert check_order(order, chip) == ()


def test_the_same_seed_gives_the_same_order():
    rng = np.random.default_rng(0)
    groups = networks.groups_of_a_chain(4, 4, 2)
    shapes = {"first": (4, 2, 3), "deep": (4, 1, 2), "second": (4, 4, 2), "last": (2, 8)}
    layers = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in shapes.items()]
    image = networks.random_image(linear_placement(layers, Memory(100, 8)), rng)
    chip = networks.random_chip(image.placement.memory, rng, 0.1)
    one, other = (solve(image, groups, chip, options=SearchOptions(seed=4)) for _ in range(2))
    assert all(np.array_equal(one.orders[name], other.orders[name]) for name in one.orders)
    assert in_order(image.codes, groups, one.orders).keys() == image.codes.keys()


def test_nothing_moves_on_a_chip_that_is_exact_or_without_groups():
    rng = np.random.default_rng(0)
    groups = networks.groups_of_a_chain(2, 2, 1)
    shapes = {"first": (2, 2, 3), "deep": (2, 1, 2), "second": (2, 2, 2), "last": (2, 2)}
    layers = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in shapes.items()]
    image = networks.random_image(linear_placement(layers, Memory(40, 8)), rng)
    clean = FaultMap(image.placement.memory, [], [], "clean")
    assert (solve(image, groups, clean).exact, solve(image, groups, clean).moved) == (True, 0)
    chip = networks.random_chip(image.placement.memory, rng, 0.2)
    alone = solve(image, (), chip)
    assert alone.wrong == alone.wrong_as_it_lies == alone.unavoidable == len(wrong_in(image, (), {}, chip))


def test_bad_options():
    with pytest.raises(ValueError, match="rounds must be 0 or more, got -1"):
        SearchOptions(rounds=-1)
    with pytest.raises(ValueError, match="aim must be one of wrong_codes, error, got 'speed'"):
        SearchOptions(aim="speed")
    layers = [LayerCodes("a", (2, 1), 8, "binary")]
    image = networks.random_image(linear_placement(layers, Memory(2, 8)), np.random.default_rng(0))
    with pytest.raises(ValueError, match="the image's has"):
        solve(image, (), FaultMap(Memory(3, 8), [], [], "other"))
