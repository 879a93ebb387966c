"""Layers are told apart in a graph by what they are, never by codes that others have too."""

import contextlib
import copy

import brevitas.nn as qnn
import numpy as np
import onnx
import pytest
import torch
from groups import signed
from helpers import a_net
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_runner, onnx_weights
from tremap_brevitas.onnx_files.tell_apart import marked_codes
from tremap_brevitas.onnx_files.weights import set_metadata
from tremap_brevitas.placement import LayerCodes, linear_placement

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint
EXPORTERS = pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
FORMS = pytest.mark.parametrize("form", ["qcdq", "qonnx"])
X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


class Equal(nn.Module):
    """Two layers of equal codes, which run in another order than they are listed in; ``factor`` moves one's scale."""

    def __init__(self, factor=1):
        super().__init__()
        self.second = qnn.QuantLinear(8, 8, bias=False, weight_quant=QUANT)
        self.first = copy.deepcopy(self.second)
        with torch.no_grad():
            self.first.weight *= factor

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Twice(nn.Module):
    """One layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.layer = qnn.QuantLinear(8, 8, bias=False, weight_quant=QUANT)

    def forward(self, x):
        return self.layer(torch.relu(self.layer(x)))


class Unused(Equal):
    """The placed layer is never run; another one has its codes."""

    def forward(self, x):
        return self.second(x)


def outputs_of(path, form, x):
    if form == "qcdq":
        return onnx_runner(path)(x)
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    model = cleanup_model(ModelWrapper(str(path)))
    return next(iter(execute_onnx(model, {model.graph.input[0].name: x}).values()))


def bundle(model, tmp_path, form, dynamo, stuck, **placing):
    """(folder, chip, what the chip computes): a chip with the sign bits of ``stuck`` at 1."""
    model.eval()
    net = a_net(model, **placing)
    placement = net.placement
    chip = tm.FaultMap(placement.memory, sorted(placement.cell(stuck, i, bit=7) for i in range(8)), [1] * 8, "chip")
    net.set_faults_(tm.FaultMap(placement.memory, [], [], "healthy"))
    folder = net.export(tmp_path / "b", X, chips=[chip], dynamo=dynamo, onnx_forms=[form])
    with net.using_codes(net.certificate(chip).read()), torch.no_grad():
        return folder, chip, model(X).numpy()


@EXPORTERS
@FORMS
@pytest.mark.parametrize("factor", [1, 4])
def test_equal_layers(tmp_path, form, dynamo, factor):
    torch.manual_seed(0)
    model = Equal(factor)
    folder, chip, expected = bundle(model, tmp_path, form, dynamo, "first")
    path = tm.apply_to_onnx(folder, chip, tmp_path / "chip.onnx", form=form)
    np.testing.assert_allclose(outputs_of(path, form, X.numpy()), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    image = tm.Bundle.load(folder).image
    scales = {n: model.get_submodule(n).quant_weight().scale.detach().numpy() for n in image.codes}
    report = tm.verify_onnx(folder / f"model.{form}.onnx", image, scales=scales)
    assert report.ok, report


@EXPORTERS
@FORMS
def test_a_layer_that_is_used_twice(tmp_path, form, dynamo):
    torch.manual_seed(0)
    folder, chip, expected = bundle(Twice(), tmp_path, form, dynamo, "layer")
    path = tm.apply_to_onnx(folder, chip, tmp_path / "chip.onnx", form=form)
    np.testing.assert_allclose(outputs_of(path, form, X.numpy()), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    name = onnx_metadata(path)["layers"]["layer"]
    assert {w.initializer for w in onnx_weights(load_onnx(path))} == {name}


@EXPORTERS
@FORMS
def test_an_equal_layer_that_is_not_placed(tmp_path, form, dynamo):
    """Its weights lie elsewhere, and no chip's faults may reach them."""
    torch.manual_seed(0)
    folder, chip, expected = bundle(Equal(), tmp_path, form, dynamo, "first", include="first")
    path = tm.apply_to_onnx(folder, chip, tmp_path / "chip.onnx", form=form)
    np.testing.assert_allclose(outputs_of(path, form, X.numpy()), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@FORMS
def test_a_layer_that_the_graph_does_not_have(tmp_path, form):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="layer 'first': 1 of 64 codes differ|layer 'first': no quantized weight"):
        bundle(Unused(), tmp_path, form, False, "first", include="first")
    assert list(tmp_path.iterdir()) == []


