"""ONNX files hold the codes that were trained; the stock handlers, on the same model, are shown to lose them first."""

import json
import shutil

import brevitas.config
import brevitas.export as bex
import brevitas.nn as qnn
import numpy as np
import onnx
import pytest
import torch
from brevitas.export.inference import quant_inference_mode
from brevitas.export.inference.handler import IntWeightInferencetHandler
from brevitas.export.inference.manager import InferenceManager
from brevitas.export.onnx.qonnx.handler import BrevitasWeightQuantProxyHandler
from brevitas.export.onnx.qonnx.manager import QONNXManager
from brevitas.export.onnx.standard.qcdq.handler import StdQCDQCastONNXWeightQuantProxyHandler
from brevitas.export.onnx.standard.qcdq.manager import StdQCDQONNXManager
from brevitas.export.torch.qcdq.handler import TorchQCDQCastWeightQuantProxyHandler
from brevitas.export.torch.qcdq.manager import TorchQCDQManager
from brevitas.quant import Int8WeightPerTensorFixedPoint, Int32Bias
from helpers import a_chip, a_net, change_initializer, options_of
from networks import DigitsNet
from onnx import numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.util.cleanup import cleanup_model
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_weights
from tremap_brevitas.proxy import FaultyWeightQuantProxyFromInjector

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(5))
QUANT = tq.FaultyInt8WeightPerTensorFixedPoint
EXPORTERS = pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])


def faulty_network(quantizer=QUANT, model=None, **placing):
    """(net, image, output), with sign bits stuck so that code -128 occurs."""
    torch.manual_seed(0)
    model = model or DigitsNet(weight_quant=quantizer)
    model(X)
    model.eval()
    net = a_net(model, rule=tm.Rule("plain"), **placing)
    net.set_faults_(a_chip(net.placement, rate=0.03))
    with torch.no_grad():
        return net, net.memory_image(), model(X).numpy()


def with_lowest_code():
    """A network in whose first layer a zero reads -128."""
    net, _, _ = faulty_network()
    with torch.no_grad():
        net.model.features[0].weight[0, 0, 0, 0] = 0
    net.set_faults_(a_chip(net.placement, rate=0.0))
    image = net.memory_image()
    assert image.codes["features.0"][0, 0, 0, 0] == -128
    with torch.no_grad():
        return net.model, image, net.model(X).numpy()


def stock(monkeypatch, manager, handler):
    """Give a manager its own handler for our proxy, as if the plugin had none."""
    same = type("Stock", (handler,), {"handled_layer": FaultyWeightQuantProxyFromInjector})
    ours = [h for h in manager.handlers if h.handled_layer is not FaultyWeightQuantProxyFromInjector]
    monkeypatch.setattr(manager, "handlers", [*ours, same])


def export_qcdq(model, path, dynamo):
    bex.export_onnx_qcdq(model, args=X, export_path=str(path), dynamo=dynamo, **({"opset_version": 18} if dynamo else {}))
    return path


def export_qonnx(model, path, dynamo):
    bex.export_qonnx(model, args=X, export_path=str(path), dynamo=dynamo)
    return path


def run_qonnx(path):
    model = cleanup_model(ModelWrapper(str(path)))
    (out,) = execute_onnx(model, {model.graph.input[0].name: X.numpy()}).values()
    return out, model.transform(InferDataTypes())


# ------------------------------------------------------------------ Brevitas' own functions: the loss, then ours


@EXPORTERS
def test_qonnx_of_brevitas(monkeypatch, tmp_path, dynamo):
    net, image, expected = faulty_network()
    model = net.model
    with monkeypatch.context() as patch:
        stock(patch, QONNXManager, BrevitasWeightQuantProxyHandler)
        report = tm.verify_onnx(export_qonnx(model, tmp_path / "stock.onnx", dynamo), image)
        assert not report.ok
        assert len(report.problems) == 4  # every layer is clean, and so wrong
    report = tm.verify_onnx(export_qonnx(model, tmp_path / "ours.onnx", dynamo), image)
    assert report.ok, report
    out, _ = run_qonnx(tmp_path / "ours.onnx")
    assert np.array_equal(out, expected)  # power-of-two scales: exact


