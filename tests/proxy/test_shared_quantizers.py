"""One quantizer for several weights: each has its own faults, whoever runs the model, and what looks alike is refused."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Int8WeightPerTensorFloat, Int8WeightPerTensorFloatMSE
from helpers import a_chip, a_net, brevitas_codes, expected_codes
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.placed.faults import codes_of
from tremap_brevitas.placed.slots import faulty_slots


def a_pair(size=8):
    """Two layers with one quantizer."""
    first = qnn.QuantLinear(size, size, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)
    return nn.Sequential(first, qnn.QuantLinear(size, size, bias=False, weight_quant=first.weight_quant)).eval()


def assert_faults_of_each(model):
    net = a_net(model)
    wanted = {layer.name: net.codes(layer.name).wanted for layer in net.placement.layers}
    chip = a_chip(net.placement)
    net.set_faults_(chip)
    expected = expected_codes(wanted, net.placement, chip)
    for name, layer in (("0", model[0]), ("1", model[1]), ("0", model[0])):
        assert (expected[name] != wanted[name]).any()
        assert np.array_equal(brevitas_codes(layer), expected[name])
        assert np.array_equal(net.codes(name).read_back, expected[name])
    return expected


def test_a_quantizer_shared_after_the_faults_were_set():
    model = nn.Sequential(qnn.QuantConv2d(2, 4, 3, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint))
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    before = net.codes("0").read_back
    conv = model[0]
    other = qnn.QuantConv2d(2, 4, 3, bias=False, weight_quant=conv.weight_quant)  # rebuilds the shared quantizer
    assert np.array_equal(net.codes("0").read_back, before)
    healthy = nn.Sequential(qnn.QuantConv2d(2, 4, 3, bias=False, weight_quant=Int8WeightPerTensorFloat))
    assert other.quant_weight().value.shape == healthy[0].weight.shape
    _, second = faulty_slots(nn.ModuleList([conv, other]))
    codes = codes_of(second)
    assert np.array_equal(codes.read_back, codes.wanted)  # the other weight has a healthy memory


def test_one_quantizer_for_several_weights():
    torch.manual_seed(0)
    first = qnn.QuantLinear(12, 6, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)
    second = qnn.QuantLinear(12, 6, bias=False, weight_quant=first.weight_quant)
    model = nn.ModuleDict({"first": first, "second": second})
    wanted = {name: brevitas_codes(model[name]) for name in model}
    net = a_net(model)
    chip = a_chip(net.placement)
    net.set_faults_(chip)
    expected = expected_codes(wanted, net.placement, chip)
    for name in ("first", "second", "first"):
        assert np.array_equal(brevitas_codes(model[name]), expected[name])
        assert np.array_equal(net.codes(name).read_back, expected[name])


def test_weights_that_share_one_storage():
    first = qnn.QuantLinear(4, 4, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)
    second = qnn.QuantLinear(4, 4, bias=False, weight_quant=first.weight_quant)
    model = nn.ModuleDict({"first": first, "second": second})
    net = a_net(model)
    chip = a_chip(net.placement)
    vector_to_parameters(parameters_to_vector(model.parameters()), model.parameters())
    wanted = {name: net.codes(name).wanted for name in model}
    net.set_faults_(chip)
    expected = expected_codes(wanted, net.placement, chip)
    for name in model:
        assert np.array_equal(brevitas_codes(model[name]), expected[name])


def test_a_scale_search_over_several_weights_with_faults_set_before():
    def pair(quantizer):
        torch.manual_seed(0)
        first = qnn.QuantLinear(4, 4, bias=False, weight_quant=quantizer)
        return nn.Sequential(first, qnn.QuantLinear(4, 4, bias=False, weight_quant=first.weight_quant))

    model = pair(tq.FaultyInt8WeightPerTensorFloatMSE)
    net = a_net(model)
    chip = a_chip(net.placement)
    net.set_faults_(chip)
    model(torch.randn(1, 4))
    healthy = pair(Int8WeightPerTensorFloatMSE)
    healthy(torch.randn(1, 4))
    wanted = {name: brevitas_codes(healthy[int(name)]) for name in ("0", "1")}
    expected = expected_codes(wanted, net.placement, chip)
    for name in ("0", "1"):
        assert np.array_equal(brevitas_codes(model[int(name)]), expected[name])


def test_slices_of_one_storage_that_overlap_in_addresses():
    model, both = a_pair(), torch.randn(8, 16)
    model[0].weight, model[1].weight = nn.Parameter(both[:, :8]), nn.Parameter(both[:, 8:])
    assert_faults_of_each(model)
    part = model[1].quant_weight(subtensor_slice_list=[(2, 4)]).value
    assert torch.equal(part, model[1].quant_weight().value[2:4])


def test_a_weight_and_its_transpose():
    model = a_pair()
    model[1].weight = nn.Parameter(model[0].weight.detach().t())
    assert model[1].weight.data_ptr() == model[0].weight.data_ptr()
    assert_faults_of_each(model)


def test_a_weight_that_begins_where_another_does():
    first = qnn.QuantLinear(4, 8, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)
    model = nn.Sequential(first, qnn.QuantLinear(4, 3, bias=False, weight_quant=first.weight_quant))
    model[1].weight = nn.Parameter(first.weight.detach()[:3])
    assert_faults_of_each(model)


def test_tied_weights_cannot_be_placed_twice():
    for tied in (lambda w: w, lambda w: nn.Parameter(w.detach())):
        model = a_pair()
        net = a_net(model)
        model[1].weight = tied(model[0].weight)
        for call in (
            partial(tm.place, model, net.placement.memory),
            partial(tm.PlacedModel, model, net.placement),
            partial(net.set_faults_, a_chip(net.placement)),
        ):
            with pytest.raises(ValueError, match="layers '0' and '1' share one weight and one quantizer.*leave out '1'"):
                call()
        assert not model[0].weight_quant.has_faults


@pytest.mark.parametrize("placed", ["0", "1"])
def test_tied_weights_placed_once_are_read_alike(placed):
    model = a_pair()
    model[1].weight = model[0].weight
    net = a_net(model, include=placed)
    wanted = net.codes(placed).wanted
    chip = a_chip(net.placement)
    net.set_faults_(chip)
    expected = expected_codes({placed: wanted}, net.placement, chip)[placed]
    for entry in faulty_slots(model):
        assert np.array_equal(brevitas_codes(entry.module), expected)
        codes = codes_of(entry)
        assert np.array_equal(codes.read_back, expected)
        assert np.array_equal(codes.stored, expected)


def test_weights_that_were_tied_after_their_faults_were_set():
    model = a_pair()
    assert_faults_of_each(model)
    model[1].weight = model[0].weight
    with pytest.raises(RuntimeError, match="layer '0', layer '1': .* the same tensor is the weight of 2"):
        model(torch.ones(1, 8))


def test_tied_weights_with_quantizers_of_their_own_are_two_copies():
    model = nn.Sequential(*[qnn.QuantLinear(8, 8, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat) for _ in "01"])
    model[1].weight = model[0].weight
    expected = assert_faults_of_each(model)
    assert not np.array_equal(expected["0"], expected["1"])


def test_a_tensor_that_is_none_of_the_weights():
    model = a_pair()
    assert_faults_of_each(model)
    with pytest.raises(RuntimeError, match="layer '0', layer '1': the weight quantizer is shared, and was given a tensor that"):
        model[0].weight_quant(torch.zeros(8, 8))


@pytest.fixture
def hasty():
    """Threads change places all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("family", ["shared", "own", "lstm"])
