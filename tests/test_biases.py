"""Biases in the same memory as the weights: placed, stuck, trained, certified, exported."""

import brevitas.nn as qnn
import numpy as np
import onnx
import pytest
import torch
from brevitas.export import export_torch_qcdq
from brevitas.export.inference.manager import quant_inference_mode
from brevitas.quant import (
    Int8BiasPerTensorFixedPointInternalScaling,
    Int8BiasPerTensorFloatInternalScaling,
    Int8WeightPerTensorFixedPoint,
    Int16Bias,
    Uint8ActPerTensorFixedPoint,
)
from helpers import a_net, expected_codes
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.onnx_files.run import onnx_runner

X = torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(1))


class TwelveBits(Int8BiasPerTensorFloatInternalScaling):
    bit_width = 12


def a_network(bias_quant=Int8BiasPerTensorFloatInternalScaling):
    torch.manual_seed(0)
    options = {"weight_quant": Int8WeightPerTensorFixedPoint, "bias_quant": bias_quant}
    model = nn.Sequential(
        qnn.QuantConv2d(2, 24, 3, **options),
        qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint),
        nn.Flatten(),
        qnn.QuantLinear(24 * 16, 10, **options),
    )
    model(X)
    return model.eval()


def a_group(placement, chips=3, fault_rate=0.05):
    return tm.random_fault_maps(placement.memory, chips=chips, fault_rate=fault_rate, seed=2)


def bias_codes(model):
    return {f"{n}.bias": model[n].quant_bias().int().numpy().astype(np.int32) for n in (0, 3)}


def test_a_bias_lies_behind_its_layers_weights():
    model = tm.make_faulty(a_network(), biases=True)
    placement = a_net(model).placement
    assert [layer.name for layer in placement.layers] == ["0", "0.bias", "3", "3.bias"]
    assert placement.layer("0.bias").first_word == placement.layer("0").words
    assert str(placement.weights_at(placement.cell("3.bias", 9, bit=7))[0]) == "bit 7 of 3.bias[9]"
    assert [layer.name for layer in a_net(model, exclude="*.bias").placement.layers] == ["0", "3"]
    assert [layer.name for layer in a_net(tm.make_faulty(a_network())).placement.layers] == ["0", "3"]
    with pytest.raises(ValueError, match="biases=True, but no layer of Sequential has a quantized bias"):
        tm.make_faulty(a_network(None), biases=True)


@pytest.mark.parametrize("bias_quant", [Int8BiasPerTensorFixedPointInternalScaling, TwelveBits])
@pytest.mark.parametrize("store", ["plain", "nearest"])
@pytest.mark.parametrize("encoding", ["twos_complement", "offset_binary"])
def test_stuck_bits_against_the_oracle(bias_quant, store, encoding):
    healthy = a_network(bias_quant)
    model = tm.make_faulty(a_network(bias_quant), biases=True)
    torch.testing.assert_close(model(X), healthy(X), rtol=0, atol=0)
    net = a_net(model, encoding=encoding)
    (chip,) = a_group(net.placement, 1, 0.2)
    wanted = bias_codes(healthy)
    weights = {name: net.codes(name).wanted for name in ("0", "3")}
    expected = expected_codes({**weights, **wanted}, net.placement, chip, store)
    with net.using(chip, rule=tm.Rule(store)):
        for name in wanted:
            assert (expected[name] != wanted[name]).any()
            np.testing.assert_array_equal(net.codes(name).wanted, wanted[name])
            np.testing.assert_array_equal(net.codes(name).read_back, expected[name])
            scale = model[int(name[0])].quant_bias().scale
            value = model[int(name[0])].quant_bias().value
            torch.testing.assert_close(value, torch.from_numpy(expected[name]).float() * scale, rtol=0, atol=1e-7)
        assert not torch.equal(model(X), healthy(X))
    torch.testing.assert_close(model(X), healthy(X), rtol=0, atol=0)


