"""Moments of the healthy network, shared by the chips of a fleet."""

import copy
import os
import pickle
import random
import signal
import time
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from helpers import a_chip
from prepare.compensation.fleet_jobs import CHIPS, OPTIONS, a_healthy_net, chips_of, images, make, mean_output

import tremap_brevitas as tm
from tremap_brevitas.cluster import LocalCores, RayEngine
from tremap_brevitas.placed.identity import network_digest
from tremap_brevitas.prepare import prepare_fleet
from tremap_brevitas.prepare.compensation.from_moments import outputs_of
from tremap_brevitas.prepare.compensation.shared import HealthyInputs

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def net():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a job of one core: sums in the same order
    yield a_healthy_net()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def moments(net):
    return net.moments([images()], progress=False)


def same_fleet(one, other):
    assert one.network == other.network
    for first, second in zip(one.chips, other.chips, strict=True):
        for kind in ("codes", "state"):
            ours, theirs = getattr(first, kind), getattr(second, kind)
            assert list(ours) == list(theirs)
            assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
        assert first.report.layers == second.report.layers
        assert first.accuracy == second.accuracy


def test_mean_and_variance_follow_from_the_moments():
    rng = np.random.default_rng(0)
    rows, weights = rng.normal(1, 2, (500, 6)), rng.normal(size=(4, 6))
    second, mean = torch.tensor(rows.T @ rows / 500)[None], torch.tensor(rows.mean(0))[None]
    means, variances = outputs_of(torch.tensor(weights)[None], second, mean)
    assert np.allclose(means, (rows @ weights.T).mean(0))
    assert np.allclose(variances, (rows @ weights.T).var(0))


def test_outputs_come_closer_and_the_network_of_the_moments_is_left_alone(net):
    before = copy.deepcopy(net.model.state_dict())
    moments = net.moments(images().split(64), progress=False)
    assert all(torch.equal(value, before[key]) for key, value in net.model.state_dict().items())
    assert pickle.loads(pickle.dumps(moments)) == moments
    twin, chip, x = copy.deepcopy(net), a_chip(net.placement), images(seed=5)
    with torch.no_grad():
        wanted = net.model(x)
        twin.set_faults_(chip)
        nearest = (twin.model(x) - wanted).norm()
        report = twin.compensate_(moments=moments, progress=False)
        assert (twin.model(x) - wanted).norm() < nearest
    assert report.error < report.nearest_error
    assert twin.certificate(chip).bit_exact
    with pytest.raises(ValueError, match="another network"):
        twin.compensate_(moments=moments, progress=False)
    for arguments in ({}, {"batches": [x], "moments": moments}):
        with pytest.raises(ValueError, match="either batches or moments"):
            twin.compensate_(fault_map=chip, **arguments)


@pytest.mark.parametrize(
    ("batches", "options", "message"),
    [
        ([], {}, "no inputs were given"),
        ([images()[:0]], {}, "no inputs were given"),
        ([images()], {"samples": 0}, "samples must be at least 1, got 0"),
        ([torch.full_like(images(), float("nan"))], {}, "layer '.*': its inputs are not all finite"),
        ([torch.full_like(images(), float("inf"))], {}, "layer '.*': its inputs are not all finite"),
    ],
)
def test_inputs_that_say_nothing_give_no_moments(net, batches, options, message):
    before = copy.deepcopy(net.model.state_dict())
    with pytest.raises(ValueError, match=message):
        net.moments(batches, progress=False, **options)
    assert all(torch.equal(value, before[key]) for key, value in net.model.state_dict().items())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in net.model.modules())


def test_inputs_of_one_kind_alone_do_no_harm(net):
    x = images()[:1].repeat(16, *[1] * (images().dim() - 1))  # of rank one; without a mean there is nothing
    twin = copy.deepcopy(net)
    report = twin.compensate_(moments=twin.moments([x], progress=False), fault_map=a_chip(net.placement), progress=False)
    assert all(0 <= layer.compensated <= layer.nearest + 1e-9 for layer in report.layers)
    assert bool(torch.isfinite(twin.model(images())).all())


@pytest.mark.slow
def test_each_chip_gets_its_own_network_and_the_fleet_a_report(net, moments, tmp_path):
    chips = chips_of(net, 3)
    before = copy.deepcopy(net.model.state_dict())
    options = {"evaluate": mean_output, "folder": tmp_path, **OPTIONS}
    fleet = prepare_fleet(net, chips, moments, **options)
    assert all(torch.equal(value, before[key]) for key, value in net.model.state_dict().items())
    assert net.fault_map is None
    assert fleet.report.nominal == mean_output(net.model)
    assert fleet.report.accuracies == tuple(chip.accuracy for chip in fleet.chips)
    assert [result.chip for result in fleet.report.chips] == [chip.chip for chip in chips]
    for index, fault_map in enumerate(chips):
        twin, alone = copy.deepcopy(net), copy.deepcopy(net)
        fleet.apply_(twin, index if index else fault_map.chip)
        alone.compensate_(moments=moments, fault_map=fault_map, progress=False)
        for key, value in alone.model.state_dict().items():
            assert torch.equal(value, twin.model.state_dict()[key])
        assert mean_output(twin.model) == fleet.chips[index].accuracy
        image = twin.memory_image().codes
        assert all(np.array_equal(image[layer], codes) for layer, codes in fleet.chip(fault_map.chip).codes.items())
        assert twin.certificate(fault_map).bit_exact
        assert fleet.report.chips[index].bit_exact
        with pytest.raises(ValueError, match="digest"):
            fleet.apply_(twin, index)
    with pytest.raises(KeyError, match="0 of 3 chips are called 'Z'"):
        fleet.chip("Z")
    with pytest.raises(IndexError):
        fleet.chip(3)
    with pytest.raises(ValueError, match="sweeps=2"):
        prepare_fleet(net, chips, moments, sweeps=3, **options)
    assert prepare_fleet(net, chips, moments, progress=False).report is None