def test_files_of_brevitas_are_matched_by_scale_and_name(tmp_path):
    import brevitas.export

    for factor in (1, 4):
        torch.manual_seed(0)
        model = Equal(factor).eval()
        image = a_net(model).memory_image()
        scales = {n: model.get_submodule(n).quant_weight().scale.detach().numpy() for n in image.codes}
        path = tmp_path / f"{factor}.onnx"
        brevitas.export.export_qonnx(model, args=X, export_path=str(path), dynamo=False)
        report = tm.verify_onnx(path, image, scales=scales)
        assert report.ok, report
        assert report.layers == {"first": "first.weight", "second": "second.weight"}


def test_bundles_that_do_not_say_which_weight_is_whose_are_not_applied(tmp_path):
    """As earlier versions wrote them: by the codes, so that the names may be swapped."""
    torch.manual_seed(0)
    folder, chip, _ = bundle(Equal(), tmp_path, "qcdq", False, "first")
    graph = load_onnx(folder / "model.qcdq.onnx")
    set_metadata(graph, {**onnx_metadata(folder / "model.qcdq.onnx"), "schema": 1})
    onnx.save(graph, folder / "model.qcdq.onnx")
    signed(folder)
    assert tm.verify_bundle(folder, [chip]).ok
    with pytest.raises(ValueError, match="layer 'first' has the codes of another one, or is used twice, and an older version"):
        tm.apply_to_onnx(folder, chip, tmp_path / "chip.onnx")
    assert not (tmp_path / "chip.onnx").exists()


@given(st.data())
def test_marked_codes(data):
    bits = data.draw(st.integers(2, 8))
    encoding = data.draw(st.sampled_from(["twos_complement", "binary", "sign_magnitude"]))
    low, high = tm.codes.code_range(bit_width=bits, encoding=encoding)
    shapes = data.draw(st.lists(st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2), (2,)]), min_size=1, max_size=5))
    layers = [LayerCodes(f"l{i}", shape, bits, encoding) for i, shape in enumerate(shapes)]
    placement = linear_placement(layers, tm.Memory(words=200, word_bits=8))
    codes = {x.name: np.full(x.shape, data.draw(st.integers(low, high)), dtype=np.int32) for x in layers}
    others = [np.full((2, 2), low, dtype=np.int32), np.full((1, 2), high, dtype=np.int32)]
    image = tm.MemoryImage(placement, codes)
    if min(np.prod(s) for s in shapes) * (high - low) < 6:
        with contextlib.suppress(ValueError):  # perhaps too few to tell them apart
            marked_codes(image, others)
        return
    marked = marked_codes(image, others)
    held = [(c.shape, c.tobytes()) for c in ({**codes, **marked}).values()]
    assert len(set(held)) == len(held)
    assert not set(held) & {(c.shape, c.tobytes()) for c in others}
    for name, values in marked.items():
        assert low <= values.min() <= values.max() <= high
        assert (values != codes[name]).sum() == 1


def test_too_few_codes_to_tell_layers_apart():
    layers = [LayerCodes(f"l{i}", (1, 1), 2, "sign_magnitude") for i in range(4)]
    placement = linear_placement(layers, tm.Memory(words=200, word_bits=8))
    image = tm.MemoryImage(placement, {x.name: np.zeros((1, 1), dtype=np.int32) for x in layers})
    with pytest.raises(ValueError, match="layer 'l3': 1 code of 2 bits cannot tell it from the other layers"):
        marked_codes(image, [])
