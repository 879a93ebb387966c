"""A fleet for the tests, which other processes import; a script, so that it can be killed: python fleet_jobs.py FOLDER."""

import sys

import torch
from helpers import a_net
from networks import DigitsNet

import tremap_brevitas as tm
from tremap_brevitas.prepare import prepare_fleet

CHIPS = 12
OPTIONS = {"evaluation": "mean", "progress": False}


def images(count=256, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def make():
    return tm.make_faulty(DigitsNet())


def a_healthy_net():
    torch.manual_seed(0)
    model = make()
    model.train()
    model(images()), model(images(seed=1))
    return a_net(model.eval())


@torch.no_grad()
def mean_output(model):
    assert not model.training
    return float(model(images(32, 9)).mean())


def chips_of(net, count):
    return tm.random_fault_maps(net.placement.memory, chips=count, fault_rate=0.1, seed=0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    net = a_healthy_net()
    moments = net.moments([images()], progress=False)
    prepare_fleet(net, chips_of(net, CHIPS), moments, evaluate=mean_output, folder=sys.argv[1], **OPTIONS)
