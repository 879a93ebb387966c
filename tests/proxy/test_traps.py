"""Every trap of Brevitas that could lose, leak or misplace faults. Each test would fail without the proxy's care."""

import copy
import os
import subprocess
import sys

import brevitas.config
import brevitas.nn as qnn
import forked
import numpy as np
import pytest
import torch
from brevitas.quant import Int8WeightPerTensorFixedPoint
from helpers import a_chip, a_net, brevitas_codes, expected_codes, plain_codes_of
from torch import nn
from torch.optim.swa_utils import AveragedModel

import tremap_brevitas as tm
from tremap_brevitas import quant as tq


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        qnn.QuantConv2d(2, 4, 3, bias=True, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        qnn.QuantLinear(16, 5, bias=True, weight_quant=tq.FaultyInt8WeightPerChannelFloatMSE),
    )


IMAGES = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(9))


def faulty_network(store="nearest"):
    """The network, itself as it is placed, its chip, and its outputs without and with faults."""
    model = network().eval()
    model(IMAGES)
    net = a_net(model)
    chip = a_chip(net.placement)
    healthy = model(IMAGES)
    net.set_faults_(chip, rule=tm.Rule(store))
    with_faults = model(IMAGES)
    assert not torch.equal(healthy, with_faults)
    return model, net, chip, healthy, with_faults


def read_back(net):
    return {name: net.codes(name).read_back for name in ("0", "4")}


def assert_same_codes(ours, theirs):
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("store", ["plain", "nearest"])
def test_faults_survive_load_state_dict(store):
    model, net, chip, _, with_faults = faulty_network(store)
    before = read_back(net)
    model.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
    assert_same_codes(read_back(net), before)
    assert torch.equal(model(IMAGES), with_faults)
    # Other weights: the same cells are stuck, under the new codes.
    other = network()
    other(IMAGES)
    model.load_state_dict(other.state_dict(), strict=True)
    wanted = plain_codes_of(other)
    assert_same_codes(read_back(net), expected_codes(wanted, net.placement, chip, store))


def test_state_dicts_carry_no_faults_and_load_both_ways():
    model, _, _, healthy, with_faults = faulty_network()
    plain = tm.restore(network())
    plain(IMAGES)
    assert list(plain.state_dict()) == list(model.state_dict())
    plain.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(plain.eval()(IMAGES), healthy)
    model.load_state_dict(plain.state_dict(), strict=True)
    assert torch.equal(model(IMAGES), with_faults)


def test_faults_are_in_no_buffer():
    model, *_ = faulty_network()
    names = {name for name, _ in network().named_buffers()}
    assert {name for name, _ in model.named_buffers()} == names


def test_an_averaged_model_keeps_whole_masks():
    model, net, *_ = faulty_network()
    averaged = AveragedModel(model, use_buffers=True)
    for _ in range(3):
        averaged.update_parameters(model)
    assert_same_codes(read_back(tm.PlacedModel(averaged.module, net.placement)), read_back(net))


def test_faults_survive_a_weight_that_is_registered_anew():
    model, net, chip, *_ = faulty_network()
    layer = model[0]
    layer.weight = nn.Parameter(layer.weight.detach().flip(0).clone())
    wanted = {"0": net.codes("0").wanted, "4": net.codes("4").wanted}
    assert_same_codes(read_back(net), expected_codes(wanted, net.placement, chip))


def test_a_deep_copy_has_faults_of_its_own():
    model, net, chip, healthy, with_faults = faulty_network()
    twin = copy.deepcopy(net)
    assert torch.equal(twin.model(IMAGES), with_faults)
    net.clear_faults_()
    assert torch.equal(model(IMAGES), healthy)
    assert torch.equal(twin.model(IMAGES), with_faults)
    with torch.no_grad():
        twin.model[0].weight.mul_(-1)
    wanted = {"0": twin.codes("0").wanted, "4": twin.codes("4").wanted}
    assert_same_codes(read_back(twin), expected_codes(wanted, net.placement, chip))
    assert not np.array_equal(wanted["0"], net.codes("0").wanted)


