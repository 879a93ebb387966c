"""Compensation of whole networks: what must hold whatever the network, the quantizer and the map."""

import copy

import brevitas.nn as qnn
import numpy as np
import oracle
import pytest
import torch
from brevitas.quant import Int8ActPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
from helpers import a_chip, a_net, options_of
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import DigitsNet, FullRangeWeight
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.prepare.compensation import layer as of_a_layer

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint


def images(count=64, seed=0, shape=(3, 8, 8)):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def network(weight_quant=QUANT, *, groups=1, **options):
    """Convolutions with and without BatchNorm, a sum, and a linear layer at the end."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = qnn.QuantConv2d(3, 8, 3, padding=1, bias=False, weight_quant=weight_quant, **options)
            self.norm = nn.BatchNorm2d(8)
            self.act = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)
            self.second = qnn.QuantConv2d(8, 8, 3, groups=groups, padding=1, bias=True, weight_quant=weight_quant, **options)
            self.last = qnn.QuantLinear(8, 8, bias=True, weight_quant=weight_quant, **options)

        def forward(self, x):
            x = self.act(self.norm(self.first(x)))
            return self.last((x + self.second(x)).mean((2, 3)))

    net = Net()
    net(images()), net(images(seed=1))
    return net.eval()


def codes_read(net):
    return {layer.name: net.codes(layer.name).read_back for layer in net.placement.layers}


def output_error(net, healthy, x):
    with torch.no_grad():
        wanted, outputs = healthy.model(x), net.model(x)
    return float((outputs - wanted).norm() / (wanted - wanted.mean(0)).norm())


def scales(model):
    return {n: m.quant_weight().scale.clone() for n, m in model.named_modules() if hasattr(m, "weight_quant")}


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_outputs_come_closer_and_every_code_can_be_read_back(groups):
    net = a_net(network(groups=groups))
    healthy, before = copy.deepcopy(net), scales(net.model)
    chip = a_chip(net.placement)
    net.set_faults_(chip)
    nearest = output_error(net, healthy, images(seed=7))
    report = net.compensate_([images(), images(seed=3)], progress=False)
    assert output_error(net, healthy, images(seed=7)) < 0.7 * nearest
    assert report.error < report.nearest_error
    assert {layer.layer for layer in report.layers} == {layer.name for layer in net.placement.layers}
    assert report.images == 128
    assert net.fault_map is chip
    assert all(torch.equal(scale, before[name]) for name, scale in scales(net.model).items())
    # Written to the chip, the image is read back as the network computes: by the certificate, and bit by bit.
    image = net.memory_image()
    assert net.certificate(chip).bit_exact
    for layer in net.placement.layers:
        codes = image.codes[layer.name].reshape(-1)
        for weight in range(0, layer.size, 7):
            bits = {
                bit: int(chip.stuck_at[at[0]])
                for bit in range(layer.bit_width)
                if len(at := np.flatnonzero(chip.cells == net.placement.cell(layer.name, weight, bit=bit)))
            }
            assert oracle.read_back(int(codes[weight]), bits, layer.bit_width, layer.encoding) == codes[weight]


def test_without_wrong_codes_nothing_changes():
    net = a_net(network())
    before = copy.deepcopy(net.model.state_dict())
    image = net.memory_image()
    cells = np.array([3, 40, 77])
    words, width = image.words(), net.placement.memory.word_bits
    lucky = tm.FaultMap(net.placement.memory, cells, [words[c // width] >> c % width & 1 for c in cells.tolist()])
    report = net.compensate_([images()], fault_map=lucky, progress=False)
    assert report.error == 0
    assert all(torch.equal(value, before[key]) for key, value in net.model.state_dict().items())


def test_a_factor_and_a_sign_are_taken_up_by_the_batchnorm():
    net = a_net(network())
    healthy = copy.deepcopy(net)
    chip = a_chip(net.placement, rate=0.3)
    report = net.compensate_([images(128)], fault_map=chip, progress=False)
    first = report.layers[0]
    assert first.layer == "first"
    assert first.flipped > 0
    turned = torch.sign(net.model.norm.weight) != torch.sign(healthy.model.norm.weight)
    assert int(turned.sum()) == first.flipped
    plain = copy.deepcopy(healthy)
    without = plain.compensate_([images(128)], fault_map=chip, factors=False, signs=False, progress=False)
    assert without.layers[0].flipped == 0
    assert torch.equal(plain.model.norm.weight, healthy.model.norm.weight)
    assert first.compensated <= without.layers[0].compensated
    # Where no BatchNorm follows there is nothing to take up a sign, and the bias follows.
    assert report.layers[1].flipped == 0
    assert not torch.equal(net.model.second.bias, healthy.model.second.bias)


def test_more_sweeps_never_raise_the_error_of_a_channel_that_a_batchnorm_follows():
    errors = []
    for sweeps in (1, 2, 4):
        net = a_net(network())
        report = net.compensate_([images(128)], fault_map=a_chip(net.placement, rate=0.2), sweeps=sweeps, progress=False)
        errors.append(report.layers[0].compensated)
    assert errors[0] > errors[1] >= errors[2] - 1e-9


def test_a_layer_that_is_solved_part_by_part_is_the_same(monkeypatch):
    states = []
    for numbers in (1 << 23, 14 * 72 * 3):
        monkeypatch.setattr(of_a_layer, "MAX_NUMBERS", numbers)
        net = a_net(tm.make_faulty(network(FullRangeWeight)))
        chips = tm.random_fault_maps(net.placement.memory, chips=6, fault_rate=0.05, seed=0)
        net.compensate_([images(120)], fault_map=tm.merge(chips, on_conflict="free"), progress=False)
        states.append(net.memory_image().codes)
    for name, codes in states[0].items():
        assert np.array_equal(codes, states[1][name])


@pytest.mark.parametrize("shared", [False, True])
def test_stuck_weights_of_a_channel_whose_codes_are_all_zero_are_not_multiplied(shared):
    model = network()
    with torch.no_grad():
        model.first.weight[2] = 0
        model.norm.running_mean[2], model.norm.running_var[2] = 0, 0  # as training leaves such a channel
    net = a_net(model)

    def channel():
        outputs = []
        handle = model.norm.register_forward_hook(lambda module, args, output: outputs.append(output[:, 2]))
        with torch.no_grad():
            model(images(seed=7))
        handle.remove()
        return outputs[0]

    healthy, chip = channel(), a_chip(net.placement, rate=0.2)
    inputs = {"moments": net.moments([images(128)], progress=False)} if shared else {"batches": [images(128)]}
    net.compensate_(**inputs, fault_map=chip, progress=False)
    assert (net.codes("first").read_back[2] != 0).any()
    assert float((channel() - healthy).abs().max()) < 0.02


def test_a_small_step_of_training_changes_no_scale():
    net = a_net(tm.make_faulty(network(FullRangeWeight)).eval())
    net.compensate_([images(128)], fault_map=a_chip(net.placement, rate=0.2), progress=False)
    lowest = {layer.name for layer in net.placement.layers if (net.codes(layer.name).wanted == -128).any()}
    assert "first" in lowest  # whose float could be -128 codes, where the scale of twice the size begins
    before = scales(net.model)
    with torch.no_grad():
        for name in lowest:
            weight = net.model.get_submodule(name).weight
            weight += 0.4 * before[name] * weight.sign()
    assert all(torch.equal(scale, before[name]) for name, scale in scales(net.model).items())


def test_what_a_bias_takes_up_costs_nothing():
    torch.manual_seed(0)
    layer = tm.make_faulty(qnn.QuantLinear(16, 8, bias=True, weight_quant=FullRangeWeight))
    net = a_net(layer.eval())
    healthy, x = copy.deepcopy(net), torch.rand(256, 16) + 2
    net.compensate_([x], fault_map=a_chip(net.placement, rate=0.1), progress=False)
    with torch.no_grad():
        wrong = net.model(x) - healthy.model(x)
    assert float(wrong.mean(0).abs().max()) < 1e-3
    frozen = copy.deepcopy(healthy)
    frozen.model.bias = None
    without = frozen.compensate_([x], fault_map=a_chip(frozen.placement, rate=0.1), progress=False)
    assert not without.layers[0].reason
    with torch.no_grad():
        other = frozen.model(x) - (healthy.model(x) - healthy.model.bias)
    assert float(wrong.var(0).sum()) < float(other.var(0).sum())


def test_outputs_that_are_quantized_take_no_factor():
    torch.manual_seed(0)
    conv = qnn.QuantConv2d(3, 8, 3, bias=False, weight_quant=QUANT, output_quant=Int8ActPerTensorFixedPoint)
    model = nn.Sequential(conv, nn.BatchNorm2d(8))
    model(images()), model(images(seed=1))
    net = a_net(model.eval())
    before = model[1].weight.clone()
    report = net.compensate_([images()], fault_map=a_chip(net.placement, rate=0.3), progress=False)
    assert report.layers[0].flipped == 0
    assert torch.equal(model[1].weight, before)
    assert report.error < report.nearest_error


NAMES = [
    "FaultyInt8WeightPerTensorFixedPoint",
    "FaultyInt8WeightPerTensorFloat",
    "FaultyInt8WeightPerChannelFloat",
    "FaultyShiftedUint8WeightPerTensorFloat",
    "FaultyShiftedUint8WeightPerChannelFloat",
    "FaultyMXInt8Weight",
]


@given(st.data())
@settings(max_examples=12)
def test_any_quantizer_and_map(data):
    name = data.draw(st.sampled_from(NAMES), label="quantizer")
    store = data.draw(st.sampled_from(["nearest", "plain"]), label="store")
    rate = data.draw(st.sampled_from([0.02, 0.1, 0.3]), label="rate")
    bits = data.draw(st.sampled_from([8, 5])) if "MX" not in name else 8
    quantizer = getattr(tq, name).let(bit_width=bits)
    encoding = "twos_complement" if "Shifted" in name else data.draw(st.sampled_from(["twos_complement", "offset_binary"]))
    model = network(quantizer, **options_of(name))
    net = a_net(model, encoding=encoding, rule=tm.Rule(store))
    healthy, before = copy.deepcopy(net), scales(model)
    chip = a_chip(net.placement, rate=rate, seed=data.draw(st.integers(0, 50), label="seed"))
    report = net.compensate_([images()], fault_map=chip, progress=False)
    assert all(torch.equal(scale, before[key]) for key, scale in scales(net.model).items())
    assert net.certificate(chip).bit_exact
    for layer in report.layers:
        assert layer.reason or layer.compensated <= layer.nearest + 1e-9, layer
    assert not any(layer.reason for layer in report.layers)
    assert bool(torch.isfinite(net.model(images(8))).all())
    healthy.set_faults_(chip)
    healthy_codes = codes_read(healthy)
    assert any(not np.array_equal(codes, healthy_codes[key]) for key, codes in codes_read(net).items())


def test_a_quantizer_whose_scale_would_move_keeps_nearest_codes_and_says_so():
    net = a_net(network(tq.FaultyInt8WeightNormL2PerChannelFixedPoint))
    before = copy.deepcopy(net.model.state_dict())
    chip = a_chip(net.placement)
    report = net.compensate_([images()], fault_map=chip, progress=False)
    assert any("would change the scale" in layer.reason for layer in report.layers)
    kept = [layer.layer for layer in report.layers if layer.reason]
    for name in kept:
        assert torch.equal(net.model.get_submodule(name).weight, before[f"{name}.weight"])


def test_layers_that_cannot_be_weighed_are_named():
    torch.manual_seed(0)

    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = qnn.QuantEmbedding(20, 8, weight_quant=QUANT)
            self.unused = qnn.QuantLinear(8, 8, bias=False, weight_quant=QUANT)
            self.head = qnn.QuantLinear(8, 4, bias=True, weight_quant=QUANT)

        def forward(self, x):
            return self.head(self.embedding(x).mean(1))

    net = a_net(Text())
    words = torch.randint(20, (32, 5), generator=torch.Generator().manual_seed(0))
    report = net.compensate_([words], fault_map=a_chip(net.placement), progress=False)
    reasons = {layer.layer: layer.reason for layer in report.layers}
    assert "QuantEmbedding" in reasons["embedding"]
    assert "not run" in reasons["unused"]
    assert reasons["head"] == ""


def test_wide_codes_and_quantized_inputs():
    torch.manual_seed(0)
    model = nn.Sequential(
        qnn.QuantLinear(16, 12, bias=True, weight_quant=QUANT.let(bit_width=12), input_quant=Int8ActPerTensorFixedPoint),
        nn.ReLU(),
        qnn.QuantLinear(12, 4, bias=True, weight_quant=QUANT.let(bit_width=12)),
    )
    x = torch.randn(256, 16)
    model(x)
    net = a_net(model.eval())
    chip = a_chip(net.placement, rate=0.1)
    report = net.compensate_([x], fault_map=chip, progress=False)
    assert report.error < report.nearest_error
    assert net.certificate(chip).bit_exact


def test_a_group_reads_one_image_with_less_error_in_the_mean():
    net = a_net(tm.make_faulty(network(FullRangeWeight)))
    healthy = copy.deepcopy(net)
    chips = tm.random_fault_maps(net.placement.memory, chips=6, fault_rate=0.05, seed=0)
    merged = tm.merge(chips, on_conflict="free")
    assert len(merged.conflicts)

    def mean_error(placed):
        image, total = placed.memory_image(), 0.0
        for chip in chips:
            with placed.using_codes(tm.placement.certificate(image, chip).read()):
                total += output_error(placed, healthy, images(seed=9))
        return total / len(chips)

    blind = copy.deepcopy(net)
    # The same union as a map without members: conflicts are then not known.
    blind.compensate_([images(120)], fault_map=tm.FaultMap(merged.memory, merged.cells, merged.stuck_at), progress=False)
    net.compensate_([images(120)], fault_map=merged, progress=False)
    net.set_faults_(merged)
    assert mean_error(net) < mean_error(blind)


def test_the_same_inputs_give_the_same_codes():
    codes = []
    for _ in range(2):
        net = a_net(network())
        net.compensate_([images()], fault_map=a_chip(net.placement), progress=False)
        codes.append(net.model.state_dict())
    assert all(torch.equal(codes[0][key], codes[1][key]) for key in codes[0])


def test_the_healthy_network_comes_back_from_its_state():
    net = a_net(network())
    with torch.no_grad():
        wanted = net.model(images(seed=7))
    healthy, codes = copy.deepcopy(net.model.state_dict()), net.memory_image().codes
    net.compensate_([images()], fault_map=a_chip(net.placement, rate=0.2), progress=False)
    with torch.no_grad():
        assert not torch.equal(net.model(images(seed=7)), wanted)
    net.clear_faults_()
    net.model.load_state_dict(healthy)
    with torch.no_grad():
        assert torch.equal(net.model(images(seed=7)), wanted)
    assert all(np.array_equal(net.memory_image().codes[name], before) for name, before in codes.items())
    # The next chip begins with the healthy network, as if there had been none before it.
    chip, twin = a_chip(net.placement, seed=4), a_net(network())
    for one in (net, twin):
        one.compensate_([images()], fault_map=chip, progress=False)
    assert all(torch.equal(value, twin.model.state_dict()[key]) for key, value in net.model.state_dict().items())


def test_retraining_evaluation_and_export_go_on_from_there(tmp_path):
    torch.manual_seed(0)
    model = tm.make_faulty(DigitsNet())
    x = images(64, shape=(1, 8, 8))
    for _ in range(3):
        model(x)
    net = a_net(model.eval())
    chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=0.02, seed=0)
    merged = tm.merge(chips, on_conflict="majority")
    net.compensate_([(x, torch.zeros(64))], fault_map=merged, progress=False)
    bundle = net.export(tmp_path / "group", x[:4], dynamo=False)
    assert tm.verify_bundle(bundle, chips).ok
    codes = codes_read(net)
    strategy = tm.AllAtOnce(net, merged)
    assert all(np.array_equal(codes[name], read) for name, read in codes_read(net).items())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    strategy.step()
    assert net.certificate(merged).bit_exact


class TestErrorsLeaveTheModelAsItWas:
    @pytest.fixture
    def net(self):
        net = a_net(network())
        net.set_faults_(a_chip(net.placement, seed=5))
        return net

    def check(self, net, error, match, *args, **options):
        before, live = copy.deepcopy(net.model.state_dict()), net.fault_map
        with pytest.raises(error, match=match):
            net.compensate_(*args, progress=False, **options)
        assert all(torch.equal(value, before[key]) for key, value in net.model.state_dict().items())
        assert net.fault_map is live
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in net.model.modules())

    def test_no_inputs(self, net):
        self.check(net, ValueError, "no inputs", [])

    def test_inputs_that_are_not_finite(self, net):
        x = images()
        x[3, 0, 0, 0] = float("nan")
        self.check(net, ValueError, "layer 'first': its inputs are not all finite", [x])

    @pytest.mark.parametrize("shared", [False, True])
    def test_an_interruption_when_the_first_layers_are_done(self, net, shared):
        first, done = net.model.first.weight.clone(), []
        options = {"moments": net.moments([images()], progress=False)} if shared else {}
        solve = of_a_layer.LayerProblem.solve

        def interrupted(*args, **options):
            done.append(torch.equal(net.model.first.weight, first))
            if len(done) == 3:
                raise KeyboardInterrupt("by the user")
            return solve(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(of_a_layer.LayerProblem, "solve", interrupted)
            self.check(net, KeyboardInterrupt, "by the user", *([] if shared else [[images()]]), **options)
        assert done == [True, False, False]  # the model had been changed when the error came

    def test_inputs_of_another_shape(self, net):
        self.check(net, RuntimeError, "channels", [images(shape=(2, 8, 8))])

    def test_a_list_of_maps(self, net):
        self.check(net, TypeError, "fault_map must be one FaultMap", [images()], fault_map=[net.fault_map])

    def test_a_map_of_another_memory(self, net):
        other = tm.FaultMap(tm.Memory(words=3, word_bits=8), [0], [1])
        self.check(net, ValueError, "memory", [images()], fault_map=other)

    def test_no_sweeps(self, net):
        self.check(net, ValueError, "sweeps must be at least 1, got 0", [images()], sweeps=0)

    def test_no_map_at_all(self, net):
        net.clear_faults_()
        self.check(net, ValueError, "no fault map is live", [images()])


def test_one_image_and_dead_inputs_do_no_harm():
    net = a_net(network())
    x = images(1)
    x[:, 1] = 0
    net.compensate_([x], fault_map=a_chip(net.placement), progress=False)
    assert bool(torch.isfinite(net.model(images(8))).all())
