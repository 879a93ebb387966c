"""Where less than the whole method was used, the report names the layer and says why."""

import copy
from functools import partial

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Int8ActPerTensorFixedPoint, Int8BiasPerTensorFloatInternalScaling, Uint8ActPerTensorFixedPoint
from helpers import a_chip, a_net
from networks import FullRangeWeight
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.prepare.compensation import compensate

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint


def inputs(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def members_of(net, count=5, rate=0.05):
    chips = tm.random_fault_maps(net.placement.memory, chips=count, fault_rate=rate, seed=0)
    merged = tm.merge(chips, on_conflict="free")
    assert len(merged.conflicts)
    return chips, merged


class Twice(nn.Module):
    """A block of a layer and a BatchNorm that is called twice, and a linear layer that is called once."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(qnn.QuantLinear(8, 8, bias=False, weight_quant=QUANT), nn.BatchNorm1d(8))
        self.head = qnn.QuantLinear(8, 4, bias=True, weight_quant=QUANT)

    def forward(self, x):
        for _ in range(2):
            x = torch.relu(self.block(x))
        return self.head(x)


def test_a_layer_that_is_called_several_times():
    torch.manual_seed(0)
    model = Twice()
    model(inputs(256, 8))
    net = a_net(model.eval())
    healthy, x, chip = copy.deepcopy(net), inputs(256, 8), a_chip(net.placement, rate=0.2)
    report = net.compensate_(x.split(64), fault_map=chip, progress=False)
    limits = {layer.layer: layer.limit for layer in report.layers}
    assert limits == {"block.0": "called 2 times: chosen for the inputs of the first call", "head": ""}
    assert limits["block.0"] in str(report)
    assert not any(layer.reason for layer in report.layers)
    with torch.no_grad():
        wanted, output = healthy.model(x), net.model(x)
        healthy.set_faults_(chip)
        assert (output - wanted).norm() < 0.7 * (healthy.model(x) - wanted).norm()
    # From shared moments, which are of all calls, nothing is left out.
    twin = copy.deepcopy(healthy)
    twin.clear_faults_()
    shared = twin.compensate_(moments=twin.moments([x], progress=False), fault_map=chip, progress=False)
    assert not any(layer.limit for layer in shared.layers)


def test_a_batchnorm_that_is_called_again_keeps_what_its_first_call_gave(monkeypatch):
    torch.manual_seed(0)
    model = Twice()
    model(inputs(256, 8))
    net, calls = a_net(model.eval()), []
    follow_ = compensate.follow_
    monkeypatch.setattr(compensate, "follow_", lambda *args: (calls.append(args[0]), follow_(*args)))
    net.compensate_([inputs(64, 8)], fault_map=a_chip(net.placement, rate=0.2), progress=False)
    assert calls == [net.model.block[1]]


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("transposed", [False, True])
def test_conflicts_in_layers_of_several_groups_are_the_members_exact_mean_error(groups, transposed):
    torch.manual_seed(0)
    kind = qnn.QuantConvTranspose2d if transposed else qnn.QuantConv2d
    layer = tm.make_faulty(kind(6, 12, 3, groups=groups, bias=False, weight_quant=FullRangeWeight))
    net = a_net(layer.eval())
    healthy, x = copy.deepcopy(net), inputs(40, 6, 5, 5)
    chips, merged = members_of(net)
    blind = copy.deepcopy(net)
    (without,) = blind.compensate_(
        [x], fault_map=tm.FaultMap(merged.memory, merged.cells, merged.stuck_at), sweeps=4, progress=False
    ).layers
    (reported,) = net.compensate_([x], fault_map=merged, sweeps=4, progress=False).layers
    assert not reported.reason
    assert not reported.limit
    assert without.limit == ""

    def mean_error(placed):
        image, squares = placed.memory_image(), []
        with torch.no_grad():
            wanted = healthy.model(x)
            for chip in chips:
                with placed.using_codes(tm.placement.certificate(image, chip).read()):
                    squares.append((placed.model(x) - wanted).square().sum() / wanted.square().sum())
        return float(torch.stack(squares).mean().sqrt())

    # One layer, its inputs as they are: what the report says is what the members' outputs are off.
    assert mean_error(net) == pytest.approx(reported.compensated, rel=1e-3)
    assert mean_error(net) < mean_error(blind)


def test_conflicts_of_wide_codes_go_by_the_merged_map():
    torch.manual_seed(0)
    layer = qnn.QuantLinear(16, 12, bias=False, weight_quant=QUANT.let(bit_width=12))
    net = a_net(layer.eval())
    _, merged = members_of(net)
    (reported,) = net.compensate_([inputs(64, 16)], fault_map=merged, progress=False).layers
    assert reported.limit.startswith("codes of 12 bits: ")
    assert reported.limit.endswith(" by the merged map alone")
    hit = {weight.index for cell in merged.conflicts.tolist() for weight in net.placement.weights_at(cell)}
    assert f": {len(hit)} conflicting weight" in reported.limit
    assert reported.compensated < reported.nearest


def test_biases_in_the_memory_are_named_where_they_read_wrong():
    torch.manual_seed(0)
    bias = {"bias": True, "bias_quant": Int8BiasPerTensorFloatInternalScaling}
    model = nn.Sequential(
        qnn.QuantLinear(8, 8, weight_quant=FullRangeWeight, **bias),
        qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint),
        qnn.QuantLinear(8, 4, weight_quant=FullRangeWeight, **bias),
    )
    model(inputs(64, 8))
    net = a_net(tm.make_faulty(model.eval(), biases=True))
    healthy = net.memory_image().codes
    chip = a_chip(net.placement, rate=0.1)
    net.set_faults_(chip)
    wrong = {
        layer.name
        for layer in net.placement.layers
        if layer.name.endswith("bias") and not np.array_equal(net.codes(layer.name).read_back, healthy[layer.name])
    }
    assert wrong
    report = net.compensate_([inputs(64, 8)], progress=False)
    kept = {layer.layer: layer.reason for layer in report.layers if layer.reason}
    assert kept == dict.fromkeys(wrong, "a bias in the memory keeps its nearest codes")


def test_outputs_that_are_quantized_are_named():
    torch.manual_seed(0)
    conv = qnn.QuantConv2d(3, 8, 3, bias=False, weight_quant=QUANT, output_quant=Int8ActPerTensorFixedPoint)
    model = nn.Sequential(conv, nn.BatchNorm2d(8))
    model(inputs(64, 3, 8, 8)), model(inputs(64, 3, 8, 8))
    net = a_net(model.eval())
    x, chip = inputs(64, 3, 8, 8), a_chip(net.placement, rate=0.3)
    limit = "its outputs are quantized: no factor or sign"
    shared = partial(copy.deepcopy(net).compensate_, moments=net.moments([x], progress=False))
    for run in (partial(copy.deepcopy(net).compensate_, [x]), shared):
        assert run(fault_map=chip, progress=False).layers[0].limit == limit
    asked_for_none = copy.deepcopy(net).compensate_([x], fault_map=chip, factors=False, signs=False, progress=False)
    assert asked_for_none.layers[0].limit == ""


def test_layers_that_are_never_run_are_named_with_shared_moments_too():
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = qnn.QuantEmbedding(20, 8, weight_quant=QUANT)
            self.unused = qnn.QuantLinear(8, 8, bias=False, weight_quant=QUANT)
            self.head = qnn.QuantLinear(8, 4, bias=True, weight_quant=QUANT)

        def forward(self, x):
            return self.head(self.embedding(x).mean(1))

    torch.manual_seed(0)
    net = a_net(Text())
    words = torch.randint(20, (32, 5), generator=torch.Generator().manual_seed(0))
    moments = net.moments([words], progress=False)
    report = net.compensate_(moments=moments, fault_map=a_chip(net.placement), progress=False)
    reasons = {layer.layer: layer.reason for layer in report.layers}
    assert reasons == {
        "head": "",
        "embedding": "a QuantEmbedding has no inputs to be weighed",
        "unused": "it was not run as a layer of its own",
    }
