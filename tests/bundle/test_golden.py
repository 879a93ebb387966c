"""A bundle that an earlier version wrote still loads, verifies and is applied to chips."""

from pathlib import Path

import numpy as np
import pytest

import tremap_brevitas as tm
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_runner, onnx_weights

FOLDER = Path(__file__).parents[1] / "golden" / "bundle_v1"
MEMORY = tm.Memory(words=8, word_bits=32)
MEMBER = tm.FaultMap(MEMORY, [7, 9, 40, 130], [1, 0, 1, 0], "member")
OTHER = tm.FaultMap(MEMORY, [15, 38, 136], [1, 0, 1], "other")


def test_it_verifies():
    report = tm.verify_bundle(FOLDER, [MEMBER, OTHER])
    assert report.ok, report
    assert (report.inputs, report.inputs_equal) == (2, 2)
    assert [c.weights_that_differ for c in report.certificates] == [0, 3]
    assert [row.result.bit_exact for row in tm.Bundle.load(FOLDER).chips] == [True, False]


@pytest.mark.parametrize("form", ["qcdq", "qonnx"])
def test_it_is_applied(tmp_path, form):
    path = tm.apply_to_onnx(FOLDER, OTHER, tmp_path / "chip.onnx", form=form)
    weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(path))}
    read = tm.placement.certificate(tm.Bundle.load(FOLDER).image, OTHER).read()
    for layer, initializer in onnx_metadata(path)["layers"].items():
        np.testing.assert_array_equal(weights[initializer], read[layer])
    if form == "qcdq":
        with np.load(FOLDER / "probe.npz") as probe:
            expected = [[-0.6883505582809448, -0.07159274816513062], [-0.7031329870223999, -0.07478964328765869]]  # PyTorch's
            np.testing.assert_allclose(onnx_runner(path)(probe["inputs"]), expected, rtol=1e-6)
