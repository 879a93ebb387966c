"""Every layer family against the oracle, as it is placed, made faulty, run and trained."""

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.nn.mixin.parameter import QuantWeightMixin
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int32Bias,
)
from helpers import a_chip, a_net, expected_codes, plain_codes_of
from networks import ResNet

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.placed.slots import faulty_slots, weight_slots

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint


LAYERS = {
    "linear": (
        lambda: qnn.QuantLinear(9, 4, bias=True, weight_quant=QUANT, bias_quant=Int32Bias, input_quant=Int8ActPerTensorFloat),
        lambda: torch.randn(2, 9),
    ),
    "conv1d": (lambda: qnn.QuantConv1d(3, 4, 3, weight_quant=QUANT), lambda: torch.randn(2, 3, 8)),
    "conv2d": (lambda: qnn.QuantConv2d(4, 4, 3, groups=2, weight_quant=QUANT), lambda: torch.randn(2, 4, 6, 6)),
    "conv_transpose1d": (lambda: qnn.QuantConvTranspose1d(3, 4, 3, weight_quant=QUANT), lambda: torch.randn(2, 3, 8)),
    "conv_transpose2d": (lambda: qnn.QuantConvTranspose2d(3, 4, 3, weight_quant=QUANT), lambda: torch.randn(2, 3, 5, 5)),
    "conv_transpose2d_per_channel": (
        lambda: qnn.QuantConvTranspose2d(3, 4, 3, weight_quant=tq.FaultyInt8WeightPerChannelFloat),
        lambda: torch.randn(2, 3, 5, 5),
    ),
    "embedding": (lambda: qnn.QuantEmbedding(7, 5, weight_quant=QUANT), lambda: torch.tensor([[1, 6, 0]])),
    "attention": (
        lambda: qnn.QuantMultiheadAttention(8, 2, in_proj_weight_quant=QUANT, out_proj_weight_quant=QUANT, batch_first=True),
        lambda: torch.randn(2, 3, 8),
    ),
    "attention_unpacked": (
        lambda: qnn.QuantMultiheadAttention(
            8, 2, in_proj_weight_quant=QUANT, out_proj_weight_quant=QUANT, batch_first=True, packed_in_proj=False
        ),
        lambda: torch.randn(2, 3, 8),
    ),
    "rnn": (lambda: qnn.QuantRNN(5, 6, weight_quant=QUANT), lambda: torch.randn(4, 2, 5)),
    "lstm": (lambda: qnn.QuantLSTM(5, 6, weight_quant=QUANT), lambda: torch.randn(4, 2, 5)),
    "lstm_shared": (
        lambda: qnn.QuantLSTM(5, 6, weight_quant=QUANT, shared_intra_layer_weight_quant=True),
        lambda: torch.randn(4, 2, 5),
    ),
}


def run(model, inputs):
    out = model(inputs, inputs, inputs) if isinstance(model, qnn.QuantMultiheadAttention) else model(inputs)
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize("store", ["plain", "nearest"])
@pytest.mark.parametrize("family", LAYERS)
def test_every_layer_family_against_the_oracle(family, store):
    make, inputs = LAYERS[family]
    torch.manual_seed(0)
    model, x = make().eval(), inputs()
    healthy = run(model, x)
    wanted = plain_codes_of(model)
    net = a_net(model)
    assert {layer.name for layer in net.placement.layers} == set(wanted)
    chip = a_chip(net.placement)
    net.set_faults_(chip, rule=tm.Rule(store))
    expected = expected_codes(wanted, net.placement, chip, store)
    with_faults = run(model, x)
    assert with_faults.isfinite().all()
    assert not torch.equal(with_faults, healthy)
    codes = plain_codes_of(model)
    for name in wanted:
        assert np.array_equal(codes[name], expected[name]), name
        assert np.array_equal(net.codes(name).read_back, expected[name]), name
    # The same network with float weights that quantize to the expected codes gives the same output.
    with net.using_codes(expected):
        assert torch.equal(run(model, x), with_faults)
    net.clear_faults_()
    assert torch.equal(run(model, x), healthy)
    model.train()
    run(model, x).square().sum().backward()
    assert all(entry.module.weight.grad is not None for entry in faulty_slots(model))


def test_layers_are_those_of_named_modules_in_its_order():
    """Quantizers are not searched for layers; a layer that is there twice has its first name."""
    made = {family: make() for family, (make, _) in LAYERS.items()}
    model = torch.nn.ModuleDict({**made, "again": torch.nn.Sequential(made["conv2d"], qnn.QuantReLU()), "more": ResNet(8)})
    expected = [
        name
        for name, module in model.named_modules()
        if isinstance(module, QuantWeightMixin) and module.weight_quant.tensor_quant is not None
    ]
    assert [entry.name for entry in weight_slots(model)] == expected
    assert len(expected) > 25