def test_a_new_map_drops_the_cached_weight():
    model, net, chip, *_ = faulty_network()
    proxy = model[0].weight_quant
    proxy.cache_inference_quant_weight = True
    model(IMAGES)
    assert proxy._cached_weight is not None
    net.clear_faults_()
    assert proxy._cached_weight is None
    model(IMAGES)
    net.set_faults_(chip)
    assert proxy._cached_weight is None


def test_a_slice_of_a_weight_gets_its_own_faults():
    model, *_ = faulty_network("nearest")
    layer = model[0]
    whole = layer.quant_weight().value
    part = layer.quant_weight(subtensor_slice_list=[(1, 3), (0, 1)]).value
    assert torch.equal(part, whole[1:3, 0:1])
    assert torch.equal(layer.quant_weight().value, whole)


def test_a_list_of_slices_that_is_used_again():
    layer = faulty_network()[0][0]
    whole = layer.quant_weight().value
    slices = [None, (0, 1)]
    layer.quant_weight(subtensor_slice_list=slices)
    slices[1] = (1, 2)
    assert torch.equal(layer.quant_weight(subtensor_slice_list=slices).value, whole[:, 1:2])


def test_a_layer_that_was_sliced_before_it_was_made_faulty():
    # a scale that the slice does not change
    layer = qnn.QuantLinear(6, 4, bias=False, weight_quant=Int8WeightPerTensorFixedPoint)
    layer.quant_weight(subtensor_slice_list=[(0, 2)])
    tm.make_faulty(layer)
    net = a_net(layer)
    net.set_faults_(a_chip(net.placement))
    assert torch.equal(layer.quant_weight(subtensor_slice_list=[(0, 2)]).value, layer.quant_weight().value[:2])


def test_a_weight_of_another_shape_is_noticed():
    layer = qnn.QuantLinear(8, 1, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)
    net = a_net(layer)
    net.set_faults_(a_chip(net.placement))
    layer.weight = nn.Parameter(torch.randn(5, 8))
    with pytest.raises(ValueError, match=r"its weight has shape \(5, 8\) now, but its faults were placed for \(1, 8\)"):
        layer(torch.randn(1, 8))


def test_quantization_that_is_switched_off_gives_float_weights():
    model, net, _, _, with_faults = faulty_network()
    model[0].weight_quant.disable_quant = True
    assert torch.equal(model[0].quant_weight(), model[0].weight)
    with pytest.raises(ValueError, match="layer '0': its quantizer is disabled"):
        net.codes("0")
    model[0].weight_quant.disable_quant = False
    assert torch.equal(model(IMAGES), with_faults)


def test_delayed_quantization_gives_float_weights_and_then_faults():
    quantizer = type("Delayed", (tq.FaultyInt8WeightPerTensorFloat,), {"quant_delay_steps": 2})
    layer = qnn.QuantLinear(6, 4, bias=False, weight_quant=quantizer)
    net = a_net(layer)
    chip = a_chip(net.placement)
    net.set_faults_(chip)
    for _ in range(2):
        with pytest.raises(ValueError, match="layer '': the weight quantizer is disabled or delayed"):
            net.codes("")
        assert torch.equal(layer.quant_weight().value, layer.weight)
    wanted = net.codes("").wanted
    assert np.array_equal(brevitas_codes(layer), expected_codes({"": wanted}, net.placement, chip)[""])


def test_the_float_weights_and_the_scale_are_never_touched():
    model, net, chip, *_ = faulty_network()
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    scale = model[0].quant_weight().scale
    for store in ("plain", "nearest"):
        net.set_faults_(chip, rule=tm.Rule(store))
        model.train()
        model(IMAGES).sum().backward()
        assert all(torch.equal(p, weights[n]) for n, p in model.named_parameters())
        assert torch.equal(model[0].quant_weight().scale, scale)
    net.clear_faults_()
    assert torch.equal(model[0].quant_weight().scale, scale)


def test_the_lowest_code_is_valid_although_the_range_is_narrow():
    layer = qnn.QuantLinear(2, 1, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)
    net = a_net(layer)
    cells = [net.placement.cell("", 0, bit=b) for b in range(8)]
    net.set_faults_(tm.FaultMap(net.placement.memory, cells, [0, 0, 0, 0, 0, 0, 0, 1]))
    value = layer.quant_weight()
    assert value.is_valid
    assert value.int()[0, 0] == -128


