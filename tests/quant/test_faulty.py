"""``faulty()``: widths, signs and encodings of one's own, and quantizers that cannot hold faults."""

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.inject.enum import BitWidthImplType, QuantType, RestrictValueType, ScalingImplType
from brevitas.quant import (
    Int8AccumulatorAwareWeightQuant,
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
    SignedBinaryWeightPerTensorConst,
)
from brevitas.quant.float import Fp8e4m3Weight
from helpers import a_chip, a_net, brevitas_codes, expected_codes

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.core import StuckAtIntQuant

BASES = {
    "fixed_point": Int8WeightPerTensorFixedPoint,
    "per_channel": Int8WeightPerChannelFloat,
    "unsigned": ShiftedUint8WeightPerTensorFloat,
}


def of_width(base, width, **more):
    return type("Own", (base,), {"bit_width": width, **more})


@pytest.mark.parametrize("store", ["plain", "nearest"])
@pytest.mark.parametrize("width", [2, 3, 4, 5, 8, 12, 16])
@pytest.mark.parametrize("base", BASES)
def test_every_width_against_the_oracle(base, width, store):
    if width == 16 and store == "nearest":
        pytest.skip("the oracle tries all 65,536 patterns a weight; tests/test_codes.py covers the rule")
    quantizer = of_width(BASES[base], width)
    torch.manual_seed(1)
    layer = qnn.QuantLinear(6, 5, bias=False, weight_quant=tq.faulty(quantizer))
    wanted = brevitas_codes(layer)
    net = a_net(layer)
    chip = a_chip(net.placement, rate=0.1)
    net.set_faults_(chip, rule=tm.Rule(store))
    assert np.array_equal(brevitas_codes(layer), expected_codes({"": wanted}, net.placement, chip, store)[""])


@pytest.mark.parametrize("store", ["plain", "nearest"])
@pytest.mark.parametrize("width", [2, 5, 8, 10])
@pytest.mark.parametrize("encoding", ["twos_complement", "offset_binary", "sign_magnitude"])
def test_every_encoding_against_the_oracle(encoding, width, store):
    layer = qnn.QuantLinear(8, 6, bias=False, weight_quant=tq.faulty(of_width(Int8WeightPerChannelFloat, width)))
    wanted = brevitas_codes(layer)
    net = a_net(layer, encoding=encoding)
    chip = a_chip(net.placement, rate=0.2)
    net.set_faults_(chip, rule=tm.Rule(store))
    assert np.array_equal(brevitas_codes(layer), expected_codes({"": wanted}, net.placement, chip, store)[""])


def test_a_learned_scale_trains_under_faults():
    quantizer = of_width(
        Int8WeightPerTensorFloat,
        8,
        scaling_impl_type=ScalingImplType.PARAMETER_FROM_STATS,
        restrict_scaling_type=RestrictValueType.LOG_FP,
    )
    layer = qnn.QuantLinear(8, 6, bias=False, weight_quant=tq.faulty(quantizer))
    wanted = brevitas_codes(layer)
    net = a_net(layer)
    chip = a_chip(net.placement)
    net.set_faults_(chip)
    assert np.array_equal(brevitas_codes(layer), expected_codes({"": wanted}, net.placement, chip)[""])
    layer(torch.randn(3, 8)).square().sum().backward()
    scale = [p for n, p in layer.named_parameters() if "scaling_impl" in n]
    assert len(scale) == 1
    assert scale[0].grad is not None
    assert torch.isfinite(scale[0].grad).all()


def test_a_learned_bit_width_that_moves_on_is_noticed():
    quantizer = of_width(Int8WeightPerTensorFloat, 6, bit_width_impl_type=BitWidthImplType.PARAMETER)
    layer = qnn.QuantLinear(8, 6, bias=False, weight_quant=tq.faulty(quantizer))
    net = a_net(layer)
    net.set_faults_(a_chip(net.placement))
    layer(torch.randn(1, 8))
    (parameter,) = [p for n, p in layer.named_parameters() if "bit_width" in n]
    with torch.no_grad():
        parameter.sub_(2)
    with pytest.raises(ValueError, match="layer '': codes are 4 bits wide now, but its faults were placed for 6"):
        layer(torch.randn(1, 8))
    with pytest.raises(ValueError, match="layer '': bit width 4 in the model, but the placement holds 6"):
        net.set_faults_(a_chip(net.placement))


@pytest.mark.parametrize(
    ("quantizer", "reason"),
    [
        (SignedBinaryWeightPerTensorConst, "its codes come from ClampedBinaryQuant"),
        (of_width(Int8WeightPerTensorFloat, 2, quant_type=QuantType.TERNARY), "its quant_type is 'TERNARY'"),
        (of_width(Int8WeightPerTensorFloat, 1, quant_type="binary"), "its quant_type is 'BINARY'"),
        (Int8AccumulatorAwareWeightQuant, "accumulator-aware quantization .A2Q. bounds the norm"),
        (Fp8e4m3Weight, "its proxy WeightFloatQuantProxyFromInjector does not yield integer codes"),
        (Int8ActPerTensorFloat, "it is not a quantizer of weights or biases"),
        (of_width(Int8WeightPerTensorFloat, 8, int_quant=StuckAtIntQuant), "an integer quantizer of its own, StuckAtIntQuant"),
        (int, "takes a weight quantizer class"),
        (None, "takes a weight quantizer class"),
    ],
)
def test_what_cannot_hold_faults_says_why(quantizer, reason):
    with pytest.raises(TypeError, match=reason):
        tq.faulty(quantizer)


def test_it_is_idempotent():
    once = tq.faulty(Int8WeightPerTensorFloat)
    assert tq.faulty(once) is once
    assert tq.faulty(tq.FaultyInt8WeightPerTensorFloat) is tq.FaultyInt8WeightPerTensorFloat
