"""Run by test_traps.py with BREVITAS_JIT=0 and 1: quantizers against the oracle, reload, copy, conversion."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import brevitas.config
import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.export.inference import quant_inference_mode
from brevitas.quant import Int8BiasPerTensorFixedPointInternalScaling
from torch import nn

sys.path.append(str(Path(__file__).parents[1]))
from helpers import a_chip, a_net, brevitas_codes, expected_codes, options_of

import tremap_brevitas as tm
from tremap_brevitas import quant as tq

NAMES = [
    "FaultyInt8WeightPerTensorFixedPoint",
    "FaultyShiftedUint8WeightPerTensorFloat",
    "FaultyMXInt8Weight",
    "FaultyInt8WeightNormL2PerChannelFixedPoint",
]
for name in NAMES:
    for store in ("plain", "nearest"):
        torch.manual_seed(0)
        layer = qnn.QuantLinear(24, 5, bias=False, weight_quant=getattr(tq, name), **options_of(name))
        wanted = brevitas_codes(layer)
        net = a_net(layer)
        chip = a_chip(net.placement)
        net.set_faults_(chip, rule=tm.Rule(store))
        expected = expected_codes({"": wanted}, net.placement, chip, store)[""]
        assert np.array_equal(brevitas_codes(layer), expected), (name, store)
        layer(torch.randn(2, 24)).sum().backward()
        assert layer.weight.grad is not None
        keys = list(layer.state_dict())
        layer.load_state_dict(copy.deepcopy(layer.state_dict()), strict=True)
        assert np.array_equal(brevitas_codes(layer), expected), (name, store)
        assert list(layer.state_dict()) == keys
        assert not any("stuck" in n for n in keys)
        twin = copy.deepcopy(layer)
        net.clear_faults_()
        assert np.array_equal(brevitas_codes(layer), wanted)
        assert np.array_equal(brevitas_codes(twin), expected), (name, store)

wide = type("Wide", (tq.FaultyInt8WeightPerChannelFloat,), {"bit_width": 12})
layer = qnn.QuantLinear(8, 5, bias=False, weight_quant=wide)
wanted = brevitas_codes(layer)
net = a_net(layer)
chip = a_chip(net.placement)
net.set_faults_(chip)
assert np.array_equal(brevitas_codes(layer), expected_codes({"": wanted}, net.placement, chip, "nearest")[""])

model = nn.Sequential(qnn.QuantLinear(8, 5, bias=False))
codes = brevitas_codes(model[0])
tm.make_faulty(model)
net = a_net(model)
net.set_faults_(a_chip(net.placement))
assert not np.array_equal(brevitas_codes(model[0]), codes)
tm.restore(model)
assert np.array_equal(brevitas_codes(model[0]), codes)
# Biases, and quantizers that serve several weights: faults of each, through a reload, a copy, inference mode and threads.
biases = tq.faulty(Int8BiasPerTensorFixedPointInternalScaling)
first = qnn.QuantLinear(6, 6, weight_quant=tq.FaultyInt8WeightPerTensorFloat, bias_quant=biases)
shared = {"weight_quant": first.weight_quant, "bias_quant": first.bias_quant}
model = nn.Sequential(first, qnn.QuantLinear(6, 6, **shared)).eval()
net = a_net(model)
x = torch.randn(2, 6)
healthy = model(x)
wanted = {layer.name: net.codes(layer.name).wanted for layer in net.placement.layers}
assert list(wanted) == ["0", "0.bias", "1", "1.bias"]
chip = a_chip(net.placement)
for store in ("plain", "nearest"):
    expected = expected_codes(wanted, net.placement, chip, store)
    with torch.inference_mode():
        net.set_faults_(chip, rule=tm.Rule(store, "zero_fully_stuck"))
    faulty = model(x)
    assert not torch.equal(faulty, healthy)
    model.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
    twin = copy.deepcopy(net)
    for each in (net, twin):
        for name in wanted:
            assert np.array_equal(each.codes(name).read_back, expected[name]), (name, store)
        for n, layer in enumerate(each.model):
            assert np.array_equal(brevitas_codes(layer), expected[str(n)]), (n, store)
            bias = layer.quant_bias()
            assert np.array_equal(torch.round(bias.value / bias.scale).detach().numpy(), expected[f"{n}.bias"]), (n, store)
        assert torch.equal(each.model(x), faulty)
    net.clear_faults_()
    assert torch.equal(model(x), healthy)
    assert torch.equal(twin.model(x), faulty)
    net.set_faults_(chip, rule=tm.Rule(store))
    with torch.no_grad(), ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(output, faulty) for output in pool.map(model, [x] * 30))
    with torch.no_grad(), quant_inference_mode(model, cache_quant_weight=True):
        assert torch.equal(model(x), faulty)
        net.clear_faults_()
        assert torch.equal(model(x), healthy)
    model.train()(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()

print("jit", bool(brevitas.config.JIT_ENABLED), "passed")
