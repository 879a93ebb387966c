"""What feeds each layer of a QONNX graph, on graphs made by hand."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tremap_brevitas.onnx_files.layer_inputs import layer_inputs

FLAT = ("Flatten", {"axis": 1})
POOL = ("MaxPool", {"kernel_shape": [2, 2]})


def a_graph(*between, operator="Gemm", batch=1, columns=12, image=(3, 2, 2)):
    """x → Conv of 3 channels ← w0 → between → Gemm or MatMul ← fc, whose weight has 12 columns."""
    nodes = [helper.make_node("Conv", ["x", "w0"], ["v0"])]
    for i, (op, attributes) in enumerate(between):
        attributes = dict(attributes)
        more = attributes.pop("inputs", [])
        inputs = ["x" if attributes.pop("restart", False) else f"v{i}", *more]
        nodes.append(helper.make_node(op, inputs, [f"v{i + 1}"], **attributes))
    nodes.append(helper.make_node("Quant", ["fc", "one", "zero", "bits"], ["q"], domain="q"))
    name = "q"
    if operator == "MatMul":
        nodes.append(helper.make_node("Transpose", ["q"], ["t"], perm=[1, 0]))
        name = "t"
    options = {"transB": 1} if operator == "Gemm" else {}
    nodes.append(helper.make_node(operator, [f"v{len(between)}", name], ["y"], **options))
    values = {
        "w0": np.ones((3, 1, 1, 1)),
        "fc": np.ones((2, columns)),
        "one": 1.0,
        "zero": 0.0,
        "bits": 8.0,
        "w1": np.ones((5, 3, 1, 1)),
    }
    tensors = [numpy_helper.from_array(np.asarray(v, dtype=np.float32), k) for k, v in values.items()]
    shapes = {
        "by_batch": [batch, 12],
        "mixed": [-1, 12],
        "cut": [batch, 6],
        "axes": [2, 3],
        "channel_axis": [1],
        "rest": [batch, -1],
    }
    tensors += [numpy_helper.from_array(np.array(v), k) for k, v in shapes.items()]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [batch, *image]), ("y", None))]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors))


def reshape(shape):
    return "Reshape", {"inputs": [shape]}


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
@pytest.mark.parametrize(
    ("between", "channels"),
    [
        ([FLAT], 3),
        ([("Relu", {}), POOL, ("BatchNormalization", {}), FLAT, ("Relu", {})], 3),
        ([reshape("by_batch")], 3),
        ([reshape("rest")], 3),
        ([("GlobalAveragePool", {}), FLAT], 3),
        ([("ReduceMean", {"inputs": ["axes"], "keepdims": 1}), FLAT], 3),
        ([("Add", {"inputs": ["v0"]}), FLAT], 3),
        ([("Add", {"inputs": ["one"]}), FLAT], 3),
        ([("Conv", {"inputs": ["w1"]}), FLAT], 0),  # 5 channels, 12 columns
        ([reshape("mixed")], 0),
        ([reshape("cut")], 0),
        ([FLAT, POOL], 0),
        ([("Transpose", {"perm": [0, 2, 3, 1]}), FLAT], 0),
        ([("ReduceMean", {"inputs": ["channel_axis"], "keepdims": 1}), FLAT], 0),
        ([("ReduceMean", {"inputs": ["axes"], "keepdims": 0}), FLAT], 0),
        ([("Flatten", {"axis": 2})], 0),
        ([("Concat", {"inputs": ["v0"], "axis": 1}), FLAT], 0),
        ([], 0),
        ([("Relu", {"restart": True})], 12),
        ([("Flatten", {"axis": 1, "restart": True})], 12),
        ([("Relu", {"restart": True}), FLAT], 0),
    ],
)
def test_channels_that_were_flattened(operator, between, channels):
    layer = layer_inputs(a_graph(*between, operator=operator), {"fc": "fc"})["fc"]
    assert (layer.operator, layer.channels) == (operator, channels)


def test_the_order_is_that_of_the_graph():
    assert list(layer_inputs(a_graph(FLAT), {"last": "fc", "first": "w0"})) == ["first", "last"]


def test_a_batch_that_is_not_known():
    assert layer_inputs(a_graph(reshape("rest"), batch=4), {"fc": "fc"})["fc"].channels == 3
    graph = a_graph(reshape("rest"), batch=4)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    assert layer_inputs(graph, {"fc": "fc"})["fc"].channels == 0
