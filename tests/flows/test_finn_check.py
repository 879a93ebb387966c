"""The comparison of FINN's model and memories with a bundle, on models made by hand and with qonnx' transformations."""

import json
from functools import partial

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Uint8ActPerTensorFixedPoint
from helpers import finn_memory, flow
from networks import FullRangeWeight
from onnx import TensorProto, helper, numpy_helper, save
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.placement import LayerCodes, finn_placement

check = flow("finn/check.py")
FOLDING = {"0": {"PE": 2, "SIMD": 3}, "2": {"PE": 2, "SIMD": 3, "unit": "VVAU_hls"}, "5": {"PE": 3, "SIMD": 4}}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A convolution, a depthwise one, and a linear layer behind a flattened map of 4 channels of 2 × 2 pixels."""
    torch.manual_seed(0)
    layer = {"bias": False, "weight_quant": FullRangeWeight}
    relu = [qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint) for _ in range(2)]
    convs = qnn.QuantConv2d(1, 4, 3, padding=1, **layer), qnn.QuantConv2d(4, 4, 3, padding=1, stride=2, groups=4, **layer)
    network = nn.Sequential(convs[0], relu[0], convs[1], relu[1], nn.Flatten(), qnn.QuantLinear(16, 6, **layer))
    model, images = tm.make_faulty(network), torch.rand(1, 1, 4, 4)
    model(images)
    model.eval()
    memory = tm.Memory(words=32, word_bits=96)
    net = tm.place(model, memory, layout=partial(finn_placement, folding=FOLDING))
    (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=0.02, seed=0)
    net.set_faults_(chip)
    folder = tmp_path_factory.mktemp("finn") / "b"
    return tm.Bundle.load(net.export(folder, images, dynamo=False, onnx_forms=["qonnx"]))


@pytest.fixture
def codes(bundle):
    return {name: np.array(array, dtype=np.float32) for name, array in bundle.image.codes.items()}


def reordered(weight):
    """(outputs, columns) with the columns of 4 channels of 2 × 2 pixels as FINN's RemoveCNVtoFCFlatten leaves them."""
    return weight.T.reshape(4, 2, 2, 6).transpose(1, 2, 0, 3).reshape(16, 6).T


def a_model(path, *nodes):
    """A chain of nodes: (operator, name, weight, attributes)."""
    made, tensors, name = [], [], "x"
    for operator, node, weight, attributes in nodes:
        made.append(
            helper.make_node(operator, [name, f"{node}_w"], [f"{node}_y"], node, domain=_domain(operator), **attributes)
        )
        tensors.append(numpy_helper.from_array(np.asarray(weight, dtype=np.float32), f"{node}_w"))
        name = f"{node}_y"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 1, 4, 4]), (name, None))]
    save(helper.make_model(helper.make_graph(made, "g", ends[:1], ends[1:], tensors)), path)
    return path


def _domain(operator):
    return "finn.custom_op.fpgadataflow" if "VAU" in operator else ""


def units(codes, **changes):
    """FINN's hardware layers, by hand: (kernel row, kernel column, input channel) × output for the first one."""
    first, last = codes["0"].transpose(2, 3, 1, 0).reshape(9, 4), reordered(codes["5"]).T
    bits = {"weightDataType": "INT8"}
    nodes = {
        "MVAU_0": ("MVAU_rtl", "MVAU_0", first, {"PE": 2, "SIMD": 3, **bits}),
        "VVAU_0": ("VVAU_hls", "VVAU_0", codes["2"], {"PE": 2, "SIMD": 3, **bits}),
        "MVAU_1": ("MVAU_hls", "MVAU_1", last, {"PE": 3, "SIMD": 4, **bits}),
    }
    for name, change in changes.items():
        operator, node, weight, attributes = nodes[name]
        nodes[name] = (operator, node, weight, {**attributes, **change})
    return [*nodes.values()]


