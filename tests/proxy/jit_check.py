"""Run by test_traps.py with BREVITAS_JIT=0 and 1: quantizers against the oracle, reload, copy, conversion."""

import copy
import sys
from pathlib import Path

import brevitas.config
import brevitas.nn as qnn
import numpy as np
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1]))
from helpers import a_chip, a_placement, brevitas_codes, expected_codes, options_of

import tremap_brevitas as tm

NAMES = [
    "FaultyInt8WeightPerTensorFixedPoint",
    "FaultyInt8WeightPerChannelFloat",
    "FaultyShiftedUint8WeightPerTensorFloat",
    "FaultyMXInt8Weight",
    "FaultyInt8WeightNormL2PerChannelFixedPoint",
]
for name in NAMES:
    for store in ("plain", "nearest"):
        torch.manual_seed(0)
        layer = qnn.QuantLinear(24, 5, bias=False, weight_quant=getattr(tm, name), **options_of(name))
        wanted = brevitas_codes(layer)
        placement = a_placement(layer)
        chip = a_chip(placement)
        tm.set_faults_(layer, placement, chip, store=store)
        expected = expected_codes({"": wanted}, placement, chip, store)[""]
        assert np.array_equal(brevitas_codes(layer), expected), (name, store)
        layer(torch.randn(2, 24)).sum().backward()
        assert layer.weight.grad is not None
        keys = list(layer.state_dict())
        layer.load_state_dict(copy.deepcopy(layer.state_dict()), strict=True)
        assert np.array_equal(brevitas_codes(layer), expected), (name, store)
        assert list(layer.state_dict()) == keys
        assert not any("stuck" in n for n in keys)
        twin = copy.deepcopy(layer)
        tm.clear_faults_(layer)
        assert np.array_equal(brevitas_codes(layer), wanted)
        assert np.array_equal(brevitas_codes(twin), expected), (name, store)

wide = type("Wide", (tm.FaultyInt8WeightPerChannelFloat,), {"bit_width": 12})
layer = qnn.QuantLinear(8, 5, bias=False, weight_quant=wide)
wanted = brevitas_codes(layer)
placement = a_placement(layer)
chip = a_chip(placement)
tm.set_faults_(layer, placement, chip, store="nearest")
assert np.array_equal(brevitas_codes(layer), expected_codes({"": wanted}, placement, chip, "nearest")[""])

model = nn.Sequential(qnn.QuantLinear(8, 5, bias=False))
codes = brevitas_codes(model[0])
tm.make_faulty(model)
placement = a_placement(model)
tm.set_faults_(model, placement, a_chip(placement))
assert not np.array_equal(brevitas_codes(model[0]), codes)
tm.restore(model)
assert np.array_equal(brevitas_codes(model[0]), codes)
print("jit", bool(brevitas.config.JIT_ENABLED), "passed")