def test_qcdq_of_brevitas_through_dynamo(monkeypatch, tmp_path):
    net, image, expected = faulty_network()
    model = net.model
    with monkeypatch.context() as patch:
        stock(patch, StdQCDQONNXManager, StdQCDQCastONNXWeightQuantProxyHandler)
        report = tm.verify_onnx(export_qcdq(model, tmp_path / "stock.onnx", True), image)
        assert len(report.problems) == 4
    report = tm.verify_onnx(export_qcdq(model, tmp_path / "ours.onnx", True), image, inputs=X.numpy(), outputs=expected)
    assert report.ok, report


def test_qcdq_of_brevitas_through_torchscript(monkeypatch, tmp_path):
    model, image, expected = with_lowest_code()
    with monkeypatch.context() as patch:
        stock(patch, StdQCDQONNXManager, StdQCDQCastONNXWeightQuantProxyHandler)
        report = tm.verify_onnx(export_qcdq(model, tmp_path / "stock.onnx", False), image)
        assert not report.ok
        assert "-127 in the file, -128 trained; the file clips -128 away" in str(report)
    report = tm.verify_onnx(export_qcdq(model, tmp_path / "ours.onnx", False), image, inputs=X.numpy(), outputs=expected)
    assert report.ok, report


def test_torch_qcdq_of_brevitas(monkeypatch):
    model, _, expected = with_lowest_code()
    with monkeypatch.context() as patch:
        stock(patch, TorchQCDQManager, TorchQCDQCastWeightQuantProxyHandler)
        assert not np.array_equal(bex.export_torch_qcdq(model, args=X)(X).detach().numpy(), expected)
    assert np.array_equal(bex.export_torch_qcdq(model, args=X)(X).detach().numpy(), expected)


@pytest.mark.parametrize("cache", [False, True])
def test_inference_mode_of_brevitas(monkeypatch, cache):
    net, _, expected = faulty_network()
    model = net.model
    if not cache:
        with monkeypatch.context() as patch, torch.no_grad():
            stock(patch, InferenceManager, IntWeightInferencetHandler)
            with quant_inference_mode(model):
                model(X)
                assert not np.array_equal(model(X).numpy(), expected)
    with torch.no_grad(), quant_inference_mode(model, cache_quant_weight=cache):
        for _ in range(3):
            assert np.array_equal(model(X).numpy(), expected)
    assert np.array_equal(model(X).detach().numpy(), expected)
    net.clear_faults_()
    with torch.no_grad():
        healthy = model(X)
        with quant_inference_mode(model, cache_quant_weight=cache):
            model(X)
            assert torch.allclose(model(X), healthy, atol=1e-6)


def test_inference_mode_with_groups():
    name = "FaultyMXInt8Weight"
    model = nn.Sequential(qnn.QuantLinear(21, 5, bias=False, weight_quant=getattr(tq, name), **options_of(name))).eval()
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    x = torch.randn(2, 21)
    with torch.no_grad():
        expected = model(x)
        with quant_inference_mode(model):
            model(x)
            assert torch.equal(model(x), expected)


# ------------------------------------------------------------------ ours


def of_width(base, width, **more):
    return type("Own", (base,), {"bit_width": width, **more})


QUANTIZERS = {
    "fixed_point": QUANT,
    "fixed_point_per_channel": tq.FaultyInt8WeightPerChannelFixedPoint,
    "float": tq.FaultyInt8WeightPerTensorFloat,
    "float_per_channel": tq.FaultyInt8WeightPerChannelFloat,
    "unsigned": tq.FaultyShiftedUint8WeightPerTensorFloat,
    "decoupled": tq.FaultyInt8WeightPerChannelFloatDecoupled,
    "2_bits": of_width(QUANT, 2),
    "4_bits": of_width(QUANT, 4),
    "7_bits_full_range": of_width(tq.FaultyInt8WeightPerChannelFloat, 7, narrow_range=False),
}