@pytest.mark.parametrize("bias_quant", [Int8BiasPerTensorFloatInternalScaling, TwelveBits])
@pytest.mark.parametrize("store", ["plain", "nearest"])
@pytest.mark.parametrize("gradient", ["identity", "zero_fully_stuck"])
def test_gradients_of_stuck_biases(bias_quant, store, gradient):
    """Straight through rounding and cells alike; a bias all of whose bits are stuck may be left without."""
    healthy = a_network(bias_quant)[3]
    layer = tm.make_faulty(nn.Sequential(a_network(bias_quant)[3]), biases=True)[0]
    net = a_net(layer)
    bits = net.placement.layer("bias").bit_width
    cells = {net.placement.cell("bias", i, bit=b): b % 2 for i in (0, 3) for b in range(bits)}
    cells |= {net.placement.cell("bias", i, bit=b): (i + b) % 2 for i in (1, 5, 7) for b in (0, 3, bits - 1)}
    chip = tm.FaultMap(net.placement.memory, list(cells), list(cells.values()), "chip")
    wanted = healthy.quant_bias().int().numpy().astype(np.int32)
    read = expected_codes({"bias": wanted}, net.placement, chip, store)["bias"]
    weighting = torch.randn(10, generator=torch.Generator().manual_seed(3))
    # The healthy layer's own scale, and the codes by the oracle.
    scale = healthy.quant_bias().scale
    codes = healthy.bias / scale
    if gradient == "zero_fully_stuck":
        codes = torch.where(torch.isin(torch.arange(10), torch.tensor([0, 3])), codes.detach(), codes)
    value = (codes + (torch.from_numpy(read) - codes).detach()) * scale
    (value * weighting).sum().backward()
    net.set_faults_(chip, rule=tm.Rule(store, gradient))
    bias = layer.quant_bias().value
    (bias * weighting).sum().backward()
    torch.testing.assert_close(bias, value, rtol=0, atol=1e-6)
    torch.testing.assert_close(layer.bias.grad, healthy.bias.grad, rtol=0, atol=1e-5)
    passing = [i for i in range(10) if i != int(healthy.bias.detach().abs().argmax())]  # this one has the scale's as well
    assert [i for i in passing if layer.bias.grad[i] == 0] == [i for i in passing if i in (0, 3) and gradient != "identity"]
    # Through the whole layer as well: the bias is added to every output.
    layer.bias.grad = None
    (layer(X[:, 0].reshape(6, -1).repeat(1, 11)[:, : 24 * 16]) * weighting).sum().backward()
    torch.testing.assert_close(layer.bias.grad, 6 * healthy.bias.grad, rtol=0, atol=1e-4)


