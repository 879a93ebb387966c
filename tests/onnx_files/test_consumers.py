"""The table of docs/export.md: what each tool makes of each file. Every cell is run."""

import contextlib
import io
import re
import tempfile
import warnings
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Uint8ActPerTensorFixedPoint
from helpers import a_chip, a_net, flow, needs_program
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.transformation.qcdq_to_qonnx import QCDQToQuant
from qonnx.util.cleanup import cleanup_model
from torch import nn

from tremap_brevitas import quant as tq
from tremap_brevitas.onnx_files import load_onnx

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
FILES, _, *LINES = [[cell.strip() for cell in line.strip("| ").split("|")] for line in re.findall(r"^\|.*\|$", PAGE, re.M)]
HEAD, *ROWS = map(list, zip(FILES, *LINES, strict=True))  # a line of the page is a tool's; a row here is a file's
SLOW = ("hls4ml", "RTL")
ONE_SCALE, PER_CHANNEL = tq.FaultyInt8WeightPerTensorFixedPoint, tq.FaultyInt8WeightPerChannelFloat
X = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(5))


class Network:
    """A convolution and linear layers, one of them without a bias, with faults set, and what they make of ``X``."""

    def __init__(self, quantizer):
        torch.manual_seed(0)
        options = {"weight_quant": quantizer}

        def relu():
            return qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)

        self.model = nn.Sequential(
            *(qnn.QuantConv2d(1, 4, 3, bias=True, **options), relu(), nn.Flatten()),
            *(qnn.QuantLinear(64, 16, bias=False, **options), relu(), qnn.QuantLinear(16, 5, bias=True, **options)),
        )
        for _ in range(4):
            self.model(X)
        self.model.eval()
        self.net = a_net(self.model)
        self.chip = a_chip(self.net.placement, rate=0.02)
        self.net.set_faults_(self.chip)
        with torch.no_grad():
            self.expected = self.model(X).numpy()

    def export(self, row, path, x=X):
        write = self.net.export_qonnx if row[0].startswith("QONNX") else self.net.export_qcdq
        return str(write(path, x, dynamo="dynamo=True" in row[0]))


@pytest.fixture(scope="module", params=[ONE_SCALE, PER_CHANNEL], ids=["one_scale", "per_channel"])
def network(request):
    return Network(request.param)


def in_onnxruntime(path, level, **config):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 4
    for key, value in config.items():
        options.add_session_config_entry(key.replace("__", "."), value)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]


def in_openvino(path, **config):
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", config)
    return lambda x: compiled(x)[0]


def in_qonnx(path, *transformations):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = cleanup_model(ModelWrapper(path))
        for transformation in transformations:
            model = cleanup_model(model.transform(transformation))
    left = {node.op_type for node in model.graph.node}
    for transformation, replaced in ((GemmToMatMul, "Gemm"), (QCDQToQuant, "DequantizeLinear")):
        if any(isinstance(t, transformation) for t in transformations) and replaced in left:
            raise RuntimeError(f"{replaced} left")
    return lambda x: next(iter(execute_onnx(model, {model.graph.input[0].name: x}).values()))


TOOLS = {
    "onnxruntime, optimizations off": lambda p: in_onnxruntime(p, "ORT_DISABLE_ALL"),
    "onnxruntime, `session.x64quantprecision=1`": lambda p: in_onnxruntime(p, "ORT_ENABLE_ALL", session__x64quantprecision="1"),
    "OpenVINO, `LP_TRANSFORMS_MODE=NO`, `EXECUTION_MODE_HINT=ACCURACY`": lambda p: in_openvino(
        p, LP_TRANSFORMS_MODE="NO", EXECUTION_MODE_HINT="ACCURACY"
    ),
    "qonnx": in_qonnx,
    "qonnx `GemmToMatMul` (FINN)": lambda p: in_qonnx(p, GemmToMatMul()),
    "qonnx `QCDQToQuant`, one scale": lambda p: in_qonnx(p, QCDQToQuant(), GemmToMatMul()),
    "qonnx `QCDQToQuant`, scales per channel": lambda p: in_qonnx(p, QCDQToQuant(), GemmToMatMul()),
}


