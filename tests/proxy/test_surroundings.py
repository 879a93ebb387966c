"""What surrounds a forward pass: inference mode, torch.func, replicas, meta tensors, cached weights, half precision."""

import copy
from functools import partial

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.export.inference import quant_inference_mode
from brevitas.quant import Int8BiasPerTensorFloatInternalScaling, Int8WeightPerTensorFixedPoint
from helpers import a_chip, a_net, brevitas_codes, expected_codes
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import register_parametrization

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.placed.faults import codes_of
from tremap_brevitas.placed.slots import faulty_slots
from tremap_brevitas.proxy.weight_faults import flat_table

X = torch.randn(5, 8, generator=torch.Generator().manual_seed(3))
QUANT = tq.FaultyInt8WeightPerTensorFixedPoint


def a_model(weight_quant=QUANT, **options):
    return nn.Sequential(*[qnn.QuantLinear(8, 8, bias=False, weight_quant=weight_quant, **options) for _ in "01"]).eval()


def a_faulty_model():
    """The model, itself as it is placed, and its chip."""
    model = a_model()
    net = a_net(model)
    chip = a_chip(net.placement)
    net.set_faults_(chip)
    return model, net, chip


def stuck_entirely(placement):
    """A chip in which every bit of the first ten weights is stuck, so that they may be frozen."""
    cells = sorted(placement.cell("0", weight, bit=bit) for weight in range(10) for bit in range(8))
    return tm.FaultMap(placement.memory, cells, [0] * len(cells), "stuck")


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("store", ["plain", "nearest"])
def test_faults_that_were_set_in_inference_mode_can_be_trained_under(store, compile):
    model = a_model()
    net = a_net(model)
    flat_table.cache_clear()
    with torch.inference_mode():
        net.set_faults_(stuck_entirely(net.placement), rule=tm.Rule(store, "zero_fully_stuck"))
        model(X)
    run = tm.compiled(model) if compile else model
    run(X).sum().backward()
    assert model[0].weight.grad is not None
    assert (model[0].weight.grad.reshape(-1)[:10] == 0).all()


def test_every_way_to_set_faults_in_inference_mode():
    model = a_model()
    net = a_net(model)
    merged = tm.merge([a_chip(net.placement, seed=seed) for seed in range(2)], on_conflict="majority")
    wide = a_net(a_model(type("Wide", (tq.FaultyInt8WeightPerTensorFloat,), {"bit_width": 12})))
    flat_table.cache_clear()
    with torch.inference_mode():
        reads = tm.ReadByMembers(net, merged, seed=0, rule=tm.Rule(gradient="zero_fully_stuck"))
        wide.set_faults_(a_chip(wide.placement))
    for trained in (model, wide.model):
        trained(X).sum().backward()
    with torch.inference_mode():
        reads.step()
    model(X).sum().backward()
    net.set_faults_(merged)
    with torch.inference_mode(), net.using_codes(net.memory_image().codes):
        model(X)
    model(X).sum().backward()


def test_functional_call_with_other_weights_and_layouts():
    model, *_ = a_faulty_model()
    expected = model(X)
    weights = {name: value.detach() for name, value in model.named_parameters()}
    transposed = {name: value.t().contiguous().t() for name, value in weights.items()}
    torch.testing.assert_close(torch.func.functional_call(model, transposed, (X,)), expected)
    other = {name: value * 1.3 for name, value in weights.items()}
    twin = copy.deepcopy(model)
    twin.load_state_dict({**twin.state_dict(), **other})
    assert torch.equal(torch.func.functional_call(model, other, (X,)), twin(X))
    assert torch.equal(model(X), expected)


def test_function_transforms_are_refused_and_leave_the_model_whole():
    model, net, chip = a_faulty_model()
    expected = model(X)
    weights = dict(model.named_parameters())
    flat_table.cache_clear()

    def loss(weights):
        with net.using(chip):
            return torch.func.functional_call(model, weights, (X,)).sum()

    for call in (
        partial(torch.func.grad(loss), weights),
        partial(torch.func.vmap(lambda x: model(x[None])[0]), X),
        partial(torch.func.jvp, loss, (weights,), ({name: torch.ones_like(w) for name, w in weights.items()},)),
    ):
        with pytest.raises(RuntimeError, match="layer '0': .*do not work under the transforms of torch.func.*functional_call"):
            call()
    for each in (model, copy.deepcopy(model)):
        assert torch.equal(each(X), expected)
    net.set_faults_(chip)
    assert torch.equal(model(X), expected)
    model(X).sum().backward()


