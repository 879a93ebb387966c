"""From a network and its chips to orders in which the chips compute exactly this network."""

import copy

import numpy as np
import oracle
import pytest
import torch
from networks import DigitsNet, FullRangeWeight
from reorderable import Grouped, lively, placed

import tremap_brevitas as tm


@pytest.fixture(scope="module")
def digits():
    torch.manual_seed(0)
    x = torch.rand(8, 1, 8, 8).mul(16).round().div(16)
    net = tm.place(tm.make_faulty(lively(DigitsNet(weight_quant=FullRangeWeight), x)), tm.Memory(words=2456, word_bits=32))
    chips = tm.random_fault_maps(net.placement.memory, chips=6, fault_rate=2e-4, seed=0)
    return net, x, chips, tm.reorder(net, chips, x, progress=False)


def words_read_by_hand(order, chip):
    """What the chip gives back for the image, bit by bit."""
    words, width = order.image.words(), chip.memory.word_bits
    for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
        word, bit = divmod(cell, width)
        words[word] = words[word] | 1 << bit if value else words[word] & ~(1 << bit)
    return words


def test_most_chips_are_exact_in_some_order(digits):
    net, _, chips, orders = digits
    assert len(orders) == len(chips) == 6
    assert orders.exact_as_they_lie == 0
    assert orders.exact >= 5
    for chip, order in zip(chips, orders, strict=True):
        codes = order.read(words_read_by_hand(order, chip))
        wrong = sum(int((codes[name] != wanted).sum()) for name, wanted in net.memory_image().codes.items())
        assert (wrong == 0) == order.exact
        assert wrong == order.wrong


def test_a_chip_computes_exactly_the_network_in_its_order(digits):
    net, x, chips, orders = digits
    wanted = net.model(x)
    state = copy.deepcopy(net.model.state_dict())
    for chip, order in zip(chips, orders, strict=True):
        twin = copy.deepcopy(net)
        tm.apply_order_(twin, order)
        assert torch.equal(twin.model(x), wanted)
        twin.set_faults_(chip)
        output = twin.model(x)
        if order.exact:
            assert torch.equal(output, wanted)
        for name, codes in order.certificate.read().items():
            assert np.array_equal(twin.codes(name).read_back, codes)
        twin.clear_faults_()
        for name, codes in order.ordered.codes.items():
            assert np.array_equal(twin.codes(name).wanted, codes)
    assert all(torch.equal(value, state[key]) for key, value in net.model.state_dict().items())
    assert net.fault_map is None


def test_an_order_is_of_the_codes_that_it_was_made_for(digits):
    net, _, _, orders = digits
    twin = copy.deepcopy(net)
    order = next(order for order in orders if order.moved)
    tm.apply_order_(twin, order)
    state = copy.deepcopy(twin.model.state_dict())
    with pytest.raises(ValueError, match="of a network with other codes, or one that is in another order already"):
        tm.apply_order_(twin, order)
    assert all(torch.equal(value, state[key]) for key, value in twin.model.state_dict().items())


def test_groups_that_were_found_before_need_no_inputs(digits):
    net, x, chips, orders = digits
    again = tm.reorder(net, chips[:2], groups=tm.prepare.channel_groups(net, x).groups, progress=False)
    for one, other in zip(again, orders, strict=False):
        assert all(np.array_equal(one.orders[name], other.orders[name]) for name in one.orders)


def test_grouped_convolutions_by_the_oracle():
    net, x = placed(Grouped)
    net = tm.place(net.model, tm.Memory(words=net.placement.words, word_bits=32))
    chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=1e-3, seed=1)
    orders = tm.reorder(net, chips, x, progress=False)
    assert orders.exact > 0
    for chip, order in zip(chips, orders, strict=True):
        twin = copy.deepcopy(net)
        tm.apply_order_(twin, order)
        stuck = {}
        for sites in net.placement.sites(chip.cells):
            for weight, bit, source in zip(sites.weight, sites.bit, sites.source, strict=True):
                stuck.setdefault((sites.layer.name, int(weight)), {})[int(bit)] = int(chip.stuck_at[source])
        wrong = 0
        for (name, weight), bits in stuck.items():
            code = int(twin.codes(name).wanted.reshape(-1)[weight])
            wrong += oracle.nearest(code, bits, 8, "twos_complement") != code
        assert wrong == order.wrong


def test_bad_arguments(digits):
    net, x, chips, _ = digits
    with pytest.raises(ValueError, match="needs inputs to run the model on, or groups"):
        tm.reorder(net, chips)
    with pytest.raises(TypeError, match="net must be of type PlacedModel"):
        tm.reorder(net.model, chips, x)
    with pytest.raises(TypeError, match="permutations need groups="):
        tm.apply_order_(net, {})
    other = tm.random_fault_maps(tm.Memory(words=5, word_bits=8), chips=1, fault_rate=0.1, seed=0)
    with pytest.raises(ValueError, match="memory"):
        tm.reorder(net, other, x, progress=False)
