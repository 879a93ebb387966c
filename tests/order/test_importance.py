"""What an error counts is what the planning says that it does to the outputs."""

import dataclasses

import numpy as np
import pytest
import torch
from brevitas.nn import QuantConv2d, QuantConvTranspose2d
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.moments import InputMoments
from tremap_brevitas.order import output_importance
from tremap_brevitas.planning import output_error
from tremap_brevitas.prepare.compensation.collect import input_moments


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        QuantConv2d(2, 6, 3, bias=False), nn.ReLU(), QuantConv2d(6, 4, 3, groups=2, bias=False), nn.ReLU(),
        QuantConvTranspose2d(4, 3, 2, bias=False),
    )  # fmt: skip
    net = tm.place(tm.make_faulty(model.eval()), tm.Memory(words=100, word_bits=32))
    return net, input_moments(net, [torch.randn(8, 2, 7, 7)])


def test_one_wrong_code_counts_as_the_error_of_the_output(network):
    net, moments = network
    image = net.memory_image()
    importance = output_importance(moments, image)
    assert set(importance) == {layer.name for layer in net.placement.layers} == {"0", "2", "4"}
    seen = 0
    for chip in tm.random_fault_maps(net.placement.memory, chips=60, fault_rate=1 / 3200, seed=0):
        proof = tm.placement.certificate(image, chip, deployment="chip_image")
        for difference in proof.differences:
            (weight,), (off,) = difference.weight, difference.read.astype(float) - difference.trained
            assert importance[difference.layer].reshape(-1)[weight] * off**2 == pytest.approx(output_error(proof, moments) ** 2)
            seen += 1
    assert seen > 15
    assert {len(np.unique(values)) > 1 for values in importance.values()} == {True}


def test_without_moments_an_error_counts_by_its_codes(network):
    net, moments = network
    image = net.memory_image()
    some = InputMoments({name: moments.layers[name] for name in ("0", "2")}, moments.image)
    values = output_importance(some, image)["4"]
    assert values == pytest.approx(np.full(values.shape, 1 / float((image.codes["4"].astype(float) ** 2).sum())))


def test_moments_of_another_network_are_refused(network):
    net, moments = network
    with pytest.raises(ValueError, match="belong to an image of digest 0"):
        output_importance(dataclasses.replace(moments, image="0"), net.memory_image())


def test_an_order_with_importance_hurts_the_outputs_less(network):
    net, moments = network
    groups = tm.prepare.channel_groups(net, torch.randn(2, 2, 7, 7)).groups
    image = net.memory_image()
    chips = tm.random_fault_maps(net.placement.memory, chips=10, fault_rate=0.05, seed=0)
    options = tm.order.SearchOptions(aim="error")
    harm = {}
    importance = output_importance(moments, image)
    for name, values in (("plain", None), ("weighed", importance)):
        total = 0.0
        for order in tm.reorder(net, chips, groups=groups, options=options, importance=values, progress=False):
            back = order.certificate.read()
            read = tm.order.out_of_order(back, order.groups, order.orders)
            total += sum(float((importance[n] * np.square(read[n].astype(float) - c)).sum()) for n, c in image.codes.items())
        harm[name] = total
    assert harm["weighed"] < harm["plain"]