def verdict(run, expected, x=X):
    """What the table says of a tool."""
    try:
        outputs = run(x.numpy())
    except Exception:
        return "no"
    error = np.abs(outputs - expected).max() / np.abs(expected).max()
    return "equal" if error <= 1e-6 else "near" if error <= 1e-2 else f"{error:.2g} off"


def test_the_table_is_whole():
    assert ["tool", *TOOLS, *SLOW] == HEAD
    assert len(ROWS) == 4
    assert all(len(row) == len(HEAD) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].replace("`", ""))
def test_each_cell(row, network, tmp_path):
    one_scale = network.model[0].quant_weight().scale.numel() == 1
    path = network.export(row, tmp_path / "m.onnx")
    opset = next(o.version for o in load_onnx(path).opset_import if not o.domain)
    assert row[0].endswith(f"opset {opset}")
    for tool, said in zip(HEAD[1:-2], row[1:-2], strict=True):
        if "QCDQToQuant" in tool and ("one scale" in tool) != one_scale:
            continue
        cell = verdict(lambda x, tool=tool: TOOLS[tool](path)(x), network.expected)
        if said == "near":
            assert cell in ("near", "equal"), (tool, cell)
        else:
            assert cell == said, tool


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].replace("`", ""))
def test_each_cell_of_hardware_flows(row, tmp_path):
    needs_program("g++")
    needs_program("iverilog")
    pytest.importorskip("hls4ml")
    network = Network(ONE_SCALE)
    path = network.export(row, tmp_path / "m.onnx", X[:1])
    hls, rtl = flow("hls4ml/c_simulation.py"), flow("rtl/simulate.py")

    def simulate(x):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            return hls.converted(Path(path), Path(folder) / "c", hls.PRECISION).predict(np.ascontiguousarray(x))

    said = dict(zip(HEAD, row, strict=True))
    assert verdict(simulate, network.expected) == said["hls4ml"]
    form = "qonnx" if row[0].startswith("QONNX") else "qcdq"
    folder = network.net.export(tmp_path / "b", X, onnx_forms=[form], dynamo="dynamo=True" in row[0])
    chip = network.chip.save(tmp_path / "chip.npz")
    assert {0: "equal"}[rtl.main([str(folder), str(chip)])] == said["RTL"]


@pytest.mark.parametrize("dynamo", [False, True])
def test_no_sum_saturates_with_the_settings_of_the_table(tmp_path, dynamo):
    """Inputs near 255 and weights near 127: on x86 without VNNI the tools' defaults add two products in 16 bits."""
    torch.manual_seed(0)
    act = {"act_quant": Uint8ActPerTensorFixedPoint}
    layer = qnn.QuantLinear(256, 4, bias=False, weight_quant=ONE_SCALE)
    model = nn.Sequential(qnn.QuantIdentity(**act), layer, qnn.QuantIdentity(**act))
    with torch.no_grad():
        layer.weight.fill_(0.9)
        layer.weight[1::2] = -0.9
        layer.weight[2, ::2] = -0.9
    x = torch.ones(4, 256)
    model(x)
    model.eval()
    path = str(a_net(model).export_qcdq(tmp_path / "m.onnx", x, dynamo=dynamo))
    with torch.no_grad():
        expected = model(x).numpy()
    for tool in list(TOOLS)[:3]:
        assert verdict(TOOLS[tool](path), expected, x) == "equal", tool
    assert verdict(in_onnxruntime(path, "ORT_ENABLE_BASIC"), expected, x) == "equal"


def test_qonnx_misreads_scales_per_channel_of_a_square_matrix(tmp_path):
    """Why the table says "no": the tool itself does not always."""
    torch.manual_seed(0)
    model = nn.Sequential(qnn.QuantLinear(6, 6, bias=False, weight_quant=PER_CHANNEL)).eval()
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    x = torch.randn(2, 6)
    path = net.export_qcdq(tmp_path / "m.onnx", x)
    with torch.no_grad():
        assert verdict(in_qonnx(str(path), QCDQToQuant(), GemmToMatMul()), model(x).numpy(), x).endswith(" off")