def test_one_retraining_for_a_group_and_its_certificates():
    model = tm.make_faulty(a_network(), biases=True).train()
    net = a_net(model)
    merged = tm.merge(a_group(net.placement), on_conflict="majority")
    strategy = tm.ReadByMembers(net, merged, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    before = model[0].bias.detach().clone()
    for _ in range(4):
        optimizer.zero_grad()
        model(X).square().mean().backward()
        optimizer.step()
        strategy.step()
    assert not torch.equal(model[0].bias, before)
    model.eval()
    net.set_faults_(merged)
    image = net.memory_image()
    assert tm.placement.certificate(image, merged).bit_exact
    for member in merged.members:
        read = tm.placement.certificate(image, member).read()
        stored = expected_codes(dict(image.codes), net.placement, member, "plain")
        np.testing.assert_array_equal(read["3.bias"], stored["3.bias"])
        with net.using_codes(read):
            assert torch.isfinite(model(X)).all()
            np.testing.assert_array_equal(net.codes("0.bias").read_back, read["0.bias"])


def test_state_dicts_and_the_way_back():
    plain = a_network()
    model = tm.make_faulty(a_network(), biases=True)
    assert list(model.state_dict()) == list(plain.state_dict())
    net = a_net(model)
    (chip,) = a_group(net.placement, 1)
    net.set_faults_(chip)
    faulty = model(X)
    model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(model(X), faulty, rtol=0, atol=0)
    tm.restore(model)
    assert type(model[0].bias_quant) is type(plain[0].bias_quant)
    torch.testing.assert_close(model(X), plain(X), rtol=0, atol=0)


def test_a_bundle_holds_the_biases_and_runs_as_a_chip_reads_them(tmp_path):
    model = tm.make_faulty(a_network(), biases=True)
    net = a_net(model)
    chips = a_group(net.placement)
    merged = tm.merge(chips, on_conflict="majority")
    net.set_faults_(merged)
    bundle = net.export(tmp_path / "group", X[:1], chips=chips, probe=X, dynamo=False)
    report = tm.verify_bundle(bundle, chips)
    assert report.ok, str(report)
    image = net.memory_image()
    for form in ("qonnx", "qcdq"):
        assert tm.verify_onnx(bundle / f"model.{form}.onnx", image).ok
    (chip,) = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=0.2, seed=7)  # no member: much reads differently
    assert {d.layer for d in tm.placement.certificate(image, chip).differences} == {"0", "0.bias", "3", "3.bias"}
    path = tm.apply_to_onnx(bundle, chip, tmp_path / "chip.onnx")
    with net.using_codes(tm.placement.certificate(image, chip).read()), torch.no_grad():
        expected = model(X).numpy()
    tm.apply_to_onnx(bundle, chip, tmp_path / "chip.qonnx.onnx", form="qonnx")  # which checks what it wrote, code by code
    np.testing.assert_allclose(onnx_runner(path)(X.numpy()), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    # A bias that was changed in the file is found.
    graph = onnx.load(bundle / "model.qcdq.onnx")
    wrong = next(i for i in graph.graph.initializer if list(i.dims) == [10] and i.data_type == onnx.TensorProto.INT8)
    codes = onnx.numpy_helper.to_array(wrong).copy()
    codes[4] ^= 1
    wrong.CopyFrom(onnx.numpy_helper.from_array(codes, wrong.name))
    onnx.save(graph, tmp_path / "changed.onnx")
    assert "layer '3.bias': 1 of 10 codes differ" in str(tm.verify_onnx(tmp_path / "changed.onnx", image))


class Backwards(nn.Module):
    """Two layers that run in another order than they are listed in, with equal biases."""

    def __init__(self):
        super().__init__()
        options = {"weight_quant": Int8WeightPerTensorFixedPoint, "bias_quant": Int8BiasPerTensorFixedPointInternalScaling}
        self.second, self.first = qnn.QuantLinear(8, 8, **options), qnn.QuantLinear(8, 8, **options)
        with torch.no_grad():
            self.second.bias.copy_(self.first.bias)

    def forward(self, x):
        return self.second(self.first(x).relu())


@pytest.mark.parametrize("form", ["qonnx", "qcdq"])
def test_equal_biases_are_told_apart(tmp_path, form):
    torch.manual_seed(0)
    model = tm.make_faulty(Backwards(), biases=True).eval()
    with torch.no_grad():
        model.first.bias.copy_(model.second.bias)
    net = a_net(model)
    chip = tm.FaultMap(net.placement.memory, [net.placement.cell("first.bias", 0, bit=7)], [1], "chip")
    x = torch.ones(1, 8)
    folder = net.export(tmp_path / "b", x, chips=[chip], onnx_forms=[form], dynamo=False)
    path = tm.apply_to_onnx(folder, chip, tmp_path / "chip.onnx", form=form)
    codes = tm.placement.certificate(net.memory_image(), chip).read()
    assert tm.verify_onnx(path, tm.MemoryImage(net.placement, codes)).ok
    if form == "qcdq":
        with net.using_codes(codes), torch.no_grad():
            np.testing.assert_allclose(onnx_runner(path)(x.numpy()), model(x).numpy(), rtol=0, atol=1e-6)


def test_a_wide_bias_cannot_be_placed():
    class Wide(Int8BiasPerTensorFloatInternalScaling):
        bit_width = 24

    model = tm.make_faulty(a_network(Wide), biases=True)
    with pytest.raises(ValueError, match="layer '0.bias': codes of 24 bits, but at most 16 bits can be placed"):
        a_net(model)


def test_a_shared_quantizer_keeps_its_biases_apart(tmp_path):
    torch.manual_seed(0)
    first = qnn.QuantLinear(6, 6, bias_quant=tq.faulty(Int8BiasPerTensorFloatInternalScaling))
    without = qnn.QuantLinear(6, 6, bias=False, bias_quant=first.bias_quant)
    last = qnn.QuantLinear(6, 6, bias_quant=first.bias_quant)
    model = tm.make_faulty(nn.Sequential(first, without, last)).eval()
    net = a_net(model)
    (chip,) = a_group(net.placement, 1, 0.3)
    wanted = {layer.name: net.codes(layer.name).wanted for layer in net.placement.layers}
    assert list(wanted) == ["0", "0.bias", "1", "2", "2.bias"]
    expected = expected_codes(wanted, net.placement, chip)
    net.set_faults_(chip)
    for name in wanted:
        np.testing.assert_array_equal(net.codes(name).read_back, expected[name])
    assert net.export_qonnx(tmp_path / "x.onnx", torch.ones(1, 6), dynamo=False).exists()
    with pytest.raises(RuntimeError, match="layer '0.bias': Brevitas' QCDQ exporter takes signed biases only, and no"):
        net.export_qcdq(tmp_path / "y.onnx", torch.ones(1, 6), dynamo=False)


def test_brevitas_inference_mode_reads_biases_back():
    model = tm.make_faulty(a_network(), biases=True)
    net = a_net(model)
    (chip,) = a_group(net.placement, 1, 0.2)
    net.set_faults_(chip)
    expected = model(X)
    with torch.no_grad(), quant_inference_mode(model):
        model(X)  # Brevitas notes scales in the first pass
        torch.testing.assert_close(model(X), expected, rtol=1e-5, atol=1e-6)


def test_brevitas_torch_qcdq_holds_the_biases():
    model = tm.make_faulty(a_network(), biases=True)
    net = a_net(model)
    (chip,) = a_group(net.placement, 1, 0.2)
    net.set_faults_(chip)
    expected = model(X)
    torch.testing.assert_close(export_torch_qcdq(model, args=X)(X), expected, rtol=1e-5, atol=1e-5)


def test_the_dynamo_exporter_says_what_it_cannot_do(tmp_path):
    model = tm.make_faulty(a_network(), biases=True)
    net = a_net(model)
    merged = tm.merge(a_group(net.placement), on_conflict="majority")
    net.set_faults_(merged)
    assert net.export_qonnx(tmp_path / "x.onnx", X[:1]).exists()
    with pytest.raises(RuntimeError, match=r"layer '0.bias': .* export with dynamo=False"):
        net.export_qcdq(tmp_path / "y.onnx", X[:1])


def test_a_bias_whose_scale_comes_from_the_input_is_refused():
    with pytest.raises(TypeError, match="Int16Bias cannot hold stuck-at faults: its scale is that of the input times"):
        tq.faulty(Int16Bias)
    model = nn.Sequential(qnn.QuantLinear(3, 2, bias=True, bias_quant=Int16Bias))
    with pytest.raises(
        TypeError, match=r"layer '0.bias': its bias quantizer cannot .* leave the layer out with exclude='0.bias'"
    ):
        tm.make_faulty(model, biases=True)
    tm.make_faulty(model, biases=True, exclude="0.bias")


def test_bad_values_are_named():
    model = nn.Sequential(qnn.QuantLinear(3, 2, bias=True, bias_quant=tq.faulty(Int8BiasPerTensorFloatInternalScaling)))
    tm.make_faulty(model)
    with torch.no_grad():
        model[0].bias[1] = float("nan")
    net = a_net(model)
    with pytest.raises(ValueError, match=r"layer '0.bias': bias\[1\] is nan"):
        net.set_faults_(tm.FaultMap(net.placement.memory, [0], [1]))