def test_a_fleet_without_what_it_needs(net, moments, tmp_path):
    chips = chips_of(net, 1)
    for options, message in (
        ({"engine": LocalCores(1)}, "give make"),
        ({"folder": tmp_path, "evaluate": mean_output}, "give evaluation"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare_fleet(net, chips, moments, progress=False, **options)
    with pytest.raises(ValueError, match="moments belong to a network with digest dd"):
        prepare_fleet(net, chips, tm.prepare.HealthyMoments(moments.layers, 1, "d" * 64), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_moments_of_nothing_and_of_what_is_no_number(net, moments):
    with pytest.raises(ValueError, match="no inputs were given"):
        net.moments([], progress=False)
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        net.moments([images()], samples=0, progress=False)
    with pytest.raises(ValueError, match=r"layer 'features.0': its inputs are not all finite"):
        net.moments([images() * float("inf")], progress=False)
    layer = moments.layers["classifier"]
    with pytest.raises(ValueError, match=r"second has shape \(1, 96, 95\), but mean has \(1, 96\)"):
        HealthyInputs(layer.second[:, :, 1:], layer.mean)
    with pytest.raises(ValueError, match="moments are not all finite"):
        HealthyInputs(layer.second, layer.mean * np.nan)
    assert HealthyInputs(layer.second, layer.mean, layer.norm) == layer != HealthyInputs(layer.second, -layer.mean, layer.norm)


@pytest.mark.slow
def test_a_fleet_is_the_same_on_local_cores(net, moments):
    chips = chips_of(net, 2)
    here = prepare_fleet(net, chips, moments, evaluate=mean_output, progress=False)
    there = prepare_fleet(net, chips, moments, evaluate=mean_output, engine=LocalCores(2), make=make, progress=False)
    same_fleet(here, there)
    report = net.evaluate(chips, mean_output, engine=LocalCores(2), make=make, progress=False)
    assert report.chips == net.evaluate(chips, mean_output, progress=False).chips


@pytest.mark.slow
def test_a_fleet_is_the_same_on_a_cluster(net, moments, monkeypatch):
    pytest.importorskip("ray", reason="Ray (extra cluster) is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent / "examples"), str(TESTS.parent)]))
    chips = chips_of(net, 2)
    here = prepare_fleet(net, chips, moments, progress=False)
    same_fleet(here, prepare_fleet(net, chips, moments, engine=RayEngine(), make=make, progress=False))


@pytest.mark.slow
def test_a_fleet_that_is_killed_goes_on(net, moments, tmp_path, monkeypatch):
    undisturbed = prepare_fleet(net, chips_of(net, CHIPS), moments, evaluate=mean_output, **OPTIONS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent / "examples"), str(TESTS.parent)]))
    script = Path(__file__).with_name("fleet_jobs.py")
    rng = random.Random(0)
    done = tmp_path / "run" / "done"

    def finished():
        return len(list(done.glob("[!.]*.json"))) if done.exists() else 0

    kills = 0
    while finished() < CHIPS:
        enough = CHIPS if kills else rng.randint(finished() + 1, min(finished() + 4, CHIPS - 1))
        process = forked.start(script, tmp_path / "run", complained=str(tmp_path / "stderr"))
        while finished() < enough and process.is_alive():
            time.sleep(0.002)
        if not kills and process.is_alive():
            process.kill()
            kills += 1
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), (tmp_path / "stderr").read_text()
    assert kills == 1
    calls = []

    def counted(model):
        calls.append(1)
        return mean_output(model)

    again = prepare_fleet(net, chips_of(net, CHIPS), moments, evaluate=counted, folder=tmp_path / "run", **OPTIONS)
    same_fleet(undisturbed, again)
    assert len(calls) == 1  # the healthy network alone


def test_a_loaded_network_is_the_same_network(net):
    other = make()
    assert network_digest(other) != network_digest(net.model)
    other.load_state_dict(net.model.state_dict())
    assert network_digest(other) == network_digest(net.model)
    with torch.no_grad():
        assert torch.equal(other.eval()(images()), net.model(images()))
        scale = next(p for n, p in other.named_parameters() if n.endswith("scaling_impl.value"))
        scale += 1
    assert network_digest(other) != network_digest(net.model)
