"""Placing a model: which layers, in which encoding, and what is refused."""

import brevitas.nn as qnn
import pytest
from helpers import a_chip, a_net
from networks import DigitsNet

import tremap_brevitas as tm
from tremap_brevitas import quant as tq

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint


def test_patterns_choose_layers():
    model = DigitsNet(weight_quant=QUANT)
    memory = tm.Memory(words=3000, word_bits=32)
    for options, names in (
        ({"include": "features.*"}, ["features.0", "features.3", "features.6"]),
        ({"exclude": ["features.?"]}, ["classifier"]),
    ):
        assert [x.name for x in tm.place(model, memory, **options).placement.layers] == names
    for option in ("include", "exclude"):
        with pytest.raises(
            ValueError, match=f"{option}='conv.' matches no quantized layer; there are features.0, .*classifier"
        ):
            tm.place(model, memory, **{option: "conv*"})


def test_sign_magnitude_needs_a_narrow_range_and_binary_needs_no_saying():
    full = type("Full", (tq.FaultyInt8WeightPerTensorFloat,), {"narrow_range": False})
    layer = qnn.QuantLinear(4, 3, bias=False, weight_quant=full)
    with pytest.raises(ValueError, match="layer '': its codes go down to -128, which sign-magnitude cannot hold"):
        tm.place(layer, tm.Memory(9, 32), encoding="sign_magnitude")
    with pytest.raises(ValueError, match="encoding='binary' is implied for unsigned codes"):
        tm.place(layer, tm.Memory(9, 32), encoding="binary")
    shifted = qnn.QuantLinear(4, 3, bias=False, weight_quant=tq.FaultyShiftedUint8WeightPerTensorFloat)
    assert tm.place(shifted, tm.Memory(9, 32)).placement.layers[0].encoding == "binary"


def test_a_placement_for_sign_magnitude_does_not_fit_a_full_range():
    full = type("Full", (tq.FaultyInt8WeightPerTensorFloat,), {"narrow_range": False})
    narrow = qnn.QuantLinear(4, 3, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)
    placement = a_net(narrow, encoding="sign_magnitude").placement
    with pytest.raises(ValueError, match="layer '': its codes go down to -128, which sign-magnitude cannot hold"):
        tm.PlacedModel(qnn.QuantLinear(4, 3, bias=False, weight_quant=full), placement)


def test_a_layer_that_is_switched_off_cannot_be_placed_or_given_faults():
    layer = qnn.QuantLinear(4, 3, bias=False, weight_quant=QUANT)
    net = a_net(layer)
    layer.weight_quant.disable_quant = True
    for call in (lambda: tm.place(layer, net.placement.memory), lambda: net.set_faults_(a_chip(net.placement))):
        with pytest.raises(ValueError, match="layer '': its quantizer is disabled"):
            call()


def test_arguments_of_another_kind_are_named():
    model, memory = DigitsNet(weight_quant=QUANT), tm.Memory(words=3000, word_bits=32)
    for arguments, message in (
        ((memory, model), "memory must be of type Memory, got DigitsNet"),
        ((memory, memory), "model must be of type torch.nn.Module, got Memory"),
        ((model, 3000), "memory must be of type Memory, got int"),
        ((model, [memory]), "memory must be of type Memory, got list"),
    ):
        with pytest.raises(TypeError, match=message):
            tm.place(*arguments)