def run(bundle, capsys, *options):
    code = check.main([str(bundle.folder), *map(str, options)])
    return code, capsys.readouterr().out.splitlines()


def test_all_equal(bundle, codes, tmp_path, capsys):
    code, out = run(bundle, capsys, "--model", a_model(tmp_path / "m.onnx", *units(codes)))
    assert out == ["0: equal (MVAU_0)", "2: equal (VVAU_0)", "5: equal (MVAU_1)"]
    assert code == 0


def test_before_and_after_qonnx_lowers_convolutions(bundle, codes, tmp_path, capsys):
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1], "group": 1}
    nodes = [
        ("Conv", "Conv_0", codes["0"], conv),
        ("Conv", "Conv_1", codes["2"], {**conv, "strides": [2, 2], "group": 4}),
    ]
    path = a_model(tmp_path / "m.onnx", *nodes)
    options = "--allow", "missing"
    assert run(bundle, capsys, "--model", path, *options) == (
        0,
        ["0: equal (Conv_0)", "2: equal (Conv_1)", "5: missing (no node of the model, and no file)"],
    )
    assert run(bundle, capsys, "--model", path)[0] == 1
    lowered = ModelWrapper(str(path)).transform(InferShapes()).transform(LowerConvsToMatMul())
    lowered.save(str(path))
    assert [n.op_type for n in lowered.graph.node].count("MatMul") == 2
    code, out = run(bundle, capsys, "--model", path, *options)
    assert (code, [line.split(" (")[0] for line in out]) == (0, ["0: equal", "2: equal", "5: missing"])


def test_columns_in_torch_order(bundle, codes, tmp_path, capsys):
    nodes = [*units(codes)[:2], ("MatMul", "MatMul_0", codes["5"].T, {})]
    code, out = run(bundle, capsys, "--model", a_model(tmp_path / "m.onnx", *nodes))
    assert code == 1
    assert out[2].startswith("5: permuted (MatMul_0; columns by channel, row, pixel as torch flattens them")
    assert run(bundle, capsys, "--model", tmp_path / "m.onnx", "--allow", "permuted")[0] == 0


@pytest.mark.parametrize("layer", ["0", "2", "5"])
def test_negated_channels(bundle, codes, tmp_path, capsys, layer):
    codes[layer][[1, 3]] *= -1
    code, out = run(bundle, capsys, "--model", a_model(tmp_path / "m.onnx", *units(codes)))
    assert code == 1
    assert [line for line in out if "equal" not in line] == [
        f"{layer}: negated ({ {'0': 'MVAU_0', '2': 'VVAU_0', '5': 'MVAU_1'}[layer] }; output channels 1, 3 negated)"
    ]
    assert run(bundle, capsys, "--model", tmp_path / "m.onnx", "--allow", "negated")[0] == 0


def test_orders_of_another_kind(bundle, codes, tmp_path, capsys):
    wanted = codes["5"].copy()
    codes["5"] = wanted[:, np.r_[1, 0, 2:16]] * np.array([1, -1, 1, 1, 1, 1])[:, None]
    nodes = [*units(codes)[:2], ("MatMul", "MatMul_0", codes["5"].T, {})]
    out = run(bundle, capsys, "--model", a_model(tmp_path / "m.onnx", *nodes))[1]
    assert out[2].startswith("5: negated, permuted (MatMul_0; columns in another order, from column ")
    assert out[2].endswith("; output channels 1 negated)")
    codes["5"] = wanted[[0, 1, 3, 2, 4, 5]]
    out = run(bundle, capsys, "--model", a_model(tmp_path / "m.onnx", *units(codes)))[1]
    assert out[2] == "5: permuted (MVAU_1; output channels in another order, from 2 on)"