def test_replicas_of_data_parallel_are_refused():
    """torch.nn.DataParallel calls this method of every module when it has two devices."""
    model, net, _ = a_faulty_model()
    with pytest.raises(RuntimeError, match="layer '0': torch.nn.DataParallel .*use DistributedDataParallel, or one device"):
        [module._replicate_for_data_parallel() for module in model.modules()]
    net.clear_faults_()
    assert len([module._replicate_for_data_parallel() for module in model.modules()]) > 2
    assert torch.equal(nn.DataParallel(model, device_ids=[])(X), model(X))


def test_weights_on_the_meta_device_are_named():
    _, net, chip = a_faulty_model()
    net.model.to("meta")
    for call in (
        lambda: tm.place(net.model, net.placement.memory),
        lambda: tm.PlacedModel(net.model, net.placement),
        lambda: net.set_faults_(chip),
        lambda: net.memory_image(),
        lambda: net.codes("1"),
    ):
        with pytest.raises(ValueError, match="layer '0': it is on the meta device"):
            call()
    with pytest.raises(ValueError, match="layer '1': its weight is on the meta device"):
        codes_of(faulty_slots(net.model)[1])


@pytest.mark.parametrize("quantizer", [QUANT, tq.FaultyMXInt8Weight, tq.FaultyShiftedUint8WeightPerTensorFloat])
@pytest.mark.parametrize("cache", [False, True])
def test_inference_mode_follows_every_change_of_faults(quantizer, cache):
    model = a_model(quantizer, weight_group_size=8) if quantizer is tq.FaultyMXInt8Weight else a_model(quantizer)
    net = a_net(model)
    first, second = (a_chip(net.placement, seed=seed) for seed in range(2))
    image = net.memory_image()
    changes = [
        lambda each: each.set_faults_(first),
        lambda each: each.set_faults_(second, rule=tm.Rule("plain")),
        lambda each: each.clear_faults_(),
        lambda each: each.set_faults_(first),
    ]
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for first_pass in changes:  # the mode begins with the first pass; healthy or not, it must follow later changes
            first_pass(net)
            with quant_inference_mode(model, cache_quant_weight=cache):
                model(X)
                for change in changes:
                    change(net)
                    change(twin)
                    for _ in range(2):
                        torch.testing.assert_close(model(X), twin.model(X))
                codes = tm.placement.certificate(image, second).read()
                with net.using_codes(codes), twin.using_codes(codes):
                    torch.testing.assert_close(model(X), twin.model(X))
                torch.testing.assert_close(model(X), twin.model(X))


def test_chips_evaluated_in_inference_mode_with_cached_weights():
    model = a_model()
    net = a_net(model)
    chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=0.1, seed=0)
    labels = model(X).argmax(1)

    def accuracy(model):
        return float((model(X).argmax(1) == labels).float().mean())

    with torch.no_grad():
        expected = net.evaluate(chips, accuracy, progress=False)
        with quant_inference_mode(model, cache_quant_weight=True):
            report = net.evaluate(chips, accuracy, progress=False)
    assert [c.accuracy for c in report.chips] == [c.accuracy for c in expected.chips]
    assert min(c.accuracy for c in report.chips) < 1


@pytest.mark.parametrize("cache", [False, True])
def test_inference_mode_with_shared_quantizers_and_biases(cache):
    options = {"weight_quant": QUANT, "bias_quant": tq.faulty(Int8BiasPerTensorFloatInternalScaling)}
    first = qnn.QuantLinear(8, 8, **options)
    model = nn.Sequential(first, qnn.QuantLinear(8, 8, weight_quant=first.weight_quant, bias_quant=first.bias_quant)).eval()
    net = a_net(model)
    assert len(net.placement.layers) == 4
    twin = copy.deepcopy(net)
    with torch.no_grad(), quant_inference_mode(model, cache_quant_weight=cache):
        model(X)
        for seed in range(2):
            for each in (net, twin):
                each.set_faults_(a_chip(net.placement, seed=seed))
            torch.testing.assert_close(model(X), twin.model(X))


