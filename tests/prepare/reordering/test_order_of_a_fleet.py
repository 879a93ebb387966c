"""Orders together with what prepares a fleet, with moments, and with all that there is one of for each channel."""

import copy

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Int8WeightPerChannelFloat
from reorderable import lively, placed_digits
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.order import SearchOptions, check_order, groups_digest, load_groups, output_importance, save_groups
from tremap_brevitas.prepare import prepare_fleet
from tremap_brevitas.prepare.compensation.collect import input_moments

QUICK = SearchOptions(rounds=10, patience=3)


@pytest.fixture(scope="module")
def digits():
    return placed_digits()


def read_of(codes, placement, chip):
    """What a chip gives back of these codes, bit by bit."""
    words = tm.MemoryImage(placement, codes).words()
    for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
        word, bit = divmod(cell, chip.memory.word_bits)
        words[word] = words[word] | 1 << bit if value else words[word] & ~(1 << bit)
    return tm.MemoryImage.from_words(placement, words).codes


def test_one_order_for_a_group_then_every_member_is_prepared(digits):
    """The members of a merged group share an order; what it leaves on each is compensated, and comes back as it was written."""
    net, x, groups = digits
    chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=4e-3, seed=3)
    merged = tm.merge(chips, on_conflict="majority")
    (order,) = tm.reorder(net, [merged], groups=groups, options=QUICK, progress=False)
    assert order.wrong < order.wrong_as_it_lies
    twin = copy.deepcopy(net)
    tm.apply_order_(twin, order)
    with torch.no_grad():
        wanted = net.model(x)
        assert torch.allclose(twin.model(x), wanted, atol=1e-4)
    fleet = prepare_fleet(twin, chips, twin.moments(x.split(32), progress=False), progress=False)
    for number, (chip, ready) in enumerate(zip(chips, fleet.chips, strict=True)):
        codes = dict(ready.codes)
        read = read_of(codes, net.placement, chip)
        assert all(np.array_equal(read[name], codes[name]) for name in codes)
        assert tm.placement.certificate(tm.MemoryImage(net.placement, codes), chip).bit_exact
        assert ready.report.error < ready.report.nearest_error
        own = copy.deepcopy(twin)
        fleet.apply_(own, number)
        with torch.no_grad():
            prepared = float(((own.model(x) - wanted) ** 2).mean())
            with twin.using(chip):
                in_order = float(((twin.model(x) - wanted) ** 2).mean())
        assert prepared < in_order


def test_moments_weigh_what_stays(digits):
    net, x, groups = digits
    chips = tm.random_fault_maps(net.placement.memory, chips=2, fault_rate=5e-2, seed=1)
    moments = input_moments(net, x.split(32))
    importance = output_importance(moments, net.memory_image())
    options = SearchOptions(aim="error")

    def harm(order):
        """Sum of the squared relative errors of the outputs, one wrong code at a time."""
        read = order.codes_read
        errors = {name: read[name].astype(float) - codes for name, codes in order.network.codes.items()}
        return sum(float((importance[name] * error**2).sum()) for name, error in errors.items())

    orders = tm.reorder(net, chips, groups=groups, options=options, moments=moments, progress=False)
    other = tm.reorder(net, chips, groups=groups, options=options, progress=False)
    for one, two in zip(orders, other, strict=True):
        assert harm(one) < harm(two)
    with pytest.raises(ValueError, match="give moments or importance, not both"):
        tm.reorder(net, chips, groups=groups, moments=moments, importance={}, progress=False)
    with pytest.raises(TypeError, match="moments must be"):
        tm.reorder(net, chips, groups=groups, moments=net.moments(x.split(32), progress=False), progress=False)


def test_values_of_every_channel_are_those_of_the_model_in_order(tmp_path):
    """From the groups' file and the healthy network alone: biases, the four of each BatchNorm, scales of each channel."""
    torch.manual_seed(0)
    options = {"weight_quant": Int8WeightPerChannelFloat}
    x = torch.randn(16, 2, 6, 6)
    model = nn.Sequential(
        qnn.QuantConv2d(2, 8, 3, **options), nn.BatchNorm2d(8), nn.ReLU(), qnn.QuantConv2d(8, 12, 3, **options),
        nn.BatchNorm2d(12), nn.ReLU(), nn.Flatten(), qnn.QuantLinear(48, 5, **options),
    )  # fmt: skip
    net = tm.place(tm.make_faulty(lively(model, x)), tm.Memory(words=400, word_bits=32))
    groups = tm.prepare.channel_groups(net, x[:2]).groups
    (chip,) = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=3e-3, seed=1)
    (order,) = tm.reorder(net, [chip], groups=groups, progress=False)
    assert order.moved > 8
    assert check_order(order, chip) == ()
    state = {key: value.detach().numpy().copy() for key, value in net.model.state_dict().items()}
    twin = copy.deepcopy(net)
    tm.apply_order_(twin, order)
    loaded = load_groups(save_groups(groups, tmp_path / "groups.npz"))
    assert groups_digest(loaded) == groups_digest(groups)
    from_files = type(order)(
        *(order.chip, order.fault_map, order.network, loaded, order.orders),
        *(order.differences, order.faults, order.wrong_as_it_lies, order.unavoidable),
    )
    values = from_files.values(state)
    changed = set()
    placed = {entry.parameter.data_ptr() for entry in _parameters(twin)}
    for key, value in twin.model.state_dict(keep_vars=True).items():
        if value.data_ptr() in placed:
            continue  # weights: their codes are in the words
        assert np.array_equal(values[key], value.detach().numpy()), key
        changed |= {key} if not np.array_equal(values[key], state[key]) else set()
    for number in (0, 3):
        assert f"{number}.bias" in changed
        assert {f"{number + 1}.{name}" for name in ("weight", "bias", "running_mean", "running_var")} <= changed
    with twin.using(None), net.using(None):
        for name in ("0", "3", "7"):
            scale, own = (n.model.get_submodule(name).quant_weight().scale.detach().reshape(-1) for n in (twin, net))
            assert len(own) > 1
            assert torch.equal(scale, own[torch.from_numpy(order.channels(name))])


def _parameters(net):
    from tremap_brevitas.placed.slots import matching_slots

    return matching_slots(net.model, net.placement).values()
