"""Random networks, quantizers, placements and maps: the files alone say what the oracle says."""

import brevitas.nn as qnn
import numpy as np
import torch
from helpers import expected_codes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_weights

QUANTIZERS = (
    "FaultyInt8WeightPerTensorFixedPoint",
    "FaultyInt8WeightPerChannelFixedPoint",
    "FaultyInt8WeightPerTensorFloat",
    "FaultyInt8WeightPerChannelFloat",
    "FaultyInt8WeightPerChannelFloatDecoupled",
    "FaultyInt4WeightPerTensorFixedPointDecoupled",
    "FaultyShiftedUint8WeightPerTensorFloat",
    "FaultyShiftedUint8WeightPerChannelFloat",
)


@st.composite
def networks(draw):
    """(network, input)."""

    def quantizer():
        base = getattr(tq, draw(st.sampled_from(QUANTIZERS)))
        bits = draw(st.sampled_from([None, 2, 3, 5, 7]))
        return base if bits is None or "Decoupled" in base.__name__ else type("Narrower", (base,), {"bit_width": bits})

    a, b, c = (draw(st.integers(1, 6)) for _ in range(3))
    torch.manual_seed(draw(st.integers(0, 1000)))
    if draw(st.booleans()):
        layers = [
            qnn.QuantConv2d(a, b, draw(st.sampled_from([1, 3])), padding=1, weight_quant=quantizer()),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            qnn.QuantLinear(b, c, bias=True, weight_quant=quantizer()),
        ]
        x = torch.randn(2, a, 5, 5)
    else:
        layers = [
            qnn.QuantLinear(a, b, bias=draw(st.booleans()), weight_quant=quantizer()),
            nn.ReLU(),
            qnn.QuantLinear(b, c, bias=True, weight_quant=quantizer()),
        ]
        x = torch.randn(2, a)
    return nn.Sequential(*layers).eval(), x


@given(
    made=networks(),
    word_bits=st.integers(8, 40),
    fault_rate=st.sampled_from([0.0, 0.02, 0.2]),
    encoding=st.sampled_from(["twos_complement", "offset_binary"]),
    on_conflict=st.sampled_from(["majority", "sa0", "sa1", "free"]),
    store=st.sampled_from(["plain", "nearest"]),
    deployment=st.sampled_from(["group_image", "chip_image"]),
    memory_format=st.sampled_from(["readmemh", "amd_mif", "coe", "altera_mif", "intel_hex", "raw"]),
    reuse=st.booleans(),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_bundle(
    tmp_path_factory,
    made,
    word_bits,
    fault_rate,
    encoding,
    on_conflict,
    store,
    deployment,
    memory_format,
    reuse,
):
    model, x = made
    needed = tm.place(model, tm.Memory(words=1000, word_bits=word_bits)).placement.words
    memory = tm.Memory(words=max(1, needed // 2) if reuse else needed + 1, word_bits=word_bits)
    net = tm.place(model, memory, reuse=reuse, encoding=encoding)
    chips = tm.random_fault_maps(memory, chips=3, fault_rate=fault_rate, seed=0)
    merged = tm.merge(chips, on_conflict=on_conflict)
    healthy = net.memory_image().codes
    net.set_faults_(merged, rule=tm.Rule(store))
    trained = expected_codes(healthy, net.placement, merged, store)
    folder = tmp_path_factory.mktemp("any") / "b"
    net.export(folder, x, deployment=deployment, memory_format=memory_format, dynamo=False)
    report = tm.verify_bundle(folder, chips)
    assert report.ok, report
    bundle = tm.Bundle.load(folder)
    assert all(np.array_equal(bundle.image.codes[name], codes) for name, codes in trained.items())
    rule = "plain" if deployment == "group_image" else "nearest"
    for chip, proof in zip(chips, report.certificates, strict=True):
        expected = expected_codes(trained, net.placement, chip, rule)
        assert all(np.array_equal(codes, expected[name]) for name, codes in proof.read().items())
    path = tm.apply_to_onnx(bundle, chips[0], folder.with_name("chip.onnx"))
    expected = expected_codes(trained, net.placement, chips[0], rule)
    weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(path))}
    for layer, initializer in onnx_metadata(path)["layers"].items():
        assert np.array_equal(weights[initializer], expected[layer])
