"""A ResNet-20 bundle, checked in PyTorch, onnxruntime, qonnx and Icarus Verilog."""

import numpy as np
import pytest
from groups import Group
from helpers import flow, needs_program
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model

import tremap_brevitas as tm
from tremap_brevitas.onnx_files import onnx_runner


@pytest.mark.slow(15)
def test_resnet20(tmp_path, capsys):
    needs_program("iverilog")
    group = Group("resnet", fault_rate=6e-3)
    bundle = tm.Bundle.load(group.export(tmp_path / "group_0", example_input=group.x[:1], probe=group.x, dynamo=True))
    report = tm.verify_bundle(bundle.folder, group.chips)
    assert report.ok, report
    for chip in group.chips[:2]:
        codes = bundle.certificate(chip).read()
        expected = group.outputs(codes)  # PyTorch
        for form in ("qcdq", "qonnx"):
            path = tm.apply_to_onnx(bundle, chip, tmp_path / f"{form}.onnx", form=form)
            if form == "qcdq":
                outputs = onnx_runner(path)(group.x.numpy())
            else:
                model = cleanup_model(ModelWrapper(str(path)))
                name = model.graph.input[0].name
                runs = [execute_onnx(model, {name: x[None]}) for x in group.x.numpy()]
                outputs = np.concatenate([next(iter(r.values())) for r in runs])
            # Sums rounded otherwise may move an activation to the next code; the weights are the same to the bit.
            assert np.abs(outputs - expected).max() <= 1e-2 * np.abs(expected).max()
            assert np.array_equal(outputs.argmax(1), expected.argmax(1))
    paths = [str(chip.save(tmp_path / f"{chip.chip}.npz")) for chip in group.chips]
    assert flow("rtl/simulate.py").main([str(bundle.folder), *paths]) == 0
    assert capsys.readouterr().out.count("as its certificate says") == 4
