"""Whatever becomes of an export, the model is as before: attributes, caches, modes, gradients, outputs."""

import brevitas.config
import brevitas.export as bex
import brevitas.nn as qnn
import pytest
import torch
from helpers import a_chip, a_net, options_of
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.onnx_export.export import on_cpu

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint
GROUPED = "FaultyMXInt8Weight"


class Branches(nn.Module):
    """torch.export refuses it, TorchScript does not; a QuantTensor runs through it."""

    def __init__(self):
        super().__init__()
        self.first = qnn.QuantLinear(16, 16, bias=False, weight_quant=QUANT)
        self.relu = qnn.QuantReLU(return_quant_tensor=True)
        self.last = qnn.QuantLinear(16, 4, bias=False, weight_quant=QUANT)

    def forward(self, x):
        y = self.last(self.relu(self.first(x)))
        return y if y.sum() > 0 else -y


def wide_activation():
    options = {"bias": False, "weight_quant": QUANT}
    return nn.Sequential(
        qnn.QuantLinear(16, 16, **options), qnn.QuantReLU(bit_width=12), nn.Dropout(0.5), qnn.QuantLinear(16, 4, **options)
    )


def with_groups():
    grouped = qnn.QuantLinear(16, 4, bias=False, weight_quant=getattr(tq, GROUPED), **options_of(GROUPED))
    return nn.Sequential(qnn.QuantLinear(16, 16, bias=False, weight_quant=QUANT), grouped)


def binary_activation():
    return nn.Sequential(qnn.QuantLinear(16, 4, bias=False, weight_quant=QUANT), qnn.QuantIdentity(bit_width=1))


def prepared(make):
    torch.manual_seed(0)
    model = make()
    x = torch.randn(4, 16)
    model(x)
    model.train()
    next(model.children()).eval()  # modules may be in different modes
    list(model.parameters())[-1].requires_grad_(False)
    net = a_net(model)
    net.set_faults_(a_chip(net.placement, rate=0.05))
    return net, x


def state(model):
    """All that hangs on a model: values of numbers and names, identities of the rest."""

    def told(value):
        if isinstance(value, dict):
            return [(key, id(value[key])) for key in value]
        if isinstance(value, list):
            return [id(entry) for entry in value]
        return value if isinstance(value, (bool, int, float, str, type(None))) else id(value)

    attributes = {(name, key): told(value) for name, module in model.named_modules() for key, value in module.__dict__.items()}
    return attributes, [p.requires_grad for p in model.parameters()], [t.clone() for t in model.state_dict().values()]


def check_same(model, before):
    now = state(model)
    assert now[0] == before[0]
    assert now[1] == before[1]
    assert all(torch.equal(a, b) for a, b in zip(now[2], before[2], strict=True))
    assert brevitas.config._ONGOING_EXPORT is None


def check_alive(net, x, expected):
    """Outputs follow weights and faults, and gradients flow."""
    model = net.model
    model.eval()
    assert torch.equal(model(x), expected)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model(x).square().sum().backward()
    weights = [m.weight for m in model.modules() if hasattr(m, "weight_quant")]
    assert all(w.grad is not None for w in weights)
    net.clear_faults_()
    assert not torch.equal(model(x), expected)
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
        assert not model(x).any()


FAILURES = [
    (Branches, "export_qonnx", True),
    (Branches, "export_qcdq", True),
    (wide_activation, "export_qcdq", True),
    (wide_activation, "export_qcdq", False),
    (with_groups, "export_qonnx", True),
    (with_groups, "export_qonnx", False),
    (with_groups, "export_qcdq", False),
    (binary_activation, "export_qcdq", False),
]


@pytest.mark.parametrize(("make", "write", "dynamo"), FAILURES)
def test_after_a_refusal(tmp_path, make, write, dynamo):
    net, x = prepared(make)
    model = net.model
    model.eval()
    expected = model(x).detach()
    model.train()
    before = state(model)
    with pytest.raises(RuntimeError):
        getattr(net, write)(tmp_path / "m.onnx", x, dynamo=dynamo)
    check_same(model, before)
    assert list(tmp_path.iterdir()) == []
    if make is Branches:  # the way out
        path = getattr(net, write)(tmp_path / "m.onnx", x, dynamo=False)
        assert tm.verify_onnx(path, net.memory_image()).ok
    if make is not binary_activation:
        check_alive(net, x, expected)


@pytest.mark.parametrize(("make", "write", "dynamo"), FAILURES)
def test_after_a_refusal_through_brevitas_own_functions(tmp_path, make, write, dynamo):
    net, x = prepared(make)
    model = net.model
    model.eval()
    expected = model(x).detach()
    model.train()
    before = state(model)
    own = bex.export_qonnx if write == "export_qonnx" else bex.export_onnx_qcdq
    with pytest.raises((RuntimeError, AssertionError)):
        own(model, args=x, export_path=str(tmp_path / "m.onnx"), dynamo=dynamo)
    check_same(model, before)
    if make is not binary_activation:
        check_alive(net, x, expected)


def test_after_a_refusal_of_torch_qcdq():
    net, x = prepared(with_groups)
    model = net.model
    model.eval()
    expected = model(x).detach()
    before = state(model)
    with pytest.raises(RuntimeError, match="group-wise weight quantization cannot be exported"):
        bex.export_torch_qcdq(model, args=x)
    check_same(model, before)
    check_alive(net, x, expected)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("write", ["export_qcdq", "export_qonnx"])
def test_after_success(tmp_path, write, dynamo):
    net, x = prepared(lambda: nn.Sequential(*list(Branches().children())))
    model = net.model
    model.eval()
    expected = model(x).detach()
    model.train()
    before = state(model)
    getattr(net, write)(tmp_path / "m.onnx", x, dynamo=dynamo)
    check_same(model, before)
    check_alive(net, x, expected)


def test_groups_are_refused_by_the_name_of_the_layer(tmp_path):
    net, x = prepared(with_groups)
    for dynamo in (False, True):
        with pytest.raises(RuntimeError, match="layer '1': group-wise weight quantization cannot be exported to ONNX"):
            net.export_qcdq(tmp_path / "m.onnx", x, dynamo=dynamo)


def test_a_network_on_the_cpu_is_exported_itself():
    net = a_net(wide_activation().eval())
    assert on_cpu(net) is net  # one on a GPU is copied: tests/test_gpu.py