@EXPORTERS
@pytest.mark.parametrize("name", QUANTIZERS)
def test_qcdq_files_hold_the_codes_as_integers(tmp_path, name, dynamo):
    net, image, expected = faulty_network(QUANTIZERS[name])
    net.model.train()
    path = net.export_qcdq(tmp_path / "m.onnx", X, dynamo=dynamo)
    assert net.model.training
    scales = {n: net.model.get_submodule(n).quant_weight().scale.detach().numpy() for n in image.codes}
    report = tm.verify_onnx(path, image, scales=scales, inputs=X.numpy(), outputs=expected)
    assert report.ok, report
    graph = load_onnx(path)
    initializers = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    for layer, initializer in onnx_metadata(path)["layers"].items():
        assert initializers[initializer].dtype.kind in "iu"
        assert np.array_equal(initializers[initializer], image.codes[layer])
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@EXPORTERS
@pytest.mark.parametrize("name", [*QUANTIZERS, "12_bits", "16_bits"])
def test_qonnx_files_hold_the_codes(tmp_path, name, dynamo):
    widths = {"12_bits": 12, "16_bits": 16}
    quantizer = of_width(tq.FaultyInt8WeightPerChannelFloat, widths[name]) if name in widths else QUANTIZERS[name]
    net, image, expected = faulty_network(quantizer)
    path = net.export_qonnx(tmp_path / "m.onnx", X, dynamo=dynamo)
    report = tm.verify_onnx(path, image)
    assert report.ok, report
    out, clean = run_qonnx(path)
    assert np.abs(out - expected).max() <= 1e-6 * np.abs(expected).max()
    # qonnx itself: the annotated type, and its own quantization of the initializer divided by the scale.
    left = list(image.codes)
    for node in clean.graph.node:
        if node.op_type != "Quant" or clean.get_initializer(node.input[0]) is None:
            continue
        value, scale, zero_point = (clean.get_initializer(i) for i in node.input[:3])
        if value.ndim < 2:
            continue
        codes = np.rint(value / scale + zero_point)
        layer = next(n for n in left if image.codes[n].shape == codes.shape and np.array_equal(image.codes[n], codes))
        left.remove(layer)
        placed = net.placement.layer(layer)
        kind = getCustomOp(node).get_integer_datatype(clean).name
        assert kind == f"{'INT' if placed.signed else 'UINT'}{placed.bit_width}"
    assert left == []


@EXPORTERS
def test_without_faults_the_files_are_the_stock_ones(tmp_path, dynamo):
    networks = {}
    for name, quantizer in (("plain", Int8WeightPerTensorFixedPoint), ("ours", QUANT)):
        torch.manual_seed(0)
        networks[name] = DigitsNet(weight_quant=quantizer)
        networks[name](X)
        networks[name].eval()
    for write in (export_qcdq, export_qonnx):
        files = [write(m, tmp_path / f"{n}.onnx", dynamo) for n, m in networks.items()]
        graphs = [onnx.load(f) for f in files]
        assert [n.op_type for n in graphs[0].graph.node] == [n.op_type for n in graphs[1].graph.node]
        values = [sorted(numpy_helper.to_array(i).tobytes() for i in g.graph.initializer) for g in graphs]
        assert values[0] == values[1]


LAYERS = {
    "conv1d": (lambda: qnn.QuantConv1d(1, 4, 3, weight_quant=QUANT), torch.randn(2, 1, 8)),
    "conv_transpose": (lambda: qnn.QuantConvTranspose2d(1, 4, 3, weight_quant=QUANT), torch.randn(2, 1, 5, 5)),
    "grouped": (lambda: qnn.QuantConv2d(4, 4, 3, groups=2, weight_quant=QUANT), torch.randn(2, 4, 6, 6)),
    "linear_without_bias": (lambda: qnn.QuantLinear(6, 4, bias=False, weight_quant=QUANT), torch.randn(2, 6)),
}


@EXPORTERS
@pytest.mark.parametrize("family", LAYERS)
def test_layer_families(tmp_path, family, dynamo):
    make, x = LAYERS[family]
    torch.manual_seed(0)
    model = nn.Sequential(make()).eval()
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    image = net.memory_image()
    with torch.no_grad():
        expected = model(x).numpy()
    path = net.export_qcdq(tmp_path / "qcdq.onnx", x, dynamo=dynamo)
    report = tm.verify_onnx(path, image, inputs=x.numpy(), outputs=expected)
    assert report.ok, report
    assert tm.verify_onnx(net.export_qonnx(tmp_path / "qonnx.onnx", x, dynamo=dynamo), image).ok


