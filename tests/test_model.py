"""What a user does to a model, over the layer families, and what goes wrong clearly."""

import copy

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.graph.quantize import layerwise_quantize, preprocess_for_quantize, quantize
from brevitas.quant import (
    Int8AccumulatorAwareWeightQuant,
    Int8ActPerTensorFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloatMSE,
    Int32Bias,
    SignedBinaryWeightPerTensorConst,
)
from helpers import a_chip, a_placement, brevitas_codes, expected_codes
from networks import DigitsNet
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.model.slots import faulty_slots, weight_slots

QUANT = tm.FaultyInt8WeightPerTensorFixedPoint
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
        lambda: qnn.QuantConvTranspose2d(3, 4, 3, weight_quant=tm.FaultyInt8WeightPerChannelFloat),
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


def plain_codes_of(model):
    """Codes of every weight of a model without faults: from the values, not from our own report."""
    codes = {}
    for entry in weight_slots(model):
        value = entry.proxy(entry.module.weight)
        codes[entry.name] = torch.round(value.value / value.scale + value.zero_point).detach().to(torch.int32).numpy()
    return codes


@pytest.mark.parametrize("store", ["plain", "nearest"])
@pytest.mark.parametrize("family", LAYERS)
def test_every_layer_family_against_the_oracle(family, store):
    make, inputs = LAYERS[family]
    torch.manual_seed(0)
    model, x = make().eval(), inputs()
    healthy = run(model, x)
    wanted = plain_codes_of(model)
    placement = a_placement(model)
    assert {layer.name for layer in placement.layers} == set(wanted)
    chip = a_chip(placement)
    tm.set_faults_(model, placement, chip, store=store)
    expected = expected_codes(wanted, placement, chip, store)
    with_faults = run(model, x)
    assert with_faults.isfinite().all()
    assert not torch.equal(with_faults, healthy)
    found = plain_codes_of(model)
    for name in wanted:
        assert np.array_equal(found[name], expected[name]), name
        assert np.array_equal(tm.layer_codes(model, name).read_back, expected[name]), name
    # The same network with float weights that quantize to the expected codes gives the same output.
    with tm.using_codes(model, placement, expected):
        assert torch.equal(run(model, x), with_faults)
    tm.clear_faults_(model)
    assert torch.equal(run(model, x), healthy)
    model.train()
    run(model, x).square().sum().backward()
    assert all(entry.module.weight.grad is not None for entry in faulty_slots(model))


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
    placement = a_placement(model)
    tm.set_faults_(model, placement, a_chip(placement))
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
    placement = a_placement(model)
    tm.set_faults_(model, placement, a_chip(placement), store="nearest")
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
    placement = a_placement(model)
    wanted = plain_codes_of(model)
    tm.set_faults_(model, placement, a_chip(placement))
    expected = expected_codes(wanted, placement, a_chip(placement))
    assert all(np.array_equal(tm.layer_codes(model, name).read_back, expected[name]) for name in wanted)


def test_fx_quantize():
    model = quantize(
        preprocess_for_quantize(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).eval())
    )
    x = torch.randn(2, 1, 4, 4)
    before = model(x)
    tm.make_faulty(model)
    assert torch.equal(model(x), before)
    placement = a_placement(model)
    assert len(placement.layers) == 2
    wanted = plain_codes_of(model)
    tm.set_faults_(model, placement, a_chip(placement))
    expected = expected_codes(wanted, placement, a_chip(placement))
    assert all(np.array_equal(tm.layer_codes(model, name).read_back, expected[name]) for name in wanted)
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
    assert [x.name for x in tm.place(model, tm.Memory(99, 32), exclude=["binary"]).layers] == ["good"]
    a2q = nn.ModuleDict({"a2q": qnn.QuantLinear(4, 4, bias=False, weight_quant=Int8AccumulatorAwareWeightQuant)})
    with pytest.raises(TypeError, match="layer 'a2q': .*A2Q"):
        tm.make_faulty(a2q)


def test_patterns_choose_layers():
    model = DigitsNet(weight_quant=QUANT)
    memory = tm.Memory(words=3000, word_bits=32)
    assert [x.name for x in tm.place(model, memory, include="features.*").layers] == ["features.0", "features.3", "features.6"]
    assert [x.name for x in tm.place(model, memory, exclude=["features.?"]).layers] == ["classifier"]
    for option in ("include", "exclude"):
        with pytest.raises(
            ValueError, match=f"{option}='conv.' matches no quantized layer; there are features.0, .*classifier"
        ):
            tm.place(model, memory, **{option: "conv*"})


