"""Two networks go through hls4ml and g++: the generated weights are code × scale, the lowest code included."""

import numpy as np
import pytest
import torch
from groups import Group
from helpers import flow, needs_program

import tremap_brevitas as tm
from tremap_brevitas import quant as tq


@pytest.mark.slow
@pytest.mark.parametrize("network", ["linear", "digits"])
def test_c_simulation(tmp_path, capsys, network):
    needs_program("g++")
    pytest.importorskip("hls4ml")
    hls = flow("hls4ml/c_simulation.py")
    group = Group(network)
    first = group.placement.layers[0].name
    stuck = dict(zip(group.merged.cells.tolist(), group.merged.stuck_at.tolist(), strict=True))
    for bit in range(8):
        stuck[group.placement.cell(first, 0, bit=bit)] = int(bit == 7)
    chip = tm.FaultMap(group.placement.memory, list(stuck), list(stuck.values()), "lowest")
    group.net.set_faults_(chip)
    image = group.net.memory_image()
    assert image.codes[first].reshape(-1)[0] == -128
    probe = torch.randn(16, *group.x.shape[1:], generator=torch.Generator().manual_seed(1))
    folder = group.export(tmp_path / "b", example_input=group.x[:1], probe=probe, dynamo=True)
    assert hls.main([str(folder), "--out", str(tmp_path / "c")]) == 0
    out = capsys.readouterr().out
    assert out.count("equal to code ×") == len(image.codes)
    assert "codes -128 to" in out.splitlines()[0]
    assert "C simulation: 16 of 16 outputs equal PyTorch's; 0 predictions differ" in out
    weights = hls.generated_weights(tmp_path / "c")
    scales = {layer.name: layer.scale[0] for layer in tm.Bundle.load(folder).manifest.layers}
    assert any(np.isclose(w.min(), -128 * scales[first], atol=0) for w in weights.values())


def test_scales_that_hls4ml_would_round_are_refused(tmp_path):
    hls = flow("hls4ml/c_simulation.py")
    folder = Group("linear", quantizer=tq.FaultyInt8WeightPerTensorFloat).export(tmp_path / "b")
    with pytest.raises(SystemExit, match="layer '0': hls4ml keeps code × scale exactly only for one power-of-two scale"):
        hls.main([str(folder)])