@pytest.mark.parametrize("fresh", [True, False])
def test_threads_that_evaluate_one_model(hasty, family, fresh):
    """In the first passes after the faults were set, and later."""
    if family == "lstm":
        model, x = qnn.QuantLSTM(8, 8, weight_quant=tq.FaultyInt8WeightPerTensorFloat).eval(), torch.randn(3, 2, 8)
    elif family == "own":
        quant = tq.FaultyInt8WeightPerTensorFloat
        model, x = nn.Sequential(*[qnn.QuantLinear(16, 16, bias=False, weight_quant=quant) for _ in "01"]), torch.randn(2, 16)
    else:
        model, x = a_pair(16), torch.randn(2, 16)
    net = a_net(model)
    chip = a_chip(net.placement)

    def run(_=None):
        with torch.no_grad():
            out = model(x)
        return out[0] if isinstance(out, tuple) else out

    healthy = run()
    net.set_faults_(chip)
    expected = run()
    assert not torch.equal(expected, healthy)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(8 if fresh else 1):
            if fresh:
                net.set_faults_(chip)
            for output in pool.map(run, range(4 if fresh else 60)):
                assert torch.equal(output, expected)


@pytest.mark.slow
def test_a_compiled_model_with_a_shared_quantizer():
    model, x = a_pair(), torch.randn(2, 8)
    net = a_net(model)
    run = tm.compiled(model)
    for seed in range(3):
        net.set_faults_(a_chip(net.placement, seed=seed))
        expected = model(x)
        torch.testing.assert_close(run(x), expected)
        with ThreadPoolExecutor(4) as pool:
            for output in pool.map(run, [x] * 40):
                torch.testing.assert_close(output, expected)
