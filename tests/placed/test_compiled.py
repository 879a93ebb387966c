"""A compiled model computes what the model computes, whatever is done to its faults meanwhile."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import brevitas.nn as qnn
import pytest
import torch
from brevitas.quant import Int8WeightPerTensorFixedPoint, Int8WeightPerTensorFloat
from networks import FullRangeWeight
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq

X = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 10


class Small(nn.Module):
    """One layer of each kind that the digits network has: every mode is compiled anew, and each layer takes its time."""

    def __init__(self):
        super().__init__()
        self.conv = qnn.QuantConv2d(1, 16, 3, padding=1, stride=2, bias=False, weight_quant=FullRangeWeight)
        self.norm, self.act = nn.BatchNorm2d(16), qnn.QuantReLU(bit_width=8)
        self.fc = qnn.QuantLinear(256, 10, bias=True, weight_quant=FullRangeWeight)

    def forward(self, x):
        return self.fc(self.act(self.norm(self.conv(x))).flatten(1))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = tm.make_faulty(Small())
    for _ in range(3):
        model(X)
    model.load_state_dict(model.state_dict())  # ends the measuring of activation scales
    memory = tm.Memory(words=800, word_bits=32)
    chips = tm.random_fault_maps(memory, chips=3, fault_rate=0.05, seed=0)
    return model, tm.place(model, memory), chips, tm.compiled(model)


def gradients(loss, model):
    return torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])


@pytest.mark.slow
def test_outputs_and_gradients_under_every_kind_of_fault(network):
    model, net, chips, run = network
    for chip, store in ((chips[0], "nearest"), (chips[1], "nearest"), (chips[2], "plain")):
        net.set_faults_(chip, rule=tm.Rule(store))
        for training in (True, False):
            model.train(training)
            state = {k: v.clone() for k, v in model.named_buffers()}
            results = []
            for forward in (model, run):
                with torch.no_grad():  # BatchNorm moves on; both shall begin from the same
                    for key, value in model.named_buffers():
                        value.copy_(state[key])
                outputs = forward(X)
                results.append((outputs.detach(), *gradients(nn.functional.cross_entropy(outputs, LABELS), model)))
            for expected, actual in zip(*results, strict=True):
                torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
    model.eval()
    net.clear_faults_()
    torch.testing.assert_close(run(X), model(X), rtol=1e-4, atol=1e-4)
    net.set_faults_(chips[0])
    codes = net.memory_image().codes
    with net.using_codes(codes):
        torch.testing.assert_close(run(X), model(X), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_another_map_compiles_nothing(network):
    model, net, chips, run = network
    model.train()
    for chip in chips[:2]:  # the second map may be compiled for any map
        net.set_faults_(chip)
        run(X)
    with torch._dynamo.config.patch(error_on_recompile=True):
        ramp = tm.Ramp(net, tm.merge(chips, on_conflict="majority"), over_steps=4)
        ramp.step()
        ramp.step()
        for _ in range(3):
            run(X).sum().backward()
            ramp.step()
        before = run(X)
        net.set_faults_(chips[2])
        output = run(X)
        # Compiled sums round otherwise, so that single activations may fall on the next code; another map is far from that.
        torch.testing.assert_close(output, model(X), rtol=0, atol=0.02)
        assert float((output - before).abs().max()) > 0.2
        # Another mode does compile, so that the above could fail.
        codes = net.memory_image().codes
        with pytest.raises(torch._dynamo.exc.RecompileError), net.using_codes(codes):
            run(X)


@pytest.mark.slow
def test_in_bfloat16_only_sums_are_rounded(network):
    model, net, chips, _ = network
    model.eval()
    net.set_faults_(chips[0])
    with torch.no_grad():
        output, expected = tm.compiled(model, bfloat16=True)(X), model(X)
    assert output.dtype == torch.float32
    assert float((output - expected).abs().max()) < 0.05 * float(expected.abs().max())
    assert not torch.equal(output, expected)


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@dataclass
class Outputs:
    logits: torch.Tensor
    others: tuple
    name: str = "kept"


class Many(nn.Module):
    """A network with outputs of every kind."""

    def __init__(self):
        super().__init__()
        self.fc = qnn.QuantLinear(8, 4, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint)

    def forward(self, x):
        y = self.fc(x)
        nested = {"aux": [y, (y, None)], "pair": Pair(y, y.double()), "index": y.argmax(1), "all": Outputs(y, (y,))}
        return y, nested


@pytest.mark.slow
def test_every_output_of_bfloat16_is_float32():
    y, nested = tm.compiled(Many().eval(), bfloat16=True)(torch.randn(3, 8))
    outputs = (y, nested["aux"][0], nested["aux"][1][0], nested["pair"].first, nested["all"].logits, *nested["all"].others)
    assert {tensor.dtype for tensor in outputs} == {torch.float32}
    assert isinstance(nested["pair"], Pair)
    assert nested["pair"].second.dtype == torch.float64
    assert nested["index"].dtype == torch.int64
    assert nested["aux"][1][1] is None
    assert nested["all"].name == "kept"


def test_weights_that_bfloat16_rounds_are_named():
    wide = type("Wide", (Int8WeightPerTensorFixedPoint,), {"bit_width": 12})
    quantizers = {"exact": Int8WeightPerTensorFixedPoint, "scaled": Int8WeightPerTensorFloat, "wide": wide}
    layers = {name: qnn.QuantLinear(64, 16, bias=False, weight_quant=quantizer) for name, quantizer in quantizers.items()}
    layers["off"] = qnn.QuantLinear(64, 16, bias=False)
    layers["mx"] = qnn.QuantLinear(64, 16, bias=False, weight_quant=tq.FaultyMXInt8Weight)
    layers["shifted"] = qnn.QuantLinear(64, 16, bias=False, weight_quant=tq.FaultyShiftedUint8WeightPerTensorFloat)
    model = tm.make_faulty(nn.ModuleDict(layers))
    model["off"].weight_quant.disable_quant = True
    with pytest.warns(UserWarning, match="the weights of layers 'scaled', 'wide', 'shifted' are rounded to bfloat16"):
        tm.compiled(model, bfloat16=True)
    for name in ("exact", "scaled", "wide", "mx", "shifted"):  # and the warning is right
        value = model[name].quant_weight()
        value = value.value_ if name == "mx" else value.value
        assert torch.equal(value.bfloat16().float(), value) == (name in ("exact", "mx")), name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tm.compiled(model["exact"], bfloat16=True)
        tm.compiled(model)
        tm.compiled(nn.Linear(2, 2), bfloat16=True)


def test_what_is_no_model_cannot_be_compiled():
    with pytest.raises(TypeError, match="model must be of type torch.nn.Module, got function"):
        tm.compiled(gradients)