def shared_network():
    torch.manual_seed(0)
    first = qnn.QuantLinear(6, 6, bias=False, weight_quant=QUANT)
    model = nn.Sequential(first, qnn.QuantLinear(6, 6, bias=False, weight_quant=first.weight_quant)).eval()
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    return net


@pytest.mark.parametrize("write", ["export_qcdq", "export_qonnx"])
def test_shared_quantizers_or_the_way_out(tmp_path, write):
    net = shared_network()
    x = torch.randn(2, 6)
    with pytest.raises(RuntimeError, match="layer '0': its weight quantizer serves several weights, .*dynamo=False"):
        getattr(net, write)(tmp_path / "m.onnx", x)
    assert list(tmp_path.iterdir()) == []
    assert brevitas.config._ONGOING_EXPORT is None
    path = getattr(net, write)(tmp_path / "m.onnx", x, dynamo=False)
    assert tm.verify_onnx(path, net.memory_image()).ok


def test_a_quantized_bias_goes_through_torchscript(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        qnn.QuantIdentity(return_quant_tensor=True), qnn.QuantLinear(6, 4, bias=True, weight_quant=QUANT, bias_quant=Int32Bias)
    ).eval()
    x = torch.randn(2, 6)
    model(x)
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    with torch.no_grad():
        expected = model(x).numpy()
    path = net.export_qcdq(tmp_path / "m.onnx", x, dynamo=False)
    report = tm.verify_onnx(path, net.memory_image(), inputs=x.numpy(), outputs=expected)
    assert report.ok, report


def test_groups_are_refused_with_a_reason(tmp_path):
    name = "FaultyMXInt8Weight"
    model = nn.Sequential(qnn.QuantLinear(16, 5, bias=False, weight_quant=getattr(tq, name), **options_of(name)))
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    with pytest.raises(RuntimeError, match="group-wise weight quantization cannot be exported"):
        net.export_qonnx(tmp_path / "m.onnx", torch.randn(1, 16), dynamo=False)


def test_metadata_says_what_made_the_file(tmp_path):
    net, _, _ = faulty_network()
    chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=0.01, seed=0)
    merged = tm.merge(chips, on_conflict="majority")
    net.set_faults_(merged, rule=tm.Rule("nearest"))
    path = net.export_qcdq(tmp_path / "m.onnx", X)
    about = onnx_metadata(path)
    assert about["fault_map"] == merged.digest
    assert about["chips"] == [{"chip": c.chip, "digest": c.digest} for c in chips]
    assert about["placement"] == net.placement.digest
    assert about["image"] == net.memory_image().digest
    assert set(about["store"].values()) == {"nearest"}
    assert json.loads(json.dumps(about)) == about
    export_qcdq(net.model, tmp_path / "other.onnx", True)
    with pytest.raises(ValueError, match="other.onnx: has no metadata of tremap_brevitas"):
        onnx_metadata(tmp_path / "other.onnx")


def test_without_a_map_the_healthy_network_is_written(tmp_path):
    net, faulty, _ = faulty_network()
    net.clear_faults_()
    path = net.export_qcdq(tmp_path / "m.onnx", X)
    assert tm.verify_onnx(path, net.memory_image()).ok
    assert not tm.verify_onnx(path, faulty).ok
    about = onnx_metadata(path)
    assert about["fault_map"] == tm.FaultMap(net.placement.memory, [], []).digest
    assert about["chips"] == []
    assert set(about["store"].values()) == {None}


BEHIND_ITS_BACK = {
    "another_map": lambda net: tm.PlacedModel(net.model, net.placement).set_faults_(a_chip(net.placement, seed=1)),
    "cleared": lambda net: tm.PlacedModel(net.model, net.placement).clear_faults_(),
    "restored": lambda net: tm.make_faulty(tm.restore(net.model)),
}


