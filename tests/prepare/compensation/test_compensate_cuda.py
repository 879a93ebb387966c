"""Compensation of a network on a GPU."""

import copy

import pytest
import torch
from prepare.compensation.fleet_jobs import a_healthy_net, chips_of, images

import tremap_brevitas as tm

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def test_one_chip_shared_moments_and_a_group():
    net = a_healthy_net()
    net.model.cuda()
    batches = images().cuda().split(64)
    moments = net.moments(batches, progress=False)
    chips = chips_of(net, 3)
    group = tm.merge(chips, on_conflict="free")
    assert len(group.conflicts)
    for given, fault_map in (({"batches": batches}, chips[0]), ({"moments": moments}, chips[0]), ({"batches": batches}, group)):
        twin = copy.deepcopy(net)
        report = twin.compensate_(fault_map=fault_map, progress=False, **given)
        assert report.error < report.nearest_error
        assert {p.device.type for p in twin.model.parameters()} == {"cuda"}
        assert twin.certificate(fault_map).bit_exact
