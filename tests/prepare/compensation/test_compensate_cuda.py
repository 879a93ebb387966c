"""Compensation on a GPU: every kind of layer, quantizer and map, and the same as on a CPU up to rounding."""

import copy

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Int8ActPerTensorFixedPoint
from helpers import GPU, a_chip, a_net, needs_gpu, options_of
from prepare.compensation.fleet_jobs import a_healthy_net, chips_of, images, mean_output
from prepare.compensation.test_compensate import NAMES, codes_read, network, output_error, scales
from prepare.compensation.test_compensate import images as pictures
from prepare.compensation.test_layer_kinds import KINDS, OPTIONS, QUANT, Attention, run_alike
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.prepare import prepare_fleet
from tremap_brevitas.prepare.compensation import layer as of_a_layer

needs_gpu()


def on_both(net, x, chip, **options):
    """The network compensated on the GPU, and the errors that it and its twin on a CPU have left."""
    twin = copy.deepcopy(net)
    net.model.to(GPU)
    before = scales(net.model)
    on_gpu = net.compensate_(x.to(GPU).split(128), fault_map=chip, progress=False, **options)
    on_cpu = twin.compensate_(x.split(128), fault_map=chip, progress=False, **options)
    assert {tensor.device.type for tensor in net.model.state_dict().values()} == {torch.device(GPU).type}
    assert all(torch.equal(scale, before[name]) for name, scale in scales(net.model).items())
    assert net.certificate(chip).bit_exact
    assert [(one.reason, one.limit) for one in on_gpu.layers] == [(one.reason, one.limit) for one in on_cpu.layers]
    return on_gpu, on_cpu


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_layer(name):
    kind, sizes, shape = KINDS[name]
    torch.manual_seed(0)
    net = a_net(nn.Sequential(kind(*sizes, **OPTIONS)).eval().to(GPU))
    x = (torch.randn(shape) @ torch.randn(shape[-1], shape[-1])).to(GPU)
    if "last" in name:
        net.model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    nearest, compensated, report = run_alike(net, x, a_chip(net.placement, rate=0.1))
    assert compensated < nearest
    assert not report.layers[0].reason


@pytest.mark.parametrize("encoding", ["twos_complement", "offset_binary", "sign_magnitude"])
@pytest.mark.parametrize("bits", [2, 4, 8, 12, 16])
def test_every_width_and_encoding(bits, encoding):
    torch.manual_seed(0)
    layer = qnn.QuantLinear(16, 12, bias=True, weight_quant=QUANT.let(bit_width=bits))
    net = a_net(layer.eval(), encoding=encoding)
    x = torch.randn(128, 16) @ torch.randn(16, 16)
    on_gpu, on_cpu = on_both(net, x, a_chip(net.placement, rate=0.1))
    assert on_gpu.error < on_gpu.nearest_error
    # Sums are rounded otherwise, so that single codes may differ, and what follows from them.
    assert on_gpu.error == pytest.approx(on_cpu.error, rel=0.1)


@pytest.mark.parametrize("store", ["nearest", "plain"])
@pytest.mark.parametrize("name", NAMES)
def test_every_quantizer_in_a_network(name, store):
    model = network(getattr(tq, name), **options_of(name))
    net = a_net(model, rule=tm.Rule(store))
    healthy = copy.deepcopy(net)
    healthy.model.to(GPU)
    chip = a_chip(net.placement)
    on_gpu, on_cpu = on_both(net, pictures(256), chip)
    # Sums are rounded otherwise, so that single codes may differ, and what follows from them.
    assert on_gpu.error == pytest.approx(on_cpu.error, rel=0.2)
    x = pictures(seed=7).to(GPU)
    nearest = copy.deepcopy(healthy)
    nearest.set_faults_(chip)
    assert output_error(net, healthy, x) < output_error(nearest, healthy, x)


def test_projections_of_an_attention_and_quantized_inputs():
    torch.manual_seed(0)
    last = qnn.QuantLinear(8, 4, input_quant=Int8ActPerTensorFixedPoint, **OPTIONS)
    model, x = nn.Sequential(Attention(), last), torch.randn(64, 5, 8)
    model(x)
    net = a_net(model.eval())
    on_gpu, on_cpu = on_both(net, x, a_chip(net.placement, rate=0.1))
    assert len(on_gpu.layers) == 5
    assert on_gpu.error < on_gpu.nearest_error
    assert on_gpu.error == pytest.approx(on_cpu.error, rel=0.2)


