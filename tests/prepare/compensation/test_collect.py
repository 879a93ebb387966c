"""Moments of a network's inputs, against outputs that torch computes."""

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Uint8ActPerTensorFixedPoint
from helpers import a_chip, a_net, options_of
from torch import nn

from tremap_brevitas import quant as tq
from tremap_brevitas.prepare.compensation.collect import input_moments

QUANT = tq.FaultyInt8WeightPerChannelFloat


def images(count=40, shape=(4, 9, 9)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(3))


def layers(weight_quant=QUANT, **options):
    """Name to (layer, shape of an input)."""
    torch.manual_seed(0)
    quant = {"weight_quant": weight_quant, "bias": False, **options}
    return {
        "linear": (qnn.QuantLinear(16, 5, **quant), (16,)),
        "tokens": (qnn.QuantLinear(16, 5, **quant), (3, 16)),
        "conv": (qnn.QuantConv2d(8, 6, 3, padding=1, stride=2, **quant), (8, 9, 9)),
        "grouped": (qnn.QuantConv2d(8, 6, (3, 2), groups=2, **quant), (8, 9, 9)),
        "transposed": (qnn.QuantConvTranspose2d(8, 6, (3, 2), stride=2, **quant), (8, 5, 4)),
        "transposed 1d": (qnn.QuantConvTranspose1d(8, 6, 3, **quant), (8, 5)),
    }


def case(name, quantizer="FaultyInt8WeightPerChannelFloat"):
    layer, shape = layers(getattr(tq, quantizer), **options_of(quantizer))[name]
    return a_net(nn.Sequential(layer).eval()), images(12, shape)


@torch.no_grad()
def outputs(net, codes, x):
    """Outputs with channels last, flat, float64."""
    with net.using_codes(codes):
        y = net.model(x)
    y = y if isinstance(net.model[0], nn.Linear) else y.movedim(1, -1)
    return y.reshape(-1, y.shape[-1]).double().numpy()


QUANTIZERS = [
    "FaultyInt8WeightPerTensorFixedPoint",
    "FaultyInt8WeightPerChannelFloat",
    "FaultyShiftedUint8WeightPerTensorFloat",
    "FaultyMXInt8Weight",
]


@pytest.mark.parametrize("name", ["linear", "tokens", "conv", "grouped", "transposed", "transposed 1d"])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_power_and_errors_are_those_of_the_outputs(name, quantizer):
    if "MX" in quantizer and name not in ("linear", "tokens", "conv"):
        pytest.skip("groups of weights along the inputs of ordinary layers")
    net, x = case(name, quantizer)
    image = net.memory_image()
    moments = input_moments(net, x.split(5))
    assert moments.image == image.digest
    (layer,) = moments.layers.values()
    right = outputs(net, image.codes, x)
    assert layer.power.reshape(-1) == pytest.approx(np.square(right).mean(0), rel=1e-4)
    shape = image.codes["0"].shape
    rng = np.random.default_rng(0)
    for count in (1, 3, image.codes["0"].size):
        weight = rng.choice(image.codes["0"].size, count, replace=False)
        codes = image.codes["0"].copy()
        wanted = codes.reshape(-1)[weight].astype(int)
        codes.reshape(-1)[weight] = rng.integers(int(codes.min()), int(codes.max()) + 1, count)
        wrong = outputs(net, {"0": codes}, x)
        expected = (np.square(wrong - right).mean(0).sum() / np.square(right).mean(0).sum()) ** 0.5
        off = codes.reshape(-1)[weight].astype(int) - wanted
        assert layer.output_error(weight, off, shape=shape) == pytest.approx(expected, rel=1e-3, abs=1e-7)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.emb = qnn.QuantEmbedding(5, 8, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint)
        self.act = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)
        self.twice = qnn.QuantLinear(8, 8, weight_quant=QUANT, bias=True)
        self.quantized = qnn.QuantLinear(8, 4, weight_quant=QUANT, bias=False, input_quant=Uint8ActPerTensorFixedPoint)
        self.never = qnn.QuantLinear(8, 4, weight_quant=QUANT, bias=False)

    def forward(self, x):
        x = self.emb(x)
        return self.quantized(self.act(self.twice(self.twice(x))))


def test_what_goes_into_layers_of_a_faulty_network():
    net = a_net(Net().eval())
    tokens = torch.randint(5, (50, 2), generator=torch.Generator().manual_seed(0))
    net.model.train()
    net.model(tokens)  # activation scales
    net.model.eval()
    net.set_faults_(a_chip(net.placement))
    moments = input_moments(net, [(tokens[:20], "label"), tokens[20:], tokens[:0]])
    assert set(moments.layers) == {"twice", "quantized"}
    assert moments.layers["twice"].samples == 200
    seen = []
    handles = [net.model.twice.register_forward_pre_hook(lambda m, a: seen.append(a[0]))]
    net.model(tokens)
    handles[0].remove()
    rows = torch.cat([getattr(x, "value", x).reshape(-1, 8) for x in seen]).detach().double().numpy()
    layer = moments.layers["twice"]
    assert layer.whole(0, np.arange(8)) == pytest.approx(rows.T @ rows / len(rows), rel=1e-5, abs=1e-6)
    assert layer.mean[0] == pytest.approx(rows.mean(0), rel=1e-5, abs=1e-6)


def test_fewer_samples_and_another_call():
    net, x = case("conv")
    few = input_moments(net, [x], samples=7, forward=lambda model, batch: model(batch * 2))
    assert few.layers["0"].samples == 7
    double = input_moments(net, [x], forward=lambda model, batch: model(batch * 2))
    assert double.layers["0"].power == pytest.approx(4 * input_moments(net, [x]).layers["0"].power)


def test_what_is_refused_and_leaves_no_hook():
    net, x = case("linear")
    with pytest.raises(ValueError, match="no inputs were given"):
        input_moments(net, [])
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        input_moments(net, [x], samples=0)
    with pytest.raises(ValueError, match="layer '0': its inputs are not all finite"):
        input_moments(net, [x * float("nan")])
    with pytest.raises(RuntimeError):
        input_moments(net, [x[:, :3]])
    assert not net.model[0]._forward_pre_hooks


def test_the_healthy_networks_moments_are_told_apart(tmp_path):
    net, x = case("conv")
    with pytest.raises(TypeError, match=r"the result of net.moments\(\) describes the healthy network"):
        net.export(tmp_path / "bundle", x[:1], moments=net.moments([x], progress=False))
    assert list(tmp_path.iterdir()) == []
