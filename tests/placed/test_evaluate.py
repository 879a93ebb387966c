"""A fleet is measured as it will run, and a chip that is exact is not run at all."""

import itertools

import numpy as np
import pytest
import torch
from helpers import expected_codes
from networks import DigitsNet

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.placed.slots import weight_slots

MEMORY = tm.Memory(words=2500, word_bits=32)


@pytest.fixture
def fleet():
    model = DigitsNet(weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint).eval()
    net = tm.place(model, MEMORY)
    chips = tm.random_fault_maps(MEMORY, chips=3, fault_rate=0.02, seed=0)
    return net, chips


class Recorder:
    """Measures nothing, but notes the codes with which the model was run."""

    def __init__(self):
        self.seen = []

    def __call__(self, model):
        with torch.no_grad():
            assert model(torch.zeros(1, 1, 8, 8)).isfinite().all()
        codes = {}
        for entry in weight_slots(model):
            value = entry.module.quant_weight()
            codes[entry.name] = torch.round(value.value / value.scale).int().detach().numpy()
        self.seen.append(codes)
        return float(sum(np.abs(c).sum() for c in codes.values()))


@pytest.mark.parametrize("deployment", ["group_image", "chip_image"])
def test_chips_run_with_their_own_codes(fleet, deployment):
    net, chips = fleet
    merged = tm.merge(chips, on_conflict="majority")
    net.set_faults_(merged)
    trained = net.memory_image().codes
    accuracy = Recorder()
    report = net.evaluate(chips, accuracy, deployment=deployment, progress=False)
    assert len(accuracy.seen) == 1 + sum(not c.bit_exact for c in report.chips)
    runs = iter(accuracy.seen[1:])
    for chip, result in zip(chips, report.chips, strict=True):
        expected = expected_codes(trained, net.placement, chip, "plain" if deployment == "group_image" else "nearest")
        if result.bit_exact:
            assert all(np.array_equal(expected[n], trained[n]) for n in expected)
            assert result.accuracy == report.nominal
            continue
        run = next(runs)
        assert all(np.array_equal(run[name], expected[name]) for name in expected)
        assert result.weights_that_differ == sum(int((expected[n] != trained[n]).sum()) for n in expected)
    # Afterwards the model is as it was.
    assert all(np.array_equal(net.memory_image().codes[n], trained[n]) for n in trained)


def test_exact_chips_are_not_run(fleet):
    net, chips = fleet
    net.set_faults_(chips[0])
    accuracy = Recorder()
    twin = tm.FaultMap(MEMORY, chips[0].cells, chips[0].stuck_at, "twin")
    report = net.evaluate([chips[0], twin], accuracy, progress=False)
    assert len(accuracy.seen) == 1
    assert [c.bit_exact for c in report.chips] == [True, True]


def test_with_no_faults_set_the_untreated_chips_are_measured(fleet):
    net, chips = fleet
    wanted = net.memory_image().codes
    accuracy = Recorder()
    net.evaluate(chips[:1], accuracy, progress=False)
    expected = expected_codes(wanted, net.placement, chips[0], "plain")
    assert all(np.array_equal(accuracy.seen[1][n], expected[n]) for n in expected)


def test_bad_fleets(fleet):
    net, chips = fleet
    with pytest.raises(ValueError, match="empty group"):
        net.evaluate([], Recorder())
    other = tm.FaultMap(tm.Memory(1, 8), [0], [0], "other")
    with pytest.raises(ValueError, match="fault maps of different memories"):
        net.evaluate([chips[0], other], Recorder())


def test_the_mode_of_the_model_is_as_before(fleet):
    net, chips = fleet
    net.model.train()
    net.evaluate(chips[:1], lambda m: float(m.eval().training), progress=False)
    assert all(m.training for m in net.model.modules())


@pytest.mark.parametrize("run", [0, 1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_an_interrupt_leaves_the_model_as_it_was(fleet, run, training):
    """Ctrl-C in the nominal run (0) or in that of a chip: mode, live map and codes are those of before."""
    net, chips = fleet
    net.set_faults_(chips[0], rule=tm.Rule("plain"))
    net.model.train(training)
    net.model.pool.train(not training)  # a user may have frozen a part
    modes = {name: module.training for name, module in net.model.named_modules()}
    before = net.memory_image().digest
    read_back = {layer.name: net.codes(layer.name).read_back for layer in net.placement.layers}
    runs = itertools.count()

    def interrupted(model):
        model.eval()
        if next(runs) == run:
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(KeyboardInterrupt):
        net.evaluate(chips, interrupted, progress=False)
    assert next(runs) == run + 1
    assert {name: module.training for name, module in net.model.named_modules()} == modes
    assert net.fault_map == chips[0]
    assert net.rule == tm.Rule("plain")
    assert net.memory_image().digest == before
    assert all(np.array_equal(net.codes(name).read_back, codes) for name, codes in read_back.items())