@pytest.mark.parametrize("index", [("0", (3, 0, 2, 1)), ("2", (2, 0, 0, 2)), ("5", (4, 7))])
def test_the_first_weight_that_differs(bundle, codes, tmp_path, capsys, index):
    layer, weight = index
    trained = codes[layer][weight]
    codes[layer][weight] += 1
    codes[layer][(0, *[0] * (len(weight) - 1))] += 0.5  # no integer either
    code, out = run(bundle, capsys, "--model", a_model(tmp_path / "m.onnx", *units(codes)), "--allow", "negated", "permuted")
    assert code == 1
    (line,) = [line for line in out if "equal" not in line]
    zeros = ",".join(["0"] * len(weight))
    assert f"2 of {codes[layer].size} weights differ, the first is {layer}.weight[{zeros}]" in line
    codes[layer][(0, *[0] * (len(weight) - 1))] -= 0.5
    (line,) = [
        line for line in run(bundle, capsys, "--model", a_model(tmp_path / "m.onnx", *units(codes)))[1] if "equal" not in line
    ]
    place = ",".join(map(str, weight))
    assert line.startswith(f"{layer}: different (")
    assert line.endswith(f"the first is {layer}.weight[{place}]: {trained + 1:g}, trained {trained:g})")


def test_cells_of_another_unit(bundle, codes, tmp_path, capsys):
    model = tmp_path / "m.onnx"
    folding = tmp_path / "f.json"
    folding.write_text(json.dumps(FOLDING))
    a_model(model, *units(codes, MVAU_0={"weightDataType": "INT7"}))
    code, out = run(bundle, capsys, "--model", model, "--allow", "elsewhere")
    assert (code, out[0]) == (
        1,
        "0: different (MVAU_0; weightDataType INT7, trained INT8: minimize_weight_bit_width must stay off)",
    )
    a_model(model, *units(codes, MVAU_1={"PE": 6, "SIMD": 2}))
    code, out = run(bundle, capsys, "--model", model)
    assert (code, out[2]) == (1, "5: elsewhere (MVAU_1; the bundle was not trained with the cells of PE 6, SIMD 2)")
    assert "PE 6, in the folding 3" in run(bundle, capsys, "--model", model, "--folding", folding)[1][2]
    assert run(bundle, capsys, "--model", model, "--allow", "elsewhere")[0] == 0
    nodes = units(codes)
    nodes[1] = ("VVAU_rtl", *nodes[1][1:])
    assert run(bundle, capsys, "--model", a_model(model, *nodes))[1][1].startswith("2: elsewhere")


def test_which_node_holds_which_layer(bundle, codes, tmp_path, capsys):
    model = tmp_path / "m.onnx"
    twice = [*units(codes), ("MatMul", "MatMul_0", np.zeros((16, 6)), {})]
    with pytest.raises(SystemExit, match=r"more than one way .*5 \(6, 16\).*MatMul_0 \(16, 6\).*--layer"):
        run(bundle, capsys, "--model", a_model(model, *twice))
    assert run(bundle, capsys, "--model", model, "--layer", "5=MVAU_1")[0] == 0
    assert run(bundle, capsys, "--model", model, "--layer", "5=MatMul_0")[1][2].startswith("5: different (MatMul_0; 9")
    with pytest.raises(SystemExit, match="no way to match"):
        run(bundle, capsys, "--model", a_model(model, *reversed(units(codes))))
    swapped = ["--layer", "0=MVAU_0", "2=VVAU_0", "5=MVAU_1"]
    assert run(bundle, capsys, "--model", model, *swapped)[0] == 0
    a_model(model, *units(codes))
    for said, reason in (
        (["5=nothing"], "the nodes MVAU_0"),
        (["9=MVAU_0"], "the layers are 0, 2, 5"),
        (["5=MVAU_0", "0=MVAU_1"], "cannot be"),
    ):
        with pytest.raises(SystemExit, match=reason):
            run(bundle, capsys, "--model", model, "--layer", *said)
    with pytest.raises(SystemExit, match="no MVAU, VVAU, MatMul or Conv with folded weights"):
        run(bundle, capsys, "--model", bundle.folder / "model.qonnx.onnx")