def test_faults_survive_a_load_in_inference_mode():
    model, net, chip = a_faulty_model()
    state = {name: value * 0.7 for name, value in model.state_dict().items()}
    with torch.no_grad(), quant_inference_mode(model):
        model(X)
        model.load_state_dict(state, strict=False)  # the mode has buffers of its own
        output = model(X)
    assert torch.equal(output, model(X))
    wanted = {name: net.codes(name).wanted for name in "01"}
    assert np.array_equal(brevitas_codes(model[0]), expected_codes(wanted, net.placement, chip)["0"])


@pytest.mark.slow
@pytest.mark.parametrize("strict", [False, True])
def test_torch_export_of_faults_that_were_just_set(strict):
    model, net, chip = a_faulty_model()
    expected = model(X)
    net.set_faults_(chip)
    with torch.no_grad():
        program = torch.export.export(model, (X,), strict=strict)
    torch.testing.assert_close(program.module()(X), expected)
    assert torch.equal(model(X), expected)


def test_training_after_an_evaluation_in_inference_mode():
    layer = qnn.QuantLinear(4, 4, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)
    net = a_net(layer)
    cells = np.arange(net.placement.cell("", (3, 3), bit=7) + 1)
    chip = tm.FaultMap(net.placement.memory, cells, cells % 2)
    for store in ("plain", "nearest"):
        net.set_faults_(chip, rule=tm.Rule(store, "zero_fully_stuck"))
        with torch.inference_mode():
            layer(torch.randn(1, 4))
        layer(torch.randn(1, 4)).sum().backward()
        assert layer.weight.grad.abs().sum() > 0 or store == "plain"


def test_wide_codes_in_half_precision():
    torch.manual_seed(0)
    quantizer = type("Wide", (tq.FaultyInt8WeightPerTensorFloat,), {"bit_width": 12})
    layer = qnn.QuantLinear(24, 24, bias=False, weight_quant=quantizer).half()
    net = a_net(layer)
    wanted = net.codes("").wanted
    chip = a_chip(net.placement)
    for store in ("plain", "nearest"):
        net.set_faults_(chip, rule=tm.Rule(store))
        assert np.array_equal(net.codes("").read_back, expected_codes({"": wanted}, net.placement, chip, store)[""])


class Halved(nn.Module):
    def forward(self, weight):
        return weight * 0.5


WEIGHT_CHANGES = {
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "weight_norm": weight_norm,
    "parametrization": lambda layer: register_parametrization(layer, "weight", Halved()),
}


@pytest.mark.parametrize("store", ["plain", "nearest"])
@pytest.mark.parametrize("faults_first", [True, False])
@pytest.mark.parametrize("change", WEIGHT_CHANGES)
def test_faults_hold_in_weights_that_are_computed(change, faults_first, store):
    """Pruned, normalised and parametrised weights are new tensors at every call, and are stored in the same cells."""
    model = a_model()
    net = a_net(model)
    chip = a_chip(net.placement)
    if faults_first:
        net.set_faults_(chip, rule=tm.Rule(store))
    WEIGHT_CHANGES[change](model[0])
    if not faults_first:
        net.set_faults_(chip, rule=tm.Rule(store))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for _ in range(2):  # as it was changed, and after a step of training
        healthy = a_model(Int8WeightPerTensorFixedPoint)
        with torch.no_grad():
            for layer, plain in zip(model, healthy, strict=True):
                plain.weight.copy_(layer.weight)
        wanted = {name: brevitas_codes(plain) for name, plain in zip("01", healthy, strict=True)}
        expected = expected_codes(wanted, net.placement, chip, store)
        assert (expected["0"] != wanted["0"]).any()
        for name, layer in zip("01", model, strict=True):
            assert np.array_equal(brevitas_codes(layer), expected[name])
            assert np.array_equal(net.codes(name).read_back, expected[name])
        model(X).square().sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.05 * parameter.grad
        model(X)  # pruning computes the weight before each forward pass
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
