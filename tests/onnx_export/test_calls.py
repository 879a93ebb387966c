"""Models of several inputs and outputs, any batch, NumPy probes; and what is refused before work begins."""

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Uint8ActPerTensorFixedPoint
from helpers import a_chip, a_net
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.bundle.probe import read_probe
from tremap_brevitas.onnx_files import load_onnx, onnx_runner

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint
EXPORTERS = pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])


class Heads(nn.Module):
    """Two inputs; ``returns`` makes the output of two heads and a QuantTensor."""

    def __init__(self, returns=lambda left, right, quantized: (left, right)):
        super().__init__()
        self.left = qnn.QuantLinear(8, 4, bias=False, weight_quant=QUANT)
        self.right = qnn.QuantLinear(8, 2, bias=True, weight_quant=QUANT)
        self.relu = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint, return_quant_tensor=True)
        self.returns = returns

    def forward(self, image, context):
        left, right = self.left(image), self.right(image + context)
        return self.returns(left, right, self.relu(left + right.sum(1, keepdim=True)))


def made(model):
    torch.manual_seed(0)
    x = torch.randn(2, 8), torch.randn(2, 8)
    model(*x)
    model.eval()
    net = a_net(model)
    net.set_faults_(a_chip(net.placement, rate=0.02))
    return net, x


RETURNS = {
    "tuple": lambda left, right, quantized: (left, right),
    "list": lambda left, right, quantized: [right, left],
    "quant_tensor": lambda left, right, quantized: quantized,
    "tuple_with_a_quant_tensor": lambda left, right, quantized: (quantized, right),
}


@EXPORTERS
@pytest.mark.parametrize("dynamic_batch", [False, True])
@pytest.mark.parametrize("kind", RETURNS)
def test_several_inputs_and_outputs(tmp_path, kind, dynamo, dynamic_batch):
    net, x = made(Heads(RETURNS[kind]))
    rng = np.random.default_rng(0)
    probe = tuple(rng.standard_normal((3 if dynamic_batch else 6, 8), dtype=np.float32) for _ in range(2))
    example = tuple(t[:1] for t in x) if dynamic_batch else x
    folder = net.export(tmp_path / "b", example, probe=probe, dynamo=dynamo, dynamic_batch=dynamic_batch)
    report = tm.verify_bundle(folder, [net.fault_map])
    assert report.ok, report
    assert report.inputs == report.inputs_equal == len(probe[0])
    inputs, outputs = read_probe(folder / "probe.npz")
    assert all(np.array_equal(a, b) for a, b in zip(inputs, probe, strict=True))
    with torch.no_grad():
        expected = net.model(*map(torch.tensor, probe))
    expected = expected if kind.startswith(("tuple", "list")) else (expected,)
    expected = [getattr(e, "value", e).numpy() for e in expected]
    assert all(np.array_equal(a, b) for a, b in zip(outputs, expected, strict=True))
    other = a_chip(net.placement, rate=0.1, seed=1)
    run = onnx_runner(tm.apply_to_onnx(folder, other, tmp_path / "chip.onnx"))
    with torch.no_grad(), net.using_codes(net.certificate(other).read()):
        expected = net.model(*map(torch.tensor, probe))
    results = run(*probe)
    if kind == "quant_tensor":
        expected, results = (expected,), (results,)
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a, getattr(b, "value", b).numpy(), rtol=0, atol=1e-5)
    for form in ("qcdq", "qonnx"):
        assert len(load_onnx(folder / f"model.{form}.onnx").graph.input) == 2


