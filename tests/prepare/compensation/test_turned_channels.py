"""Channels that are turned over: FINN would negate them again."""

import copy

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Uint8ActPerTensorFixedPoint
from helpers import a_net
from networks import FullRangeWeight
from onnx import numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.batchnorm_to_affine import BatchNormToAffine
from qonnx.transformation.infer_shapes import InferShapes
from torch import nn

import tremap_brevitas as tm


@pytest.mark.parametrize("signs", [True, False])
def test_finn_would_negate_the_channels_that_were_turned_over(tmp_path, signs):
    torch.manual_seed(0)
    conv = qnn.QuantConv2d(2, 12, 3, bias=False, weight_quant=FullRangeWeight)
    relu = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)
    model = tm.make_faulty(nn.Sequential(conv, nn.BatchNorm2d(12), relu))
    x = torch.randn(64, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    model(x)
    net = a_net(model.eval())
    before = copy.deepcopy(model[1].weight)
    (chip,) = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=0.2, seed=0)
    report = net.compensate_([x], fault_map=chip, signs=signs, progress=False)
    turned = (model[1].weight.sign() != before.sign()).numpy()
    assert turned.sum() == report.layers[0].flipped
    assert bool(turned.any()) == signs
    bundle = net.export(tmp_path / "b", x[:1], dynamo=False, onnx_forms=["qonnx"])
    graph = ModelWrapper(str(bundle / "model.qonnx.onnx")).transform(InferShapes()).transform(BatchNormToAffine()).model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (factors,) = [values[n] for node in graph.node if node.op_type == "Mul" for n in node.input if n in values]
    # The sign of such a factor goes into the weights: FINN's FactorOutMulSignMagnitude, then Absorb1BitMulIntoConv.
    negated = factors.reshape(-1) < 0
    assert np.array_equal(negated, turned)
    codes = (net.memory_image().codes["0"] * np.where(negated, -1, 1)[:, None, None, None]).clip(-128, 127)
    written = tm.placement.certificate(tm.MemoryImage(net.placement, {"0": codes}), chip)
    assert written.bit_exact != signs
