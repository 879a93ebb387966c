"""Quantizers that round otherwise than to the nearest: what a QONNX file holds, and how a reader must round it."""

import brevitas.nn as qnn
import numpy as np
import onnx
import pytest
import torch
from brevitas.inject.enum import FloatToIntImplType
from brevitas.quant import Int8BiasPerTensorFloatInternalScaling, Int8WeightPerTensorFloat
from helpers import a_chip, a_net
from onnx import helper, numpy_helper
from qonnx.custom_op.general.quant import quant
from torch import nn

import tremap_brevitas as tm


@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize("rounding", ["FLOOR", "CEIL", "ROUND_TO_ZERO", "ROUND"])
def test_a_reader_finds_the_codes_whatever_rounding_it_was_told(tmp_path, rounding, stuck):
    options = {"float_to_int_impl_type": getattr(FloatToIntImplType, rounding)}
    weight_quant = type("Weight", (Int8WeightPerTensorFloat,), options)
    bias_quant = type("Bias", (Int8BiasPerTensorFloatInternalScaling,), options)
    model = nn.Sequential(qnn.QuantLinear(16, 8, weight_quant=weight_quant, bias_quant=bias_quant)).eval()
    net = a_net(tm.make_faulty(model, biases=True))
    if stuck:
        net.set_faults_(a_chip(net.placement))
    path = tmp_path / "model.onnx"
    net.export_qonnx(path, torch.randn(1, 16), dynamo=False)
    graph = onnx.load(path).graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                constants[node.output[0]] = numpy_helper.to_array(attribute.t)
    exported = {}
    for node in graph.node:
        if node.op_type == "Quant" and node.input[0] in constants:
            flags = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            value, scale, zero_point, width = (constants[name] for name in node.input)
            mode = flags["rounding_mode"].decode()
            read = quant(value, scale, zero_point, width, flags["signed"], flags["narrow"], mode)
            exported["0" if value.ndim == 2 else "0.bias"] = np.rint(read / scale).astype(np.int32)
    assert set(exported) == {"0", "0.bias"}
    for name, codes in exported.items():
        np.testing.assert_array_equal(codes, net.codes(name).read_back)
