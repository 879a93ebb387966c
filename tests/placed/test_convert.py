"""Faulty quantizers in place of plain ones, and back."""

import copy

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.graph.quantize import layerwise_quantize, preprocess_for_quantize, quantize
from brevitas.quant import (
    Int8AccumulatorAwareWeightQuant,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloatMSE,
    SignedBinaryWeightPerTensorConst,
)
from helpers import a_chip, a_net, expected_codes, plain_codes_of
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.placed.slots import faulty_slots


def plain_network():
    torch.manual_seed(0)
    return nn.Sequential(
        qnn.QuantConv2d(1, 4, 3, weight_quant=Int8WeightPerTensorFixedPoint),
        nn.Flatten(),
        qnn.QuantLinear(16, 3, bias=True, weight_quant=Int8WeightPerTensorFloatMSE),
    )


@pytest.mark.parametrize("used_before", [True, False])
def test_make_faulty_and_restore_leave_everything_as_it_was(used_before):
    model, twin, x = plain_network(), plain_network(), torch.randn(2, 1, 4, 4)
    if used_before:
        model(x), twin(x)
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert tm.make_faulty(model) is model
    assert torch.equal(model(x), twin(x))
    assert all(p is parameters[n] for n, p in model.named_parameters())
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    assert not torch.equal(model(x), twin(x))
    tm.restore(model)
    assert torch.equal(model(x), twin(x))
    assert [type(m) for m in model.modules()] == [type(m) for m in twin.modules()]
    assert list(model.state_dict()) == list(twin.state_dict())
    assert all(p is parameters[n] for n, p in model.named_parameters())
    assert [p for g in optimizer.param_groups for p in g["params"]] == list(model.parameters())
    for one in (model, twin):
        one.load_state_dict(copy.deepcopy(one.state_dict()))
        one(x).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert torch.equal(model(x), twin(x))


def test_a_converted_model_trains_on_with_its_optimizer():
    model, x = plain_network(), torch.randn(2, 1, 4, 4)
    model(x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    tm.make_faulty(model)
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model(x).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(before[n], p) for n, p in model.named_parameters())


def test_layerwise_quantize():
    model = layerwise_quantize(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)))
    x = torch.randn(2, 1, 4, 4)
    before = model(x)
    tm.make_faulty(model)
    assert torch.equal(model(x), before)
    net = a_net(model)
    wanted = plain_codes_of(model)
    net.set_faults_(a_chip(net.placement))
    expected = expected_codes(wanted, net.placement, a_chip(net.placement))
    assert all(np.array_equal(net.codes(name).read_back, expected[name]) for name in wanted)


def test_fx_quantize():
    model = quantize(
        preprocess_for_quantize(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).eval())
    )
    x = torch.randn(2, 1, 4, 4)
    before = model(x)
    tm.make_faulty(model)
    assert torch.equal(model(x), before)
    net = a_net(model)
    assert len(net.placement.layers) == 2
    wanted = plain_codes_of(model)
    net.set_faults_(a_chip(net.placement))
    expected = expected_codes(wanted, net.placement, a_chip(net.placement))
    assert all(np.array_equal(net.codes(name).read_back, expected[name]) for name in wanted)
    assert not torch.equal(model(x), before)


def test_make_faulty_names_the_layer_that_cannot_and_changes_nothing():
    model = nn.ModuleDict(
        {
            "good": qnn.QuantLinear(4, 4, bias=False),
            "binary": qnn.QuantLinear(4, 4, bias=False, weight_quant=SignedBinaryWeightPerTensorConst),
        }
    )
    with pytest.raises(
        TypeError, match="layer 'binary': its weight quantizer cannot hold .*ClampedBinaryQuant.*exclude='binary'"
    ):
        tm.make_faulty(model)
    with pytest.raises(ValueError, match="no weight quantizer of ModuleDict can hold faults"):
        faulty_slots(model)
    tm.make_faulty(model, exclude="bin*")
    assert [entry.name for entry in faulty_slots(model)] == ["good"]
    with pytest.raises(ValueError, match="layer 'binary': its weight quantizer cannot hold faults; .*exclude='binary'"):
        tm.place(model, tm.Memory(words=99, word_bits=32))
    assert [x.name for x in tm.place(model, tm.Memory(99, 32), exclude=["binary"]).placement.layers] == ["good"]
    a2q = nn.ModuleDict({"a2q": qnn.QuantLinear(4, 4, bias=False, weight_quant=Int8AccumulatorAwareWeightQuant)})
    with pytest.raises(TypeError, match="layer 'a2q': .*A2Q"):
        tm.make_faulty(a2q)


def test_models_without_quantized_weights():
    net = a_net(tm.make_faulty(qnn.QuantLinear(2, 2, bias=False)))
    for call in (
        tm.make_faulty,
        tm.restore,
        lambda m: tm.place(m, net.placement.memory),
        lambda m: tm.PlacedModel(m, net.placement),
    ):
        with pytest.raises(ValueError, match="Linear has no layer with a quantized weight"):
            call(nn.Linear(2, 2))


def test_layers_that_share_a_quantizer_are_converted_together():
    first = qnn.QuantLinear(4, 4, bias=False)
    model = nn.Sequential(first, qnn.QuantLinear(4, 4, bias=False, weight_quant=first.weight_quant))
    with pytest.raises(ValueError, match="layer '1' is left out, but shares its weight quantizer with layer '0'"):
        tm.make_faulty(model, exclude="1")
    assigned = qnn.QuantLinear(4, 4, bias=False)
    assigned.weight_quant = first.weight_quant
    with pytest.raises(ValueError, match="layer '1': its weight quantizer does not list it"):
        tm.make_faulty(nn.Sequential(first, assigned))


def test_options_that_leave_no_integer_codes_are_named():
    with pytest.raises(TypeError, match="cannot hold stuck-at faults: its options give it a BinaryQuant"):
        qnn.QuantLinear(4, 4, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat, weight_quant_type="binary")
