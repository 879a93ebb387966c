"""A network as one chip computes it, as an ONNX file."""

import numpy as np
import pytest
from groups import Group
from groups import X as INPUTS
from helpers import a_chip

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_weights

X = INPUTS["digits"]


# ------------------------------------------------------------------ as one chip computes it


@pytest.mark.parametrize("deployment", ["group_image", "chip_image"])
def test_onnx_as_a_chip_computes_it(group, tmp_path, deployment):
    bundle = tm.Bundle.load(group.export(tmp_path / "b", deployment=deployment))
    for chip in [*group.chips[:2], a_chip(group.placement, rate=0.05)]:
        proof = bundle.certificate(chip)
        path = tm.apply_to_onnx(bundle, chip, tmp_path / f"{chip.chip}.onnx")
        report = tm.verify_onnx(
            path,
            tm.MemoryImage(group.placement, proof.read()),
            inputs=X.numpy(),
            outputs=group.outputs(proof.read()),
            tolerance=0,
        )
        assert report.ok, report  # to the last bit
        path = tm.apply_to_onnx(bundle, chip, tmp_path / "q.onnx", form="qonnx")
        weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(path))}
        for layer, initializer in onnx_metadata(path)["layers"].items():
            assert np.array_equal(weights[initializer], proof.read()[layer])


@pytest.mark.parametrize("dynamo", [False, True])
def test_lowest_codes_in_layers_that_no_fault_hit_in_training(tmp_path, dynamo):
    """Stock Brevitas clips such layers to -127; a chip may read -128 there all the same."""
    group = Group(quantizer=tq.FaultyInt8WeightPerTensorFixedPoint)
    first = tm.FaultMap(group.placement.memory, [0], [1], "first")
    group.net.set_faults_(first)
    image = group.net.memory_image()
    layer = group.placement.layer("features.3")
    weight = int(np.argmin(np.abs(image.codes[layer.name].reshape(-1).astype(int))))
    cells = [group.placement.cell(layer.name, weight, bit=bit) for bit in range(8)]
    chip = tm.FaultMap(group.placement.memory, cells, [0] * 7 + [1], "lowest")
    folder = group.export(tmp_path / "b", chips=[chip], dynamo=dynamo)
    proof = tm.verify_bundle(folder, [chip]).certificates[0]
    assert proof.read()["features.3"].reshape(-1)[weight] == -128
    for form in ("qcdq", "qonnx"):
        path = tm.apply_to_onnx(folder, chip, tmp_path / "chip.onnx", form=form)
        weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(path))}
        assert weights[onnx_metadata(path)["layers"]["features.3"]].min() == -128
        if form == "qcdq":
            report = tm.verify_onnx(
                path, tm.MemoryImage(group.placement, proof.read()), inputs=X.numpy(), outputs=group.outputs(proof.read())
            )
            assert report.ok, report


def test_bad_calls(group, exported, tmp_path):
    folder, chips = exported
    with pytest.raises(ValueError, match="form must be one of qcdq, qonnx, got 'onnx'"):
        tm.apply_to_onnx(folder, chips[0], tmp_path / "x.onnx", form="onnx")
    other = tm.FaultMap(tm.Memory(words=3, word_bits=8), [0], [0], "small")
    with pytest.raises(ValueError, match="fault map of chip 'small' is of a memory of 3 words"):
        tm.verify_bundle(folder, [other])
    with pytest.raises(ValueError, match="two chips are called 'chip-0'"):
        group.export(tmp_path / "b", chips=[group.chips[0], group.chips[0]])
    with pytest.raises(ValueError, match="memory_format must be one of"):
        group.export(tmp_path / "b", memory_format="hex")
    with pytest.raises(ValueError, match="onnx_forms must be some of qonnx, qcdq, got"):
        group.export(tmp_path / "b", onnx_forms=[])
    report = group.net.evaluate(group.chips, lambda m: 0.5, progress=False)
    with pytest.raises(ValueError, match="is about chip 'chip-1', which is not among chips"):
        group.export(tmp_path / "b", chips=group.chips[:1], report=report)
    with pytest.raises(ValueError, match="is of another network or deployment: on chip 'chip-0'"):
        group.export(tmp_path / "b", report=report, deployment="chip_image")
    assert list(tmp_path.iterdir()) == []