def test_what_cannot_be_compensated_is_named_and_not_moved():
    torch.manual_seed(0)

    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = qnn.QuantEmbedding(20, 8, weight_quant=QUANT)
            self.lstm = qnn.QuantLSTM(8, 6, weight_quant=QUANT, batch_first=True)
            self.head = qnn.QuantLinear(6, 4, **OPTIONS)

        def forward(self, x):
            return self.head(self.lstm(self.embedding(x))[0][:, -1])

    net = a_net(Text().eval())
    words = torch.randint(20, (32, 5), generator=torch.Generator().manual_seed(0))
    on_gpu, _ = on_both(net, words, a_chip(net.placement))
    assert [layer.layer for layer in on_gpu.layers if not layer.reason] == ["head"]


def test_one_chip_shared_moments_and_a_group():
    net = a_healthy_net()
    net.model.to(GPU)
    batches = images().to(GPU).split(64)
    moments = net.moments(batches, progress=False)
    chips = chips_of(net, 3)
    group = tm.merge(chips, on_conflict="free")
    assert len(group.conflicts)
    for given, fault_map in (({"batches": batches}, chips[0]), ({"moments": moments}, chips[0]), ({"batches": batches}, group)):
        twin = copy.deepcopy(net)
        report = twin.compensate_(fault_map=fault_map, progress=False, **given)
        assert report.error < report.nearest_error
        assert twin.certificate(fault_map).bit_exact


def test_moments_of_a_gpu_serve_a_cpu():
    net = a_healthy_net()
    twin, (chip,) = copy.deepcopy(net), chips_of(net, 1)
    twin.model.to(GPU)
    with_gpu = twin.moments(images().to(GPU).split(64), progress=False)
    report = net.compensate_(moments=with_gpu, fault_map=chip, progress=False)
    assert report.error < report.nearest_error


def test_the_same_inputs_give_the_same_codes():
    states = []
    for _ in range(2):
        net = a_net(network().to(GPU))
        net.compensate_([pictures().to(GPU)], fault_map=a_chip(net.placement), progress=False)
        states.append(net.model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_without_wrong_codes_nothing_changes():
    net = a_net(network().to(GPU))
    before, image = copy.deepcopy(net.model.state_dict()), net.memory_image()
    cells = np.array([3, 40, 77])
    words, width = image.words(), net.placement.memory.word_bits
    lucky = tm.FaultMap(net.placement.memory, cells, [words[c // width] >> c % width & 1 for c in cells.tolist()])
    report = net.compensate_([pictures().to(GPU)], fault_map=lucky, progress=False)
    assert report.error == 0
    assert all(torch.equal(value, before[key]) for key, value in net.model.state_dict().items())


def test_an_interruption_leaves_the_model_as_it_was(monkeypatch):
    net = a_net(network().to(GPU))
    net.set_faults_(a_chip(net.placement, seed=5))
    before, codes, done = copy.deepcopy(net.model.state_dict()), codes_read(net), []
    solve = of_a_layer.LayerProblem.solve

    def interrupted(*args, **options):
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt("by the user")
        return solve(*args, **options)

    monkeypatch.setattr(of_a_layer.LayerProblem, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt, match="by the user"):
        net.compensate_([pictures().to(GPU)], progress=False)
    assert all(torch.equal(value, before[key]) for key, value in net.model.state_dict().items())
    assert all(np.array_equal(read, codes[name]) for name, read in codes_read(net).items())


def test_the_healthy_network_comes_back_from_its_state():
    net = a_net(network().to(GPU))
    x = pictures(seed=7).to(GPU)
    with torch.no_grad():
        wanted = net.model(x)
    healthy = copy.deepcopy(net.model.state_dict())
    net.compensate_([pictures().to(GPU)], fault_map=a_chip(net.placement, rate=0.2), progress=False)
    net.clear_faults_()
    net.model.load_state_dict(healthy)
    with torch.no_grad():
        assert torch.equal(net.model(x), wanted)


def test_a_fleet(tmp_path):
    net = a_healthy_net()
    net.model.to(GPU)
    chips = chips_of(net, 3)
    moments = net.moments(images().to(GPU).split(64), progress=False)

    def evaluate(model):
        with torch.no_grad():
            return float(model(images(32, 9).to(GPU)).mean())

    options = {"folder": tmp_path / "run", "evaluation": "mean", "progress": False}
    fleet = prepare_fleet(net, chips, moments, evaluate=evaluate, **options)
    again = prepare_fleet(net, chips, moments, evaluate=None, folder=tmp_path / "other", progress=False)
    for one, other in zip(fleet.chips, again.chips, strict=True):
        assert all(np.array_equal(one.codes[name], other.codes[name]) for name in one.codes)
    fleet.apply_(net, chips[1].chip)
    assert net.certificate(chips[1]).bit_exact
    assert mean_output(net.model.cpu()) == pytest.approx(fleet.chips[1].accuracy, rel=1e-3)
