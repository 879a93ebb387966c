"""Moments of the healthy network, shared by the chips of a fleet."""

import copy
import pickle

import numpy as np
import pytest
import torch
from helpers import a_chip, a_net
from networks import DigitsNet

import tremap_brevitas as tm
from tremap_brevitas.cluster import JobError, LocalCores
from tremap_brevitas.prepare import prepare_fleet
from tremap_brevitas.prepare.compensation.from_moments import outputs_of


def images(count=256, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def make():
    torch.manual_seed(0)
    model = tm.make_faulty(DigitsNet())
    model.train()
    model(images()), model(images(seed=1))
    return model.eval()


@pytest.fixture(scope="module")
def net():
    return a_net(make())


def mean_output(model):
    return float(model(images(32, 9)).detach().mean())


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


@pytest.mark.slow
def test_a_fleet_survives_in_its_folder(net, tmp_path):
    chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=0.1, seed=0)
    moments = net.moments([images()], progress=False)
    options = {"evaluate": mean_output, "evaluation": "mean", "progress": False}
    here = prepare_fleet(net, chips, moments, folder=tmp_path, **options)
    again = prepare_fleet(net, chips, moments, folder=tmp_path, **options)
    for index in range(3):
        first = here.chips[index]
        for other in (again.chips[index],):
            assert all(np.array_equal(first.codes[k], v) for k, v in other.codes.items())
            assert all(np.array_equal(first.state[k], v) for k, v in other.state.items())
            assert first.accuracy == other.accuracy
        twin = copy.deepcopy(net)
        here.apply_(twin, index)
        assert mean_output(twin.model) == first.accuracy
        with pytest.raises(ValueError, match="digest"):
            here.apply_(twin, index)
    with pytest.raises(ValueError, match="sweeps=1"):
        prepare_fleet(net, chips, moments, folder=tmp_path, sweeps=2, **options)


@pytest.mark.slow
@pytest.mark.xfail(strict=True, raises=JobError, reason="the network that make builds in the process has another digest")
def test_a_fleet_is_the_same_on_local_cores(net):
    chips = tm.random_fault_maps(net.placement.memory, chips=2, fault_rate=0.1, seed=0)
    moments = net.moments([images()], progress=False)
    here = prepare_fleet(net, chips, moments, progress=False)
    there = prepare_fleet(net, chips, moments, engine=LocalCores(2), make=make, progress=False)
    for one, other in zip(here.chips, there.chips, strict=True):
        assert all(np.array_equal(one.state[k], v) for k, v in other.state.items())


def fails(job):
    raise ValueError(f"no {job}")


@pytest.mark.slow
def test_cores_say_which_job_failed():
    assert dict(LocalCores(2).run(abs, {"a": -1, "b": 2})) == {"a": 1, "b": 2}
    with pytest.raises(JobError, match="job 'c' failed: ValueError: no 3"):
        list(LocalCores(1).run(fails, {"c": 3}))
    with pytest.raises(ValueError, match="workers"):
        LocalCores(0)
