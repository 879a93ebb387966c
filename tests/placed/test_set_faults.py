"""Setting, changing and clearing faults, and codes in place of weights."""

from functools import partial

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from helpers import a_chip, a_net, brevitas_codes, expected_codes
from networks import DigitsNet
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.placed.faults import codes_of
from tremap_brevitas.placed.slots import faulty_slots

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint


def test_setting_faults_is_all_or_nothing():
    model = DigitsNet(weight_quant=QUANT)
    memory = tm.Memory(words=3000, word_bits=32)
    net = tm.place(model, memory)
    chip, other = tm.random_fault_maps(memory, chips=2, fault_rate=0.1, seed=0)
    net.set_faults_(chip)
    before = {entry.name: net.codes(entry.name).read_back for entry in faulty_slots(model)}
    wide = tm.FaultMap(tm.Memory(words=6000, word_bits=16), [1], [1], "wide")
    small = [nn.ModuleDict({name: qnn.QuantLinear(2, 2, bias=False, weight_quant=QUANT)}) for name in ("x", "classifier")]
    foreign, reshaped = (tm.place(one, memory).placement for one in small)
    for call, message in (
        (
            lambda: net.set_faults_(wide),
            "chip 'wide' is of a memory of 6000 words × 16 bits, the placement's has 3000 words × 32 bits",
        ),
        (lambda: tm.PlacedModel(model, foreign), "layer 'x' of the placement is not among the layers of the model"),
        (
            lambda: tm.PlacedModel(model, reshaped),
            r"layer 'classifier': shape \(10, 96\) in the model, but the placement holds \(2, 2\)",
        ),
        (lambda: net.set_faults_(other, rule=tm.Rule("best")), "store must be 'plain' or 'nearest', got 'best'"),
        (lambda: net.set_faults_(other, rule=tm.Rule(gradient="none")), "gradient must be 'identity' or .*, got 'none'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
        for name, codes in before.items():
            assert np.array_equal(net.codes(name).read_back, codes)
    with pytest.raises(KeyError, match="no layer 'conv' in the placement; it has features.0"):
        net.codes("conv")


def test_the_block_restores_what_was_set_before_even_after_an_error():
    model = DigitsNet(weight_quant=QUANT).eval()
    memory = tm.Memory(words=3000, word_bits=32)
    net = tm.place(model, memory)
    first, second = tm.random_fault_maps(memory, chips=2, fault_rate=0.1, seed=0)
    x = torch.randn(2, 1, 8, 8)
    net.set_faults_(first)
    outer = model(x)

    def fail_inside():
        with net.using(second):
            assert not torch.equal(model(x), outer)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_inside()
    assert torch.equal(model(x), outer)


def test_a_clean_pass_that_is_abandoned_does_not_undo_what_was_set_since():
    model = DigitsNet(weight_quant=QUANT)
    net = tm.place(model, tm.Memory(words=3000, word_bits=32))
    first, second = tm.random_fault_maps(net.placement.memory, chips=2, fault_rate=0.1, seed=0)
    passes = tm.prepare.CleanAndFaulty(tm.AllAtOnce(net, first)).passes()
    before = net.memory_image().digest
    next(passes)
    assert net.memory_image().digest != before
    net.set_faults_(second)
    expected = net.memory_image().digest
    passes.close()
    assert net.memory_image().digest == expected


def test_layers_that_are_not_placed_stay_healthy():
    model = DigitsNet(weight_quant=QUANT)
    memory = tm.Memory(words=3000, word_bits=32)
    (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=0.2, seed=0)
    tm.place(model, memory).set_faults_(chip)
    tm.place(model, memory, include="classifier").set_faults_(chip)
    for entry in faulty_slots(model):
        codes = codes_of(entry)
        assert np.array_equal(codes.read_back, codes.wanted) == (entry.name != "classifier")


def test_one_cell_of_a_reused_memory_hits_several_weights():
    model = nn.ModuleDict({"fc": qnn.QuantLinear(8, 4, bias=False, weight_quant=QUANT)})
    net = tm.place(model, tm.Memory(words=4, word_bits=16), reuse=True)
    assert net.placement.tiles == 4
    chip = tm.FaultMap(net.placement.memory, [7], [1])  # the sign bit of code 0 of word 0
    wanted = {"fc": brevitas_codes(model["fc"])}
    net.set_faults_(chip)
    read_back = net.codes("fc").read_back
    assert np.array_equal(read_back, expected_codes(wanted, net.placement, chip)["fc"])
    assert (read_back.reshape(-1)[[0, 8, 16, 24]] < 0).all()


def test_gradients_pass_straight_through_except_where_all_bits_are_stuck():
    torch.manual_seed(0)
    layer = qnn.QuantLinear(4, 3, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)
    net = a_net(layer)
    cells = [net.placement.cell("", (1, 2), bit=bit) for bit in range(8)] + [net.placement.cell("", (0, 0), bit=6)]
    order = np.argsort(cells)
    stuck = np.array([1, 0, 1, 0, 0, 0, 0, 0, 1])
    chip = tm.FaultMap(net.placement.memory, np.array(cells)[order], stuck[order])
    weighting = torch.randn(3, 4)
    scale_shares = {}
    gradients = {}
    for gradient in ("identity", "zero_fully_stuck"):
        net.set_faults_(chip, rule=tm.Rule(gradient=gradient))
        codes = torch.tensor(net.codes("").read_back)
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


def test_using_codes_checks_them():
    layer = qnn.QuantLinear(4, 3, bias=False, weight_quant=QUANT)
    net = a_net(layer)
    with (
        pytest.raises(ValueError, match="codes from -200 to 0"),
        net.using_codes({"": np.full((3, 4), -200) * np.eye(3, 4, dtype=int)}),
    ):
        pass


def test_arguments_of_another_kind_are_named():
    net = tm.place(DigitsNet(weight_quant=QUANT), tm.Memory(words=3000, word_bits=32))
    chip = a_chip(net.placement)
    healthy = net.codes("classifier").read_back

    def using(block, *arguments, **options):
        with block(*arguments, **options):
            pass

    for arguments, options, message in (
        (([chip, chip],), {}, "fault_map must be one FaultMap, got a list; merge several with tm.merge"),
        (((chip,),), {}, "fault_map must be one FaultMap, got a tuple; merge several with tm.merge"),
        ((net.placement,), {}, "fault_map must be of type FaultMap, got Placement"),
        ((net,), {}, "fault_map must be of type FaultMap, got PlacedModel"),
        ((chip,), {"rule": "plain"}, "rule must be of type Rule, got str"),
    ):
        for function in (net.set_faults_, partial(using, net.using)):
            with pytest.raises(TypeError, match=message):
                function(*arguments, **options)
            assert np.array_equal(net.codes("classifier").read_back, healthy)
    for call, message in (
        (lambda: net.set_faults_(None), "fault_map must be of type FaultMap, got NoneType"),
        (lambda: using(net.using_codes, net.memory_image()), "codes must be of type Mapping, got MemoryImage"),
        (lambda: using(net.using_codes, chip), "codes must be of type Mapping, got FaultMap"),
        (lambda: tm.PlacedModel(net.model, chip), "placement must be of type Placement, got FaultMap"),
        (lambda: tm.PlacedModel(net.model, None), "placement must be of type Placement, got NoneType"),
        (lambda: tm.PlacedModel(net.placement, net.model), "model must be of type torch.nn.Module, got Placement"),
        (lambda: tm.PlacedModel(net, net.placement), "model must be of type torch.nn.Module, got PlacedModel"),
        (lambda: tm.PlacedModel(net.model, net.placement, rule="plain"), "rule must be of type Rule, got str"),
        (lambda: tm.Ramp(net, [chip], over_steps=2), "fault_map must be one FaultMap, got a list"),
    ):
        with pytest.raises(TypeError, match=message):
            call()
    assert net.fault_map is None
