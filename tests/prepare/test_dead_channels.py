"""Channels whose codes are all zero: silent on a chip, and the healthy network as it was."""

import copy

import brevitas.nn as qnn
import pytest
import torch
from brevitas.quant import Int8ActPerTensorFixedPoint
from helpers import a_chip, a_net, options_of
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint
KINDS = {
    "conv": lambda **o: (qnn.QuantConv2d(3, 8, 3, **o), (6, 3, 5, 5)),
    "grouped": lambda **o: (qnn.QuantConv2d(4, 8, 3, groups=2, **o), (6, 4, 5, 5)),
    "transposed": lambda **o: (qnn.QuantConvTranspose2d(3, 8, 3, **o), (6, 3, 5, 5)),
    "linear": lambda **o: (qnn.QuantLinear(6, 8, **o), (16, 6)),
}


def with_dead_channels(kind="conv", dead=(2, 5), *, bias=False, quant=QUANT, **options):
    """A layer with a BatchNorm as training leaves it, and inputs."""
    torch.manual_seed(0)
    layer, shape = KINDS[kind](bias=bias, weight_quant=quant, **options)
    norm = (nn.BatchNorm1d if kind == "linear" else nn.BatchNorm2d)(8)
    x = torch.randn(shape)
    with torch.no_grad():
        if kind == "transposed":
            layer.weight[:, list(dead)] = 0
        else:
            layer.weight[list(dead)] = 0
        norm.weight.uniform_(-2, 2), norm.bias.normal_()
    model = nn.Sequential(layer, norm)
    for _ in range(50):
        model(x)
    with torch.no_grad():
        norm.running_var[list(dead)] = 0
    return a_net(model.eval()), x


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_network_whose_dead_channels_no_stuck_cell_reaches(kind, bias):
    net, x = with_dead_channels(kind, bias=bias)
    chip = a_chip(net.placement, rate=0.2)
    with torch.no_grad():
        healthy = net.model(x)
        with net.using(chip):
            assert float((net.model(x) - healthy)[:, [2, 5]].abs().max()) > 10
        assert tm.prepare.silence_dead_channels_(net, x[:1]) == {"0": (2, 5)}
        torch.testing.assert_close(net.model(x), healthy, rtol=1e-5, atol=1e-4)
        with net.using(chip):
            assert (net.codes("0").read_back != net.codes("0").wanted).any()
            assert float((net.model(x) - healthy)[:, [2, 5]].abs().max()) < 0.01
            others = [0, 1, 3, 4, 6, 7]
            assert float((net.model(x) - healthy)[:, others].abs().max()) > 0.1  # live channels are as they were
    state = copy.deepcopy(net.model.state_dict())
    assert tm.prepare.silence_dead_channels_(net, x[:1]) == {}
    assert all(torch.equal(value, state[key]) for key, value in net.model.state_dict().items())


def test_the_live_map_and_the_mode_stay():
    net, x = with_dead_channels()
    chip = a_chip(net.placement, rate=0.2)
    net.set_faults_(chip)
    net.model.train()
    assert tm.prepare.silence_dead_channels_(net, x[:1]) == {"0": (2, 5)}
    assert net.fault_map is chip
    assert net.model.training


@pytest.mark.parametrize(
    "name", ["FaultyShiftedUint8WeightPerTensorFloat", "FaultyInt8WeightPerChannelFloat", "FaultyMXInt8Weight"]
)
def test_every_quantizer(name):
    net, x = with_dead_channels("linear", quant=getattr(tq, name), **options_of(name))
    assert tm.prepare.silence_dead_channels_(net, x[:1]) == {"0": (2, 5)}


def test_what_no_batchnorm_multiplies_is_left_alone():
    net, x = with_dead_channels(dead=())
    state = copy.deepcopy(net.model.state_dict())
    assert tm.prepare.silence_dead_channels_(net, x[:1]) == {}
    assert all(torch.equal(value, state[key]) for key, value in net.model.state_dict().items())
    quantized, x = with_dead_channels(output_quant=Int8ActPerTensorFixedPoint)
    assert tm.prepare.silence_dead_channels_(quantized, x[:1]) == {}
    with pytest.raises(TypeError, match="PlacedModel"):
        tm.prepare.silence_dead_channels_(net.model, x)


def test_a_model_of_two_inputs():
    net, x = with_dead_channels()
    layers = net.model

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, x, y):
            return self.layers(x) + y

    assert tm.prepare.silence_dead_channels_(a_net(Two()), x[:1], torch.zeros(())) == {"layers.0": (2, 5)}


def test_compensation_goes_on_from_there():
    net, x = with_dead_channels()
    tm.prepare.silence_dead_channels_(net, x[:1])
    healthy, chip = copy.deepcopy(net), a_chip(net.placement, rate=0.2)
    nearest = copy.deepcopy(net)
    nearest.set_faults_(chip)
    net.compensate_([x], fault_map=chip, progress=False)
    with torch.no_grad():
        wanted = healthy.model(x)
        assert (net.model(x) - wanted).norm() < (nearest.model(x) - wanted).norm()