def test_verify_onnx_takes_several(tmp_path):
    net, x = made(Heads())
    path = net.export_qcdq(tmp_path / "m.onnx", x)
    with torch.no_grad():
        outputs = [y.numpy() for y in net.model(*x)]
    image, inputs = net.memory_image(), [t.numpy() for t in x]
    assert tm.verify_onnx(path, image, inputs=inputs, outputs=outputs).ok
    assert not tm.verify_onnx(path, image, inputs=inputs, outputs=[outputs[0], outputs[1] + 1]).ok
    with pytest.raises(ValueError, match=r"m.onnx: outputs of shape \(2, 4\), \(2, 2\), expected \(2, 2\), \(2, 4\)"):
        tm.verify_onnx(path, image, inputs=inputs, outputs=outputs[::-1])
    with pytest.raises(ValueError, match="m.onnx: 1 input given, but the file has "):
        tm.verify_onnx(path, image, inputs=inputs[:1], outputs=outputs)


REFUSED = {
    "dict": (lambda left, right, quantized: {"left": left}, TypeError, "the model returns a dict, but .* wrap it in"),
    "none": (lambda left, right, quantized: (left, None), TypeError, "returns a tuple of Tensor, NoneType, but"),
    "nested": (lambda left, right, quantized: (left, (right, left)), TypeError, "returns a tuple of Tensor, tuple, but"),
    "no_batch": (lambda left, right, quantized: (left, right.sum()), ValueError, r"output 1 .* shape \(\), .*begin with the"),
    "sum": (lambda left, right, quantized: left.sum(0), ValueError, r"output 0 of the model has shape \(4,\), but every"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_outputs_that_no_file_can_hold(tmp_path, kind):
    returns, error, reason = REFUSED[kind]
    net, x = made(Heads(returns))
    with pytest.raises(error, match=reason):
        net.export(tmp_path / "b", x)
    if error is TypeError:
        for write in (net.export_qcdq, net.export_qonnx):
            with pytest.raises(error, match=reason):
                write(tmp_path / "m.onnx", x)
    assert list(tmp_path.iterdir()) == []


def test_inputs_that_do_not_fit(tmp_path):
    net, x = made(Heads())

    def export(example=x, **more):
        net.export(tmp_path / "b", example, **more)

    halves = tuple(t.half() for t in x)
    with pytest.raises(ValueError, match=r"example_input\[0\] is of float16, but networks are exported in float32"):
        export(halves)
    with pytest.raises(ValueError, match=r"probe\[0\] is of float64, but"):
        export(probe=tuple(t.double().numpy() for t in x))
    with pytest.raises(TypeError, match=r"example_input must be a tensor or an array, or .*; got dict"):
        export({"image": x[0]})
    with pytest.raises(ValueError, match="example_input is empty"):
        export(())
    with pytest.raises(ValueError, match=r"probe has inputs \(2, 8\) torch.float32, but example_input has \(2, 8\)"):
        export(probe=x[0])
    with pytest.raises(ValueError, match=r"probe has inputs \(2, 7\)"):
        export(probe=(x[0][:, :7], x[1]))
    with pytest.raises(ValueError, match="probe has 3 inputs, but example_input has 2, .* or dynamic_batch=True"):
        export(probe=(torch.ones(3, 8), torch.ones(3, 8)))
    with pytest.raises(ValueError, match=r"input 1 of the model has shape \(1, 8\), but every input and output must begin"):
        export((x[0], x[1][:1]))
    net.model.half()
    with pytest.raises(ValueError, match=r"left.weight is of float16, but networks are exported in float32; call model.float"):
        export()
    with pytest.raises(ValueError, match="left.weight is of float16"):
        net.export_qonnx(tmp_path / "m.onnx", x)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_is_right_for_one_batch_only(tmp_path):
    """TorchScript writes the number down; with another number of inputs it shows."""

    class Fixed(Heads):
        def forward(self, image, context):
            both = self.left(image) + self.right(context).sum(1, keepdim=True)
            return both.reshape(int(image.shape[0]), 2, 2)

    net, x = made(Fixed())
    with pytest.raises(ValueError, match="onnxruntime"):
        net.export(tmp_path / "b", x, dynamo=False, dynamic_batch=True)
    assert list(tmp_path.iterdir()) == []