@pytest.mark.parametrize("change", BEHIND_ITS_BACK)
def test_a_model_changed_behind_the_placed_models_back_is_refused(tmp_path, change):
    net, _, _ = faulty_network()
    BEHIND_ITS_BACK[change](net)
    for export in (net.export_qcdq, net.export_qonnx, net.export):
        with pytest.raises(ValueError, match="layer 'features.0': something other than this placed model changed its faults"):
            export(tmp_path / "m", X)
    assert list(tmp_path.iterdir()) == []


def test_codes_that_break_the_live_map_are_refused(monkeypatch, tmp_path):
    """Whatever may have gone wrong in setting the faults: what leaves must satisfy the map that it says it was made for."""
    net, _, _ = faulty_network()
    with net.using(None):
        healthy = net.memory_image()
    monkeypatch.setattr(net, "memory_image", lambda: healthy)
    with pytest.raises(ValueError, match="codes do not satisfy the fault map of chip 'chip': .* weights? differs?, by"):
        net.export_qcdq(tmp_path / "m.onnx", X)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ verify_onnx catches what is wrong


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    net, image, expected = faulty_network()
    path = net.export_qcdq(tmp_path_factory.mktemp("onnx") / "m.onnx", X)
    scales = {n: net.model.get_submodule(n).quant_weight().scale.detach().numpy() for n in image.codes}
    return path, image, scales, expected


def changed(path, name, change):
    target = path.with_name("changed.onnx")
    shutil.copy(path, target)
    change_initializer(target, name, change)
    return target


def test_one_flipped_bit_is_caught(exported):
    path, image, _, _ = exported

    def flip(array):
        array[3, 2, 1, 0] ^= 1

    name = onnx_metadata(path)["layers"]["features.3"]
    report = tm.verify_onnx(changed(path, name, flip), image)
    assert len(report.problems) == 1
    assert f"layer 'features.3': 1 of 3456 codes differ in {name!r}, the first at [3,2,1,0]" in report.problems[0]


def test_a_changed_scale_is_caught(exported):
    path, image, scales, expected = exported
    graph = load_onnx(path)
    name = onnx_metadata(path)["layers"]["classifier"]
    (scale,) = [n.input[1] for n in graph.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == name]
    sharing = sum(n.input[1] == scale for n in graph.graph.node if n.op_type == "DequantizeLinear")

    def double(array):
        array *= 2

    target = changed(path, scale, double)
    report = tm.verify_onnx(target, image, scales=scales)
    assert len(report.problems) == sharing
    assert "layer 'classifier': scale" in str(report)
    assert not tm.verify_onnx(target, image, inputs=X.numpy(), outputs=expected).ok


def test_other_outputs_and_other_networks_are_caught(exported):
    path, image, _, expected = exported
    report = tm.verify_onnx(path, image, inputs=X.numpy(), outputs=expected * 1.001)
    assert "outputs differ by" in report.problems[0]
    _, other, _ = faulty_network(tq.FaultyInt8WeightPerTensorFloat)
    assert len(tm.verify_onnx(path, other).problems) == 4
    small = nn.Sequential(qnn.QuantLinear(3, 2, bias=False, weight_quant=QUANT))
    report = tm.verify_onnx(path, a_net(small).memory_image())
    assert "layer '0': no quantized weight of shape (2, 3) left in the graph; it has (16, 1, 3, 3), " in str(report)
    assert "does NOT hold the network" in str(report)


def test_bad_files(tmp_path, exported):
    path, image, *_ = exported
    with pytest.raises(FileNotFoundError):
        tm.verify_onnx(tmp_path / "none.onnx", image)
    (tmp_path / "bad.onnx").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="bad.onnx: not an ONNX file, or damaged"):
        tm.verify_onnx(tmp_path / "bad.onnx", image)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="empty.onnx: an ONNX file without a single node"):
        tm.verify_onnx(tmp_path / "empty.onnx", image)
    with pytest.raises(ValueError, match="inputs and outputs together"):
        tm.verify_onnx(path, image, inputs=X.numpy())
    assert [w.integer for w in onnx_weights(load_onnx(path))] == [True] * 4
