"""An order first, then what else there is: compensation of what is left, and one order for all members of a group."""

import copy

import numpy as np
import pytest
import torch
from reorderable import placed_digits

import tremap_brevitas as tm
from tremap_brevitas.order import SearchOptions

QUICK = SearchOptions(rounds=10, patience=3)


@pytest.fixture(scope="module")
def digits():
    return placed_digits()


def error(net, x, wanted):
    with torch.no_grad():
        return float(((net.model(x) - wanted) ** 2).mean())


def read_by_hand(codes, placement, chip):
    """How many codes a chip gives back otherwise than they were written, bit by bit."""
    words = tm.MemoryImage(placement, codes).words()
    read = list(words)
    for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
        word, bit = divmod(cell, chip.memory.word_bits)
        read[word] = read[word] | 1 << bit if value else read[word] & ~(1 << bit)
    back = tm.MemoryImage.from_words(placement, read).codes
    return sum(int((back[name] != codes[name]).sum()) for name in codes)


def test_what_an_order_leaves_is_compensated(digits):
    net, x, groups = digits
    (chip,) = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=2e-2, seed=1)
    (order,) = tm.reorder(net, [chip], groups=groups, options=QUICK, progress=False)
    assert 0 < order.wrong < order.wrong_as_it_lies
    with torch.no_grad():
        wanted = net.model(x)
    with net.using(chip):
        as_it_lies = error(net, x, wanted)
    twin = copy.deepcopy(net)
    tm.apply_order_(twin, order)
    with twin.using(chip):
        in_order = error(twin, x, wanted)
    report = twin.compensate_(x.split(32), fault_map=chip, progress=False)
    assert report.error < report.nearest_error
    with twin.using(chip):
        assert error(twin, x, wanted) < in_order < as_it_lies
        written = {layer.name: twin.codes(layer.name).read_back for layer in net.placement.layers}
    assert read_by_hand(written, net.placement, chip) == 0
    with pytest.raises(ValueError, match="of a network with other codes"):
        tm.apply_order_(twin, order)  # it is of the codes before


def test_a_chip_that_is_exact_in_order_needs_no_compensation(digits):
    net, x, groups = digits
    (chip,) = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=1e-3, seed=0)
    (order,) = tm.reorder(net, [chip], groups=groups, progress=False)
    assert order.exact
    assert order.wrong_as_it_lies > 10
    twin = copy.deepcopy(net)
    tm.apply_order_(twin, order)
    state = copy.deepcopy(twin.model.state_dict())
    report = twin.compensate_(x.split(32), fault_map=chip, progress=False)
    assert report.error == 0
    assert all(torch.equal(value, state[key]) for key, value in twin.model.state_dict().items())
    for name, codes in order.ordered.codes.items():
        with twin.using(chip):
            assert np.array_equal(twin.codes(name).read_back, codes)


def test_one_order_for_all_members_of_a_group(digits):
    net, _, groups = digits
    chips = tm.random_fault_maps(net.placement.memory, chips=4, fault_rate=2e-4, seed=3)
    merged = tm.merge(chips, on_conflict="error")
    (order,) = tm.reorder(net, [merged], groups=groups, progress=False)
    assert order.exact
    assert order.faults == len(merged)
    for chip in chips:  # each has some of the stuck cells of the union, and no other
        assert read_by_hand(dict(order.image.codes), net.placement, chip) == 0
        twin = copy.deepcopy(net)
        tm.apply_order_(twin, order)
        with twin.using(chip):
            assert all(np.array_equal(twin.codes(n).read_back, c) for n, c in order.ordered.codes.items())


@pytest.mark.parametrize("on_conflict", ["free", "majority"])
def test_of_a_conflict_an_order_knows_only_what_the_map_says(digits, on_conflict):
    net, _, groups = digits
    one, two = tm.random_fault_maps(net.placement.memory, chips=2, fault_rate=2e-4, seed=3)
    opposite = 1 - one.stuck_at[:1]
    extra = tm.FaultMap(
        two.memory, np.r_[two.cells, one.cells[:1]], np.r_[two.stuck_at, opposite.astype(two.stuck_at.dtype)], chip="other"
    )
    merged = tm.merge([one, extra], on_conflict=on_conflict)
    assert len(merged.conflicts) == 1
    (order,) = tm.reorder(net, [merged], groups=groups, progress=False)
    assert order.exact  # for the map
    wrong = [read_by_hand(dict(order.image.codes), net.placement, chip) for chip in (one, extra)]
    assert sorted(wrong) == [0, 1]  # the conflicting bit is what one of them cannot hold
