"""A network put into another order and back: the same function, the codes permuted."""

import copy

import numpy as np
import pytest
import torch
from helpers import a_chip, brevitas_codes, expected_codes, options_of
from networks import DigitsNet
from reorderable import NETWORKS, Grouped, Residual, lively, placed
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.prepare.reordering import apply_order_, channel_groups, in_another_order


def random_orders(groups, seed=0):
    rng = np.random.default_rng(seed)
    return {group.name: rng.permutation(group.channels) for group in groups}


def moved_one_by_one(array, sides, orders):
    """The move in plain Python: every single number by itself."""
    for side, order in sides:
        before = array.copy()
        for place in np.ndindex(*array.shape):
            if side.within is not None and place[side.within[0]] not in side.within[1]:
                continue
            for slot, channel in enumerate(order):
                for k in range(side.index.shape[1]):
                    if place[side.axis] == side.index[slot, k]:
                        source = list(place)
                        source[side.axis] = side.index[channel, k]
                        array[place] = before[tuple(source)]
    return array


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_codes_are_permuted_and_the_function_is_the_same(kind):
    net, x = placed(kind)
    groups = channel_groups(net, x, prove=False).groups
    orders = random_orders(groups)
    codes = {layer.name: net.codes(layer.name).wanted.copy() for layer in net.placement.layers}
    state = {key: value.clone() for key, value in net.model.state_dict().items()}
    outputs = net.model(x).detach()
    apply_order_(net, orders, groups=groups)
    for name, before in codes.items():
        sides = [(s, orders[g.name]) for g in groups for s in g.sides if s.layer == name]
        assert np.array_equal(net.codes(name).wanted, moved_one_by_one(before, sides, orders)), name
    assert torch.allclose(net.model(x), outputs, atol=1e-2 * float(outputs.abs().max()))
    back = {name: np.argsort(order) for name, order in orders.items()}
    apply_order_(net, back, groups=groups[::-1])
    assert all(torch.equal(value, state[key]) for key, value in net.model.state_dict().items())
    assert torch.equal(net.model(x), outputs)


def test_integer_networks_give_the_very_same_outputs():
    torch.manual_seed(0)
    x = torch.randn(4, 1, 8, 8).mul(16).round().div(16)
    net = tm.place(tm.make_faulty(lively(DigitsNet(), x)), tm.Memory(words=3000, word_bits=32))
    outputs = net.model(x)
    groups = channel_groups(net, x).groups
    with in_another_order(net, random_orders(groups), groups=groups):
        assert torch.equal(net.model(x), outputs)
    assert torch.equal(net.model(x), outputs)


@pytest.mark.parametrize(
    "name",
    [
        "FaultyInt8WeightPerChannelFixedPoint",
        "FaultyInt8WeightPerChannelFloatMSE",
        "FaultyInt8WeightPerTensorFloat",
        "FaultyShiftedUint8WeightPerChannelFloat",
        "FaultyInt4WeightPerTensorFixedPointDecoupled",
        "FaultyMXInt8Weight",
    ],
)
def test_quantizers_of_every_family(name):
    import brevitas.nn as qnn

    quantizer = getattr(tq, name)
    torch.manual_seed(0)
    model = nn.Sequential(
        qnn.QuantLinear(16, 32, bias=True, weight_quant=quantizer, **options_of(name)),
        nn.ReLU(),
        qnn.QuantLinear(32, 4, bias=True, weight_quant=quantizer, **options_of(name)),
    ).eval()
    x = torch.randn(6, 16)
    outputs = model(x)
    net = tm.place(model, tm.Memory(words=1000, word_bits=32))
    report = channel_groups(net, x)
    assert report.groups
    orders = random_orders(report.groups)
    before = [brevitas_codes(model[0]), brevitas_codes(model[2])]
    apply_order_(net, orders, groups=report.groups)
    for layer, codes in zip(("0", "2"), before, strict=True):
        sides = [(s, orders[g.name]) for g in report.groups for s in g.sides if s.layer == layer]
        assert np.array_equal(brevitas_codes(model[int(layer)]), moved_one_by_one(codes, sides, orders))
    assert torch.allclose(model(x), outputs, atol=1e-5)


def test_faults_belong_to_slots():
    net, x = placed(Residual)
    groups = channel_groups(net, x, prove=False).groups
    chip = a_chip(net.placement, rate=0.02)
    net.set_faults_(chip)
    orders = random_orders(groups)
    apply_order_(net, orders, groups=groups)
    assert net.fault_map is chip
    with net.using(None):
        wanted = net.memory_image().codes
    expected = expected_codes(wanted, net.placement, chip)
    for layer in net.placement.layers:
        assert np.array_equal(net.codes(layer.name).read_back, expected[layer.name])


def test_a_tensor_of_two_names_is_moved_once():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = Grouped().stem
            self.again = self.stem[1]
            self.last = Residual().three

        def forward(self, x):
            return nn.functional.relu(self.again(self.stem[0](x))).mean((2, 3))

    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8)
    net = tm.place(tm.make_faulty(lively(Net(), x)), tm.Memory(words=3000, word_bits=32))
    groups = channel_groups(net, x, outputs_free=True).groups
    assert {v.layer for v in groups[0].values} >= {"stem.1.weight", "again.weight"}
    outputs = net.model(x)
    order = np.roll(np.arange(12), 5)
    with in_another_order(net, {"stem.0": order}, groups=groups):
        assert torch.equal(net.model(x), outputs[:, order])


def test_a_quantizer_that_depends_on_the_order_is_refused_and_nothing_is_changed():
    net, x = placed(Residual)
    groups = channel_groups(net, x, prove=False).groups
    proxy = net.model.two.weight_quant
    scale = proxy.tensor_quant.scaling_impl
    state = copy.deepcopy(net.model.state_dict())
    old = scale.forward

    def by_first_weight(weight, *args):
        return old(weight, *args) * (1 + weight.flatten()[0].abs())

    scale.forward = by_first_weight
    with pytest.raises(ValueError, match="layer 'two': its quantizer gives other codes"):
        apply_order_(net, random_orders(groups), groups=groups)
    assert all(torch.equal(value, state[key]) for key, value in net.model.state_dict().items())


def test_wrong_orders_are_refused():
    net, x = placed(Residual)
    groups = channel_groups(net, x, prove=False).groups
    state = copy.deepcopy(net.model.state_dict())
    with pytest.raises(ValueError, match="must be a permutation of 0 to 9"):
        apply_order_(net, {"stem.0": [1, 0, 2, 3, 4, 5], "two": [0] * 10}, groups=groups)
    with pytest.raises(ValueError, match="orders of groups"):
        apply_order_(net, {"nowhere": [0]}, groups=groups)
    assert all(torch.equal(value, state[key]) for key, value in net.model.state_dict().items())