def test_memory_formats_and_devices_follow_the_weight():
    model, net, _, _, with_faults = faulty_network()
    codes = read_back(net)
    model.to(memory_format=torch.channels_last)
    assert torch.allclose(model(IMAGES), with_faults, atol=1e-5)
    assert_same_codes(read_back(net), codes)
    masks = model[0].weight_quant.tensor_quant.int_quant.stuck_at.tensors
    assert masks[0].stride() == model[0].weight.stride()
    meta = copy.deepcopy(model).to("meta")
    assert meta[0].quant_weight().value.device.type == "meta"
    if torch.cuda.is_available():
        model.to("cuda")
        assert_same_codes(read_back(net), codes)
        assert model(IMAGES.cuda()).device.type == "cuda"


def test_half_precision_weights():
    model, net, chip, *_ = faulty_network()
    model.bfloat16()
    wanted = {name: net.codes(name).wanted for name in ("0", "4")}
    assert_same_codes(read_back(net), expected_codes(wanted, net.placement, chip))
    assert model(IMAGES.bfloat16()).isfinite().all()


def test_nan_weights_are_named_and_never_turned_into_codes():
    model, net, chip, *_ = faulty_network()
    with torch.no_grad():
        model[0].weight[1, 0, 2, 2] = float("nan")
    for call in (
        lambda: net.set_faults_(chip),
        lambda: net.memory_image(),
        lambda: tm.Ramp(net, chip, over_steps=3),
    ):
        with pytest.raises(ValueError, match=r"layer '0': weight\[1, 0, 2, 2\] is nan: it has no code"):
            call()
    for store in ("plain", "nearest"):
        model[0].weight.data[1, 0, 2, 2] = 0
        net.set_faults_(chip, rule=tm.Rule(store))
        model[0].weight.data[1, 0, 2, 2] = float("nan")
        assert model[0].quant_weight().value[1, 0, 2, 2].isnan()
    with torch.no_grad():
        model[0].weight[1, 0, 2, 2] = float("-inf")
    with pytest.raises(ValueError, match=r"layer '0': weight\[1, 0, 2, 2\] is -inf"):
        net.memory_image()


def test_compile_quant_keeps_up_with_the_map():
    model, net, chip, *_ = faulty_network()
    model[0].weight_quant.compile_quant()
    other = a_chip(net.placement, seed=3)
    for store in ("plain", "nearest"):
        for one in (chip, other, chip):
            net.set_faults_(one, rule=tm.Rule(store))
            assert np.array_equal(brevitas_codes(model[0]), net.codes("0").read_back)
    net.clear_faults_()
    assert np.array_equal(brevitas_codes(model[0]), net.codes("0").wanted)


def test_a_compiled_model_gives_the_same_codes_and_gradients():
    model, net, chip, *_ = faulty_network()
    compiled = torch.compile(lambda w: model[0].weight_quant(w).value, fullgraph=True)
    for one in (chip, a_chip(net.placement, seed=3)):
        net.set_faults_(one)
        eager = model[0].quant_weight().value
        fast = compiled(model[0].weight)
        assert torch.equal(eager, fast)
        gradients = [torch.autograd.grad(v.square().sum(), model[0].weight)[0] for v in (eager, fast)]
        # The scale's gradient is one sum over all weights; compilers add in another order.
        assert torch.allclose(*gradients, atol=1e-5)


@pytest.mark.parametrize("jit", ["0", "1"])
def test_torchscript(jit):
    """The same checks in a process of its own, where Brevitas compiles its modules."""
    environment = {**os.environ, "BREVITAS_JIT": jit}
    script = os.path.join(os.path.dirname(__file__), "jit_check.py")
    if jit == "1":  # Brevitas reads it when it is imported
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=600)
    else:
        done = forked.run(script, environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1] == "passed"
    assert f"jit {jit == '1'}" in done.stdout


def test_this_process_runs_without_torchscript():
    assert not brevitas.config.JIT_ENABLED
