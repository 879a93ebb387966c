"""Every kind of layer, width and encoding is compensated, or keeps its nearest codes and is named."""

import copy

import brevitas.nn as qnn
import pytest
import torch
from brevitas.quant import Int8WeightPerTensorFloat
from helpers import a_chip, a_net
from torch import nn

from tremap_brevitas import quant as tq

QUANT = tq.FaultyInt8WeightPerTensorFloat
OPTIONS = {"bias": True, "weight_quant": QUANT}
KINDS = {
    "linear": (qnn.QuantLinear, (6, 8), (64, 6)),
    "linear on sequences": (qnn.QuantLinear, (6, 8), (16, 5, 6)),
    "conv1d": (qnn.QuantConv1d, (4, 6, 3), (32, 4, 9)),
    "conv2d": (qnn.QuantConv2d, (4, 6, 3), (32, 4, 6, 6)),
    "conv2d, channels last": (qnn.QuantConv2d, (4, 6, 3), (32, 4, 6, 6)),
    "conv3d": (qnn.QuantConv3d, (2, 5, 2), (16, 2, 4, 4, 4)),
    "transposed 1d": (qnn.QuantConvTranspose1d, (4, 6, 3), (32, 4, 7)),
    "transposed 2d": (qnn.QuantConvTranspose2d, (4, 6, 3), (32, 4, 5, 5)),
    "transposed 3d": (qnn.QuantConvTranspose3d, (2, 5, 2), (16, 2, 3, 3, 3)),
    "depthwise": (lambda *args, **options: qnn.QuantConv2d(*args, groups=6, **options), (6, 6, 3), (32, 6, 6, 6)),
}


def run_alike(net, x, chip, **options):
    """Errors of the outputs with the nearest codes and compensated, and the report."""
    healthy = copy.deepcopy(net)
    with torch.no_grad():
        wanted = healthy.model(x)
        net.set_faults_(chip)
        nearest = net.model(x)
        report = net.compensate_([x], progress=False, **options)
        compensated = net.model(x)
    assert net.certificate(chip).bit_exact
    return (nearest - wanted).square().sum(), (compensated - wanted).square().sum(), report


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_layer(name):
    kind, sizes, shape = KINDS[name]
    torch.manual_seed(0)
    net = a_net(nn.Sequential(kind(*sizes, **OPTIONS)).eval())
    x = torch.randn(shape) @ torch.randn(shape[-1], shape[-1])
    if "last" in name:
        net.model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    nearest, compensated, report = run_alike(net, x, a_chip(net.placement, rate=0.1))
    assert compensated < nearest
    (layer,) = report.layers
    assert not layer.reason
    assert not layer.limit
    assert layer.compensated < layer.nearest


@pytest.mark.parametrize("encoding", ["twos_complement", "offset_binary", "sign_magnitude"])
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8, 9, 12, 16])
def test_every_width_and_encoding(bits, encoding):
    torch.manual_seed(0)
    layer = qnn.QuantLinear(16, 12, bias=True, weight_quant=QUANT.let(bit_width=bits))
    net = a_net(layer.eval(), encoding=encoding)
    x = torch.randn(128, 16) @ torch.randn(16, 16)
    nearest, compensated, report = run_alike(net, x, a_chip(net.placement, rate=0.1))
    assert compensated < nearest
    assert not report.layers[0].reason


class Attention(nn.Module):
    """Of 8 channels and two heads, with a projection of its own for queries, keys and values each."""

    def __init__(self):
        super().__init__()
        options = {"in_proj_weight_quant": QUANT, "out_proj_weight_quant": QUANT, "batch_first": True}
        self.attention = qnn.QuantMultiheadAttention(8, 2, packed_in_proj=False, **options)

    def forward(self, x):
        return self.attention(x, x, x)[0]


def test_projections_of_an_attention():
    torch.manual_seed(0)
    net = a_net(Attention().eval())
    nearest, compensated, report = run_alike(net, torch.randn(32, 5, 8), a_chip(net.placement, rate=0.1))
    assert compensated < nearest
    assert len(report.layers) == 4
    assert not any(layer.reason or layer.limit for layer in report.layers)


