"""What a layout learns of a model's layers, found by tracing."""

import brevitas.nn as qnn
import pytest
import torch
from networks import DigitsNet, ResNet
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.placement import linear_placement


class Net(nn.Module):
    """A convolution of 3 channels, and a linear layer of 12 columns behind whatever ``between`` does."""

    def __init__(self, between):
        super().__init__()
        self.between = between
        self.conv, self.other = qnn.QuantConv2d(1, 3, 3, bias=False), qnn.QuantConv2d(1, 2, 3, bias=False)
        self.norm, self.relu, self.fc = nn.BatchNorm2d(3), qnn.QuantReLU(), qnn.QuantLinear(12, 2, bias=False)
        self.pool, self.flat = nn.MaxPool2d(2), nn.Flatten()

    def forward(self, x):
        return self.fc(self.between(self, x))


def found_in(model, **options):
    """The layers as a layout sees them."""
    seen = []

    def layout(layers, memory):
        seen.extend(layers)
        return linear_placement(layers, memory)

    tm.place(tm.make_faulty(model), tm.Memory(words=300_000, word_bits=32), layout=layout, **options)
    return {layer.name: layer for layer in seen}


FOUND = {
    "module": lambda net, x: net.flat(net.relu(net.norm(net.conv(x)))),
    "flatten": lambda net, x: torch.flatten(net.conv(x), 1),
    "method": lambda net, x: net.conv(x).relu().flatten(start_dim=1),
    "view": lambda net, x: (y := net.conv(x)).view(y.size(0), -1),
    "reshape": lambda net, x: torch.reshape(y := net.conv(x), (y.shape[0], -1)),
    "pool": lambda net, x: torch.relu(net.flat(nn.functional.max_pool2d(net.pool(net.conv(x)), 2))),
    "sum": lambda net, x: net.flat(net.relu(net.conv(x)) + torch.roll(x, 1)),
}
NOT_FOUND = {
    "two channels or three": lambda net, x: net.flat(torch.cat([net.conv(x), net.other(x)], 1)),
    "permuted": lambda net, x: net.flat(net.conv(x).permute(0, 2, 3, 1)),
    "rows mixed": lambda net, x: net.conv(x).view(-1, 12),
    "another batch": lambda net, x: (y := net.conv(x)).view(y.size(2), -1),
    "pool behind": lambda net, x: nn.functional.max_pool1d(net.flat(net.conv(x)), 2),
    "doubled": lambda net, x: net.flat(net.conv(x) @ x),
    "not flat": lambda net, x: net.conv(x),
    "branch": lambda net, x: net.flat(net.conv(x)) if x.sum() > 0 else x,
    "an image that was changed": lambda net, x: net.flat(torch.relu(x)),
}


@pytest.mark.parametrize("between", FOUND)
def test_the_channels_are_found(between):
    assert found_in(Net(FOUND[between]))["fc"].channels == 3


@pytest.mark.parametrize("between", NOT_FOUND)
def test_or_said_not_to_be(between):
    assert found_in(Net(NOT_FOUND[between]))["fc"].channels == 0


def test_the_number_of_columns_where_nothing_was_flattened():
    assert (
        found_in(nn.Sequential(qnn.QuantLinear(12, 6, bias=False), nn.ReLU(), qnn.QuantLinear(6, 3, bias=False)))["2"].channels
        == 6
    )
    assert found_in(Net(lambda net, x: x))["fc"].channels == 12
    assert found_in(Net(lambda net, x: net.flat(x)))["fc"].channels == 12
    assert found_in(Net(lambda net, x: net.flat(net.conv(x))), include="fc")["fc"].channels == 3


def test_whole_networks():
    assert found_in(DigitsNet())["classifier"].channels == 24
    assert found_in(ResNet())["linear"].channels == 64


def test_groups_and_transposed():
    model = nn.Sequential(qnn.QuantConv2d(4, 4, 3, groups=2, bias=False), qnn.QuantConvTranspose2d(4, 2, 3, bias=False))
    layers = found_in(model)
    assert (layers["0"].groups, layers["0"].transposed) == (2, False)
    assert (layers["1"].groups, layers["1"].transposed) == (1, True)


def test_a_layer_that_runs_twice_on_unlike_inputs():
    model = Net(lambda net, x: (net.fc(x), net.flat(net.conv(x)))[1])
    assert found_in(model)["fc"].channels == 0


def test_a_forward_pass_that_was_replaced():
    model = Net(lambda net, x: net.flat(net.conv(x)))
    model.forward = lambda x: model.fc(model.conv(x).permute(0, 2, 3, 1).flatten(1))
    assert found_in(model)["fc"].channels == 0
