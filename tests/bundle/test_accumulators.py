"""The bounds of a layer's sums, against qonnx' own rule and against sums that inputs reach."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.datatype import DataType
from qonnx.util.basic import calculate_matvec_accumulator_range

import tremap_brevitas as tm
from tremap_brevitas.bundle.accumulators import accumulator_ranges, accumulator_type
from tremap_brevitas.bundle.manifest import _digest
from tremap_brevitas.onnx_files import load_onnx
from tremap_brevitas.onnx_files.layer_inputs import layer_inputs
from tremap_brevitas.placement import LayerCodes, certificate, linear_placement


def a_graph(weight, operator="Gemm", *, bits=8, signed=0, zero_point=0.0, group=1, between=(), quantized=True):
    """x → Quant → (nodes between) → operator ← Quant ← w."""
    nodes, name = [], "x"
    if quantized:
        nodes.append(helper.make_node("Quant", ["x", "one", "zp", "bits"], ["q"], domain="q", signed=signed, narrow=0))
        name = "q"
    for i, (op, attributes) in enumerate(between):
        nodes.append(helper.make_node(op, [name], [f"b{i}"], **attributes))
        name = f"b{i}"
    nodes.append(helper.make_node("Quant", ["w", "one", "zero", "bits"], ["wq"], domain="q", signed=1, narrow=0))
    attributes = {"transB": 1} if operator == "Gemm" else {} if operator == "MatMul" else {"group": group}
    taken = "wq"
    if operator == "MatMul":
        nodes.append(helper.make_node("Transpose", ["wq"], ["wt"], perm=[1, 0]))
        taken = "wt"
    nodes.append(helper.make_node(operator, [name, taken], ["y"], **attributes))
    values = {"w": weight, "one": 1.0, "zero": 0.0, "zp": zero_point, "bits": float(bits)}
    tensors = [numpy_helper.from_array(np.asarray(v, dtype=np.float32), k) for k, v in values.items()]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("x", "y")]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors))


def an_image(weight, bits=8):
    layers = [LayerCodes("fc", weight.shape, bits, "twos_complement")]
    return tm.MemoryImage(linear_placement(layers, tm.Memory(words=10_000, word_bits=bits)), {"fc": weight})


@given(st.data())
def test_qonnx_own_rule_on_each_chip(data):
    bits, signed = data.draw(st.integers(2, 8)), data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    weight = rng.integers(-128, 128, (data.draw(st.integers(1, 5)), data.draw(st.integers(1, 7))))
    image = an_image(weight)
    chips = tm.random_fault_maps(tm.Memory(words=10_000, word_bits=8), chips=3, fault_rate=0.02, seed=int(rng.integers(100)))
    chips.append(tm.FaultMap(image.placement.memory, [7, 15], [1, 0], "signs"))
    proofs = [certificate(image, chip) for chip in chips]
    kind = DataType[f"{'INT' if signed else 'UINT'}{bits}"]
    graph = a_graph(weight, data.draw(st.sampled_from(["Gemm", "MatMul"])), bits=bits, signed=int(signed))
    expected = [calculate_matvec_accumulator_range(codes.T, kind) for codes in [weight, *(p.read()["fc"] for p in proofs)]]
    ranges = accumulator_ranges(graph, {"fc": "w"}, image, proofs)["fc"]
    assert ranges == (min(low for low, _ in expected), max(high for _, high in expected))
    assert accumulator_ranges(graph, {"fc": "w"}, image)["fc"] == expected[0]
    kind = DataType[accumulator_type(ranges)]
    assert kind.allowed(ranges[0])
    assert kind.allowed(ranges[1])
    if kind.bitwidth() > 1:
        smaller = DataType[f"{kind.name.rstrip('0123456789')}{kind.bitwidth() - 1}"]
        assert not (smaller.allowed(ranges[0]) and smaller.allowed(ranges[1]))


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose"])
def test_which_weights_make_up_one_output(operator, group):
    """Against inputs that reach the bound: a plain sum over those weights that torch's own operator lets meet."""
    torch = pytest.importorskip("torch")
    weight = np.random.default_rng(group).integers(-8, 8, (4, 3, 2, 2))
    functional = torch.nn.functional.conv_transpose2d if operator == "ConvTranspose" else torch.nn.functional.conv2d
    channels = 4 if operator == "ConvTranspose" else 3 * group
    highest = -1
    for channel in range(3 * group if operator == "ConvTranspose" else 4):
        image = torch.zeros(1, channels, 3, 3, dtype=torch.float64, requires_grad=True)
        functional(image, torch.tensor(weight, dtype=torch.float64), groups=group)[0, channel, 1, 1].backward()
        highest = max(highest, int(image.grad.clamp(min=0).sum()) * 255)
    graph = a_graph(weight, operator, group=group)
    assert accumulator_ranges(graph, {"fc": "w"}, an_image(weight))["fc"][1] == highest


def test_inputs_that_are_not_known():
    weight = np.ones((2, 4))
    for options in ({"quantized": False}, {"zero_point": 3.0}, {"between": [("Relu", {})]}):
        assert layer_inputs(a_graph(weight, **options), {"fc": "w"})["fc"].integers is None
    through = [("Transpose", {"perm": [0, 1]}), ("Flatten", {"axis": 1}), ("Identity", {})]
    assert layer_inputs(a_graph(weight, between=through, signed=1, bits=4), {"fc": "w"})["fc"].integers == (-8, 7)
    assert layer_inputs(a_graph(weight, signed=1, bits=1), {"fc": "w"})["fc"].integers == (-1, 1)
    assert layer_inputs(a_graph(weight), {"fc": "another"}) == {}


def test_in_the_manifest(group, exported):
    folder, chips = exported
    bundle = tm.Bundle.load(folder)
    ranges = bundle.manifest.accumulators
    assert set(ranges) == {"features.3", "features.6", "classifier"}  # the first layer's input are floats
    for name, (low, high) in ranges.items():
        read = [bundle.image.codes[name], *(tm.placement.certificate(bundle.image, chip).read()[name] for chip in chips)]
        rows = [codes.reshape(len(codes), -1).astype(int) for codes in read]  # activations are UINT8
        assert low == 255 * min(r.clip(max=0).sum(1).min() for r in rows)
        assert high == 255 * max(r.clip(min=0).sum(1).max() for r in rows)
    trained = accumulator_ranges(
        load_onnx(folder / "model.qonnx.onnx"),
        {layer.name: layer.initializers["qonnx"] for layer in bundle.manifest.layers},
        bundle.image,
    )
    assert any(ranges[name] != trained[name] for name in ranges)
    assert "accumulators" in json.loads((folder / "manifest.json").read_text())


def test_older_bundles_have_none(copied):
    folder, _ = copied
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    assert content.pop("digest")
    assert content.pop("accumulators")
    path.write_text(json.dumps({**content, "digest": _digest(content)}))
    assert tm.Bundle.load(folder).manifest.accumulators is None


@pytest.mark.parametrize("wrong", [3, {"classifier": [1]}, {"classifier": [0.5, 1]}, {"classifier": "ab"}])
def test_damaged_ones_are_told(copied, wrong):
    path = copied[0] / "manifest.json"
    content = json.loads(path.read_text())
    content["accumulators"] = wrong
    del content["digest"]
    path.write_text(json.dumps({**content, "digest": _digest(content)}))
    with pytest.raises(ValueError, match=r"manifest\.json: .*damaged"):
        tm.Bundle.load(copied[0])