def test_layers_that_are_called_with_named_arguments():
    torch.manual_seed(0)

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = qnn.QuantLinear(8, 6, **OPTIONS)

        def forward(self, x):
            return self.layer(input=x)

    for shared in (False, True):
        net, x = a_net(Named().eval()), torch.randn(64, 8)
        given = {"moments": net.moments([x], progress=False)} if shared else {"batches": [x]}
        report = net.compensate_(fault_map=a_chip(net.placement, rate=0.1), progress=False, **given)
        assert not report.layers[0].reason
        assert report.error < report.nearest_error


def test_gates_of_a_recurrent_layer_keep_their_nearest_codes():
    torch.manual_seed(0)

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = qnn.QuantLSTM(5, 6, weight_quant=QUANT, batch_first=True)
            self.head = qnn.QuantLinear(6, 3, **OPTIONS)

        def forward(self, x):
            return self.head(self.lstm(x)[0])

    net = a_net(Recurrent().eval())
    healthy, chip = copy.deepcopy(net), a_chip(net.placement, rate=0.1)
    report = net.compensate_([torch.randn(16, 4, 5)], fault_map=chip, progress=False)
    reasons = {layer.layer: layer.reason for layer in report.layers}
    assert reasons.pop("head") == ""
    assert len(reasons) == 8
    assert set(reasons.values()) == {"it was not run as a layer of its own"}
    assert all(
        torch.equal(value, dict(healthy.model.lstm.state_dict())[key]) for key, value in net.model.lstm.state_dict().items()
    )


@pytest.mark.parametrize("placed", ["both", "first"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_weight_of_two_layers_keeps_its_nearest_codes(placed, shared):
    torch.manual_seed(0)
    quantizers = (QUANT, QUANT) if placed == "both" else (QUANT, Int8WeightPerTensorFloat)
    layers = [qnn.QuantLinear(8, 8, bias=False, weight_quant=quant) for quant in quantizers]
    layers[1].weight = layers[0].weight
    model = nn.Sequential(layers[0], nn.BatchNorm1d(8), layers[1], qnn.QuantLinear(8, 4, **OPTIONS))
    x = torch.randn(64, 8)
    model(x)
    net = a_net(model.eval(), **({} if placed == "both" else {"include": ["0", "3"]}))
    before = layers[0].weight.clone()
    moments = net.moments([x], progress=False)
    given = {"moments": moments} if shared else {"batches": [x]}
    chip = a_chip(net.placement, rate=0.1)
    report = net.compensate_(fault_map=chip, progress=False, **given)
    reasons = {layer.layer: layer.reason for layer in report.layers}
    other = {"2": "its weight is also that of layer '0'"} if placed == "both" else {}
    assert reasons == {"0": "its weight is also that of layer '2'", **other, "3": ""}
    assert torch.equal(layers[0].weight, before)
    assert report.layers[-1].compensated < report.layers[-1].nearest
    assert net.certificate(chip).bit_exact


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("positions", [5, 8])
def test_a_batchnorm_over_positions_takes_no_factor(positions, shared):
    torch.manual_seed(0)
    model = nn.Sequential(
        qnn.QuantLinear(6, 8, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint), nn.BatchNorm1d(positions)
    )
    x = torch.randn(64, positions, 6) @ torch.randn(6, 6)
    for _ in range(30):
        model(x)
    net = a_net(model.eval())
    healthy, nearest, chip = copy.deepcopy(net), copy.deepcopy(net), a_chip(net.placement, rate=0.1)
    nearest.set_faults_(chip)
    inputs = {"moments": net.moments([x], progress=False)} if shared else {"batches": [x]}
    report = net.compensate_(**inputs, fault_map=chip, progress=False)
    assert report.layers[0].flipped == 0
    with torch.no_grad():
        wanted = healthy.model(x)
        assert (net.model(x) - wanted).norm() < 0.8 * (nearest.model(x) - wanted).norm()
