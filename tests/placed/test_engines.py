"""Chips measured in other processes, and a fleet whose evaluation was stopped."""

import functools
import os
import pickle
from pathlib import Path

import pytest
import torch
from placed.elsewhere import X, accuracy, make

import tremap_brevitas as tm
from tremap_brevitas.cluster import JobError, RayEngine
from tremap_brevitas.placed.elsewhere import _networks
from tremap_brevitas.placed.evaluator import Evaluator


@pytest.fixture(scope="module")
def fleet():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a job of one core: sums in the same order
    model = make()
    for _ in range(3):
        model(X)
    model.eval()
    net = tm.place(model, tm.Memory(words=2500, word_bits=32))
    chips = tm.random_fault_maps(net.placement.memory, chips=5, fault_rate=0.02, seed=0)
    net.set_faults_(tm.merge(chips, on_conflict="majority"))
    exact = tm.FaultMap(net.placement.memory, [], [], "healthy")
    yield net, [*chips, exact]
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_the_same_report_from_a_cluster_bit_for_bit(fleet, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray (extra cluster) is not installed")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root / "tests"), str(root / "examples")]))
    net, chips = fleet
    here = net.evaluate(chips, accuracy, progress=False)
    noting = functools.partial(accuracy, noted=str(tmp_path))
    there = net.evaluate(chips, noting, progress=False, engine=RayEngine(), make=make)
    assert there.chips == here.chips
    assert there.nominal == here.nominal
    assert len({c.accuracy for c in here.chips}) == 6
    where = [int(p.name.partition("-")[0]) for p in tmp_path.iterdir()]
    assert len(where) == 6  # the network itself here, five chips there, the exact one nowhere
    assert where.count(os.getpid()) == 1


def test_an_evaluation_that_was_stopped_goes_on(fleet, tmp_path):
    net, chips = fleet
    calls = []

    def fragile(model):
        calls.append(1)
        if len(calls) == 4:
            raise MemoryError("no more")
        return accuracy(model)

    kept = {"progress": False, "folder": tmp_path / "run", "evaluation": "64 random images"}
    with pytest.raises(JobError, match="job '2: chip-2 .*MemoryError: no more"):
        net.evaluate(chips, fragile, **kept)
    report = net.evaluate(chips, fragile, **kept)
    assert len(calls) == 4 + 1 + 3
    assert report.chips == net.evaluate(chips, accuracy, progress=False).chips
    with pytest.raises(ValueError, match="holds a run with deployment='group_image', but here it is 'chip_image'"):
        net.evaluate(chips, accuracy, **kept, deployment="chip_image")


@pytest.mark.parametrize("changed", ["bias", "batchnorm", "activation scale", "option"])
def test_figures_of_another_network_are_not_taken(fleet, tmp_path, changed):
    """Equal codes and equal nominal accuracy do not make it the same network."""
    net, chips = fleet
    network = make()
    network.load_state_dict(net.model.state_dict())
    network.eval()
    other = tm.PlacedModel(network, net.placement)
    kept = {"progress": False, "folder": tmp_path / "run", "evaluation": "nothing"}
    other.evaluate(chips, lambda m: 0.5, **kept)
    code = other.memory_image().digest
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    with torch.no_grad():
        if changed == "bias":
            network.classifier.bias += 1
        elif changed == "batchnorm":
            norm.running_mean += 0.5
        elif changed == "activation scale":
            next(p for n, p in network.named_parameters() if "act_quant" in n and "scaling" in n).mul_(2)
        else:
            norm.eps *= 2
    assert other.memory_image().digest == code
    with pytest.raises(ValueError, match="holds a run with network='[0-9a-f]{64}', but here it is '[0-9a-f]{64}'"):
        other.evaluate(chips, lambda m: 0.5, **kept)


def test_what_cannot_be_seen_must_be_said(fleet, tmp_path):
    """Another test set on which the network happens to be as good."""
    net, chips = fleet
    kept = {"progress": False, "folder": tmp_path / "run"}
    with pytest.raises(ValueError, match="a run folder .*run.* keeps figures for later runs: give evaluation"):
        net.evaluate(chips, lambda m: 0.5, **kept)
    assert not (tmp_path / "run").exists()
    net.evaluate(chips, lambda m: 0.5, **kept, evaluation="test set")
    with pytest.raises(ValueError, match="holds a run with evaluation='test set', but here it is 'validation set'"):
        net.evaluate(chips, lambda m: 0.5, **kept, evaluation="validation set")


def test_an_engine_needs_to_know_how_to_build_the_network(fleet):
    net, chips = fleet
    with pytest.raises(ValueError, match="give make"):
        net.evaluate(chips, accuracy, engine=RayEngine())


def test_copies_of_an_evaluator_share_a_network_and_other_evaluators_do_not(fleet):
    """As a worker sees them: unpickled anew for every chip."""
    net, chips = fleet
    image = net.memory_image()
    differences = tm.placement.certificate(image, chips[0]).differences
    built = []
    evaluators = []
    for bias in (0.0, 5.0):
        network = make()
        network.load_state_dict(net.model.state_dict())
        with torch.no_grad():
            network.classifier.bias.fill_(bias).mul_(torch.arange(10))
        evaluators.append(pickle.dumps(Evaluator(tm.PlacedModel(network, net.placement), image, accuracy, make=make)))
    for evaluator in (evaluators[0], evaluators[0], evaluators[1], evaluators[0]):
        copy = pickle.loads(evaluator)
        built.append(copy(differences))
        assert len(_networks) == 1
    assert built[0] == built[1] == built[3] != built[2]