def test_models_without_quantized_weights():
    for call in (tm.make_faulty, tm.restore, tm.clear_faults_, lambda m: tm.place(m, tm.Memory(9, 9))):
        with pytest.raises(ValueError, match="Linear has no layer with a quantized weight"):
            call(nn.Linear(2, 2))


def test_setting_faults_is_all_or_nothing():
    model = DigitsNet(weight_quant=QUANT)
    memory = tm.Memory(words=3000, word_bits=32)
    placement = tm.place(model, memory)
    chip, other = tm.random_fault_maps(memory, chips=2, fault_rate=0.1, seed=0)
    tm.set_faults_(model, placement, chip)
    before = {entry.name: tm.layer_codes(model, entry.name).read_back for entry in faulty_slots(model)}
    wide = tm.FaultMap(tm.Memory(words=6000, word_bits=16), [1], [1], "wide")
    foreign = tm.place(nn.ModuleDict({"x": qnn.QuantLinear(2, 2, bias=False, weight_quant=QUANT)}), memory)
    reshaped = nn.ModuleDict({"classifier": qnn.QuantLinear(2, 2, bias=False, weight_quant=QUANT)})
    for call, message in (
        (
            lambda: tm.set_faults_(model, placement, wide),
            "chip 'wide' is of a memory of 6000 words × 16 bits, the placement's has 3000 words × 32 bits",
        ),
        (lambda: tm.set_faults_(model, foreign, other), "layer 'x' of the placement is not among the layers of the model"),
        (
            lambda: tm.set_faults_(model, tm.place(reshaped, memory), other),
            r"layer 'classifier': shape \(10, 96\) in the model, but the placement holds \(2, 2\)",
        ),
        (lambda: tm.set_faults_(model, placement, other, store="best"), "store must be 'plain' or 'nearest', got 'best'"),
        (lambda: tm.set_faults_(model, placement, other, gradient="none"), "gradient must be 'identity' or .*, got 'none'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
        for name, codes in before.items():
            assert np.array_equal(tm.layer_codes(model, name).read_back, codes)
    with pytest.raises(KeyError, match="no layer 'conv' that can hold faults; there are features.0"):
        tm.layer_codes(model, "conv")


def test_the_block_restores_what_was_set_before_even_after_an_error():
    model = DigitsNet(weight_quant=QUANT).eval()
    memory = tm.Memory(words=3000, word_bits=32)
    placement = tm.place(model, memory)
    first, second = tm.random_fault_maps(memory, chips=2, fault_rate=0.1, seed=0)
    x = torch.randn(2, 1, 8, 8)
    tm.set_faults_(model, placement, first)
    outer = model(x)

    def fail_inside():
        with tm.using_faults(model, placement, second, store="nearest"):
            assert not torch.equal(model(x), outer)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_inside()
    assert torch.equal(model(x), outer)


def test_layers_that_are_not_placed_stay_healthy():
    model = DigitsNet(weight_quant=QUANT)
    memory = tm.Memory(words=3000, word_bits=32)
    (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=0.2, seed=0)
    tm.set_faults_(model, tm.place(model, memory), chip)
    tm.set_faults_(model, tm.place(model, memory, include="classifier"), chip)
    for entry in faulty_slots(model):
        codes = tm.layer_codes(model, entry.name)
        assert np.array_equal(codes.read_back, codes.wanted) == (entry.name != "classifier")


def test_one_cell_of_a_reused_memory_hits_several_weights():
    model = nn.ModuleDict({"fc": qnn.QuantLinear(8, 4, bias=False, weight_quant=QUANT)})
    placement = tm.place(model, tm.Memory(words=4, word_bits=16), reuse=True)
    assert placement.tiles == 4
    chip = tm.FaultMap(placement.memory, [7], [1])  # the sign bit of code 0 of word 0
    wanted = {"fc": brevitas_codes(model["fc"])}
    tm.set_faults_(model, placement, chip)
    found = tm.layer_codes(model, "fc").read_back
    assert np.array_equal(found, expected_codes(wanted, placement, chip)["fc"])
    assert (found.reshape(-1)[[0, 8, 16, 24]] < 0).all()


def test_gradients_pass_straight_through_except_where_all_bits_are_stuck():
    torch.manual_seed(0)
    layer = qnn.QuantLinear(4, 3, bias=False, weight_quant=tm.FaultyInt8WeightPerTensorFloat)
    placement = a_placement(layer)
    cells = [placement.cell("", (1, 2), bit=bit) for bit in range(8)] + [placement.cell("", (0, 0), bit=6)]
    order = np.argsort(cells)
    stuck = np.array([1, 0, 1, 0, 0, 0, 0, 0, 1])
    chip = tm.FaultMap(placement.memory, np.array(cells)[order], stuck[order])
    weighting = torch.randn(3, 4)
    scale_shares = {}
    gradients = {}
    for gradient in ("identity", "zero_fully_stuck"):
        tm.set_faults_(layer, placement, chip, gradient=gradient)
        codes = torch.tensor(tm.layer_codes(layer, "").read_back)
        assert codes[1, 2] == 5
        layer.weight.grad = None
        (layer.quant_weight().value * weighting).sum().backward()
        gradients[gradient] = layer.weight.grad.clone()
        # What reaches the scale: through dequantization the code that is read, through rounding -w/s of every weight that
        # lets its gradient pass.
        scale = layer.quant_weight().scale
        passing = torch.ones(3, 4)
        if gradient == "zero_fully_stuck":
            passing[1, 2] = 0
        share = (weighting * codes).sum() - (weighting * passing * layer.weight / scale).sum()
        largest = torch.zeros(12)
        at = int(layer.weight.detach().abs().argmax())
        largest[at] = torch.sign(layer.weight.detach().reshape(-1)[at]) / 127
        expected = weighting * passing + share.detach() * largest.reshape(3, 4)
        assert torch.allclose(gradients[gradient], expected, atol=1e-5)
        scale_shares[gradient] = share.item()
    assert gradients["identity"][1, 2] == weighting[1, 2]
    assert gradients["zero_fully_stuck"][1, 2] == 0
    assert scale_shares["identity"] != scale_shares["zero_fully_stuck"]


def test_sign_magnitude_needs_a_narrow_range_and_binary_needs_no_saying():
    full = type("Full", (tm.FaultyInt8WeightPerTensorFloat,), {"narrow_range": False})
    layer = qnn.QuantLinear(4, 3, bias=False, weight_quant=full)
    with pytest.raises(ValueError, match="layer '': its codes go down to -128, which sign-magnitude cannot hold"):
        tm.place(layer, tm.Memory(9, 32), encoding="sign_magnitude")
    with pytest.raises(ValueError, match="encoding='binary' is for unsigned codes"):
        tm.place(layer, tm.Memory(9, 32), encoding="binary")
    shifted = qnn.QuantLinear(4, 3, bias=False, weight_quant=tm.FaultyShiftedUint8WeightPerTensorFloat)
    assert tm.place(shifted, tm.Memory(9, 32)).layers[0].encoding == "binary"


def test_a_placement_for_sign_magnitude_does_not_fit_a_full_range():
    full = type("Full", (tm.FaultyInt8WeightPerTensorFloat,), {"narrow_range": False})
    narrow = qnn.QuantLinear(4, 3, bias=False, weight_quant=tm.FaultyInt8WeightPerTensorFloat)
    placement = a_placement(narrow, encoding="sign_magnitude")
    with pytest.raises(ValueError, match="layer '': its codes go down to -128, which sign-magnitude cannot hold"):
        tm.set_faults_(qnn.QuantLinear(4, 3, bias=False, weight_quant=full), placement, a_chip(placement))


def test_a_layer_that_is_switched_off_cannot_be_placed_or_given_faults():
    layer = qnn.QuantLinear(4, 3, bias=False, weight_quant=QUANT)
    placement = a_placement(layer)
    layer.weight_quant.disable_quant = True
    for call in (lambda: tm.place(layer, placement.memory), lambda: tm.set_faults_(layer, placement, a_chip(placement))):
        with pytest.raises(ValueError, match="layer '': its quantizer is disabled"):
            call()


def test_layers_that_share_a_quantizer_are_converted_together():
    first = qnn.QuantLinear(4, 4, bias=False)
    model = nn.Sequential(first, qnn.QuantLinear(4, 4, bias=False, weight_quant=first.weight_quant))
    with pytest.raises(ValueError, match="layer '1' is left out, but shares its weight quantizer with layer '0'"):
        tm.make_faulty(model, exclude="1")
    assigned = qnn.QuantLinear(4, 4, bias=False)
    assigned.weight_quant = first.weight_quant
    with pytest.raises(ValueError, match="layer '1': its weight quantizer does not know it"):
        tm.make_faulty(nn.Sequential(first, assigned))


def test_options_that_leave_no_integer_codes_are_named():
    with pytest.raises(TypeError, match="cannot hold stuck-at faults: its options give it a BinaryQuant"):
        qnn.QuantLinear(4, 4, bias=False, weight_quant=tm.FaultyInt8WeightPerTensorFloat, weight_quant_type="binary")


def test_using_codes_checks_them():
    layer = qnn.QuantLinear(4, 3, bias=False, weight_quant=QUANT)
    placement = a_placement(layer)
    with (
        pytest.raises(ValueError, match="codes from -200 to 0"),
        tm.using_codes(layer, placement, {"": np.full((3, 4), -200) * np.eye(3, 4, dtype=int)}),
    ):
        pass