def dat_files(codes, folder):
    """FINN's memblock.dat of each layer, by FINN's own steps."""
    kernel = np.flip(codes["2"].reshape(4, 3, 3), -1).reshape(4, 9, 1, 1)  # VVAU_hls turns the SIMD codes of a word round
    texts = {
        "0": finn_memory(codes["0"], 2, 3, 8),
        "2": finn_memory(kernel.reshape(4, 9), 2, 3, 8),
        "5": finn_memory(reordered(codes["5"]), 3, 4, 8),
    }
    for name, text in texts.items():
        (folder / f"{name}.dat").write_text(text)
    return ["--dat", *(f"{name}={folder / f'{name}.dat'}" for name in texts)]


def test_memories(bundle, codes, tmp_path, capsys):
    folding = tmp_path / "f.json"
    folding.write_text(json.dumps(FOLDING))
    said = "--folding", folding
    code, out = run(bundle, capsys, *dat_files(codes, tmp_path), *said)
    assert (code, [line.split(" (")[0] for line in out]) == (0, ["0: equal", "2: equal", "5: equal"])
    codes["2"][3] *= -1
    codes["0"][2, 0, 1, 1] += 1
    codes["5"] = codes["5"].reshape(6, 2, 2, 4).transpose(0, 3, 1, 2).reshape(6, 16)  # undoes what reordered will do
    out = run(bundle, capsys, *dat_files(codes, tmp_path), *said)[1]
    assert out[0].startswith("0: different")
    assert "the first is 0.weight[2,0,1,1]" in out[0]
    assert out[1].startswith("2: negated")
    assert "output channels 3 negated" in out[1]
    assert out[2].startswith("5: permuted")
    assert "as torch flattens them" in out[2]
    path = tmp_path / "0.dat"
    lines = path.read_text().splitlines()
    for text, reason in (
        ("\n".join(lines[:-1]), "5 words, PE 2 and SIMD 3 of layer '0' make 6"),
        ("\n".join([*lines, lines[0]]), "7 words"),
        ("\n".join([lines[0], lines[1][:-1], *lines[2:]]), r"0\.dat:2: .* is not a word of 48 bits in 12"),
        ("\n".join([lines[0], "x" * 12, *lines[2:]]), r"0\.dat:2:"),
        ("\n".join([lines[0], "", *lines[2:]]), r"0\.dat:2:"),
    ):
        path.write_text(text)
        with pytest.raises(SystemExit, match=reason):
            run(bundle, capsys, "--dat", f"0={path}", *said)
    with pytest.raises(SystemExit, match="give PE and SIMD"):
        run(bundle, capsys, "--dat", f"0={path}")
    with pytest.raises(SystemExit, match="no layer '7' in the bundle; it has 0, 2, 5"):
        run(bundle, capsys, "--dat", f"7={path}", *said)
    with pytest.raises(SystemExit, match="nowhere"):
        run(bundle, capsys, "--dat", f"0={tmp_path / 'nowhere'}", *said)
    for text, reason in (("{", r"f\.json: no JSON"), ('{"0": [1, 2]}', r"f\.json: expected"), ('{"9": {}}', "no layer '9'")):
        folding.write_text(text)
        with pytest.raises(SystemExit, match=reason):
            run(bundle, capsys, "--dat", f"0={path}", *said)


def test_kernels_of_one_dimension():
    layer = LayerCodes("conv", (4, 2, 3), 8, "twos_complement")
    weight = np.arange(24).reshape(4, 2, 3, 1)
    unit = check.Unit("Conv_0", "Conv", weight, {})
    assert np.array_equal(unit.matrix(layer), weight[..., 0].transpose(0, 2, 1).reshape(4, 6))
    assert check.Unit("Conv_0", "ConvTranspose", weight, {}).matrix(layer) is None
