"""Every faulty quantizer, by name: equal to the plain one without faults, equal to the oracle with them."""

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.inject import ExtendedInjector
from brevitas.quant import binary, fixed_point, mx_quant_ocp, scaled_int, shifted_scaled_int, ternary
from brevitas.quant import float as float_quant
from helpers import FAULTY, QUICK, a_chip, a_net, brevitas_codes, expected_codes, options_of, plain_of

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.quant.base import why_not

NAMES = [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in FAULTY]


def layer(quantizer, name, features=24, **options):
    torch.manual_seed(1)
    return qnn.QuantLinear(features, 5, bias=False, weight_quant=quantizer, **options_of(name), **options)


@pytest.mark.parametrize("name", NAMES)
def test_without_faults_it_is_the_plain_quantizer_bit_for_bit(name):
    plain, faulty = layer(plain_of(name), name), layer(getattr(tq, name), name)
    weighting = torch.randn(5, 24)
    for one in (plain, faulty):
        (one.quant_weight().value * weighting).sum().backward()
    assert torch.equal(plain.quant_weight().value, faulty.quant_weight().value)
    assert list(plain.state_dict()) == list(faulty.state_dict())
    gradients = [[p.grad for p in one.parameters()] for one in (plain, faulty)]
    assert len(gradients[0]) == len(gradients[1]) > 0
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("store", ["plain", "nearest"])
@pytest.mark.parametrize("name", NAMES)
def test_codes_with_faults_equal_the_oracle(name, store):
    plain, faulty = layer(plain_of(name), name), layer(getattr(tq, name), name)
    wanted = brevitas_codes(plain)
    faulty.quant_weight()  # scale searches happen on the first call
    net = a_net(faulty)
    chip = a_chip(net.placement)
    net.set_faults_(chip, rule=tm.Rule(store))
    expected = expected_codes({"": wanted}, net.placement, chip, store)[""]
    codes = net.codes("")
    assert np.array_equal(codes.wanted, wanted)
    assert np.array_equal(codes.read_back, expected)
    assert np.array_equal(codes.stored, expected if store == "nearest" else wanted)
    assert (expected != wanted).sum() >= 10
    # The very values that the layer computes with, not only the integers that it reports:
    assert np.array_equal(brevitas_codes(faulty), expected)


def test_no_integer_weight_quantizer_of_brevitas_is_missing():
    names = set()
    for module in (binary, fixed_point, float_quant, mx_quant_ocp, scaled_int, shifted_scaled_int, ternary):
        for name, quantizer in vars(module).items():
            is_quantizer = isinstance(quantizer, type) and issubclass(quantizer, ExtendedInjector)
            if is_quantizer and "Weight" in name and "bit_width" in quantizer.__dependencies__ and why_not(quantizer) is None:
                names.add(f"Faulty{name}")
    assert len(names) == 27
    assert names == set(FAULTY)


@pytest.mark.parametrize("name", ["FaultyMXInt8Weight", "FaultyShiftedUint8WeightGroupQuantFloat"])
def test_groups_that_do_not_divide_the_weight_are_padded_healthy(name):
    plain, faulty = layer(plain_of(name), name, features=21), layer(getattr(tq, name), name, features=21)
    assert torch.equal(plain.quant_weight().value, faulty.quant_weight().value)
    net = a_net(faulty)
    wanted = net.codes("").wanted
    chip = a_chip(net.placement)
    for store in ("plain", "nearest"):
        net.set_faults_(chip, rule=tm.Rule(store))
        assert np.array_equal(net.codes("").read_back, expected_codes({"": wanted}, net.placement, chip, store)[""])
        assert faulty(torch.randn(2, 21)).shape == (2, 5)


@pytest.mark.parametrize("name", ["FaultyInt8WeightPerTensorFixedPointMSE", "FaultyInt8WeightPerChannelFloatMSE"])
def test_a_scale_search_does_not_see_the_faults(name):
    plain, faulty = layer(plain_of(name), name), layer(getattr(tq, name), name)
    net = a_net(faulty)
    net.set_faults_(a_chip(net.placement))  # before the search has ever run
    assert torch.equal(faulty.quant_weight().scale, plain.quant_weight().scale)
    assert not torch.equal(faulty.quant_weight().value, plain.quant_weight().value)
