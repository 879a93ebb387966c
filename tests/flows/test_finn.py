"""FINN's layout, against a case worked out by hand and against qonnx' own interleaving."""

import json
from functools import partial

import numpy as np
import pytest
from groups import Group
from helpers import flow
from hypothesis import given
from hypothesis import strategies as st
from qonnx.util.basic import interleave_matrix_outer_dim_from_partitions

import tremap_brevitas as tm
from tremap_brevitas.placement import LayerCodes, finn_dat, finn_placement


def test_a_case_worked_out_by_hand():
    """MH = 4 outputs, MW = 6 inputs, PE = 2, SIMD = 3, 4-bit codes.

    Steps: rows 0 and 1 with columns 0–2, then with 3–5; rows 2 and 3 likewise. In a word, from the highest digit down: row 1
    columns 2, 1, 0, then row 0 columns 2, 1, 0.
    """
    codes = np.array([[1, 2, 3, 4, 5, 6], [7, -8, -7, -6, -5, -4], [0, 0, 1, 0, 0, 2], [-1, -2, -3, 3, 2, 1]])
    layers = [LayerCodes("fc", (4, 6), 4, "twos_complement")]
    placement = finn_placement(layers, tm.Memory(words=4, word_bits=24), folding={"fc": (2, 3)})
    image = tm.MemoryImage(placement, {"fc": codes})
    assert finn_dat(image, "fc") == "987321\ncba654\ndef100\n123200\n"
    assert str(placement.weights_at(1 * 24 + 3 * 4 + 3)[0]) == "bit 3 of fc.weight[1,3]"
    again = tm.MemoryImage.from_words(placement, [0x987321, 0xCBA654, 0xDEF100, 0x123200])
    assert np.array_equal(again.codes["fc"], codes)


def finn_memory(codes, pe, simd, bits):
    """The lines of memblock.dat by the steps that FINN takes, with Python integers."""
    matrix = np.moveaxis(codes, 1, -1).reshape(codes.shape[0], -1)
    rows = interleave_matrix_outer_dim_from_partitions(matrix, pe)  # (PE, MH / PE, MW)
    tensor = np.flip(rows.reshape(pe, -1, simd), axis=-1)  # (PE, WMEM, SIMD), SIMD flipped
    words = np.flip(tensor.transpose(1, 0, 2), axis=-2).reshape(-1, pe * simd)  # (WMEM, PE * SIMD), PE flipped
    lines = []
    for word in words:
        value = 0
        for code in word:  # the first comes to lie highest
            value = value << bits | (int(code) & ((1 << bits) - 1))
        lines.append(f"{value:0{-(-pe * simd * bits // 4)}x}\n")
    return "".join(lines)


@given(st.data())
def test_any_folding(data):
    pe, simd, kernel = (data.draw(st.integers(1, 3)) for _ in range(3))
    bits = data.draw(st.integers(2, 9))
    shape = (pe * data.draw(st.integers(1, 3)), simd * data.draw(st.integers(1, 3)), kernel, kernel)
    if data.draw(st.booleans()):
        shape = shape[:2]
    layers = [LayerCodes("a", (3, 2), 2, "twos_complement"), LayerCodes("b", shape, bits, "twos_complement")]
    memory = tm.Memory(words=2000, word_bits=max(pe * simd * bits, 4) + data.draw(st.integers(0, 5)))
    placement = finn_placement(layers, memory, folding={"a": (1, 2), "b": (pe, simd)})
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    codes = {
        "a": rng.integers(-2, 2, (3, 2)),
        "b": rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape),
    }
    image = tm.MemoryImage(placement, codes)
    assert finn_dat(image, "b") == finn_memory(codes["b"], pe, simd, bits)
    assert finn_dat(image, "a") == finn_memory(codes["a"], 1, 2, 2)


def test_what_does_not_fit():
    layers = [LayerCodes("fc", (4, 6), 8, "twos_complement")]
    memory = tm.Memory(words=100, word_bits=32)
    for folding, reason in (
        ({}, "layer 'fc': no folding for it"),
        ({"fc": (3, 2)}, "PE 3 must divide its 4 outputs, SIMD 2 its 6 inputs"),
        ({"fc": (2, 4)}, "PE 2 must divide its 4 outputs, SIMD 4 its 6 inputs"),
        ({"fc": (2, 0)}, "SIMD 0"),
        ({"fc": (2, 3)}, "PE × SIMD = 6 codes of 8 bits do not fit into a word of 32"),
        ({"fc": (1, 1), "other": (1, 1)}, r"folding of layers \['other'\], but there are fc"),
    ):
        with pytest.raises(ValueError, match=reason):
            finn_placement(layers, memory, folding=folding)
    with pytest.raises(ValueError, match="is no matrix"):
        finn_placement([LayerCodes("v", (4,), 8, "twos_complement")], memory, folding={"v": (1, 1)})


FOLDING = {"features.0": (2, 3), "features.3": (4, 4), "features.6": (4, 4), "classifier": (2, 8)}


def test_from_training_to_the_memories(tmp_path, capsys):
    """Faults in FINN's own cells, and the lowest code: a chip whose first sign bit is stuck at 1 reads -128 or close to it."""
    finn = flow("finn/memories.py")
    group = Group()
    memory = tm.Memory(words=624, word_bits=128)
    placement = tm.place(group.model, memory, layout=partial(finn_placement, folding=FOLDING))
    assert placement.words == 624
    cells = [placement.cell("features.0", (0, 0, 0, 0), bit=bit) for bit in range(8)]
    merged = tm.merge(
        [
            *tm.random_fault_maps(memory, chips=2, fault_rate=0.01, seed=3),
            tm.FaultMap(memory, cells, [0] * 7 + [1], "lowest"),
        ],
        on_conflict="sa0",
    )
    tm.set_faults_(group.model, placement, merged)
    image = tm.memory_image(group.model, placement)
    folder = group.export(tmp_path / "b", placement=placement, fault_map=merged)
    folding = tmp_path / "folding.json"
    folding.write_text(json.dumps({name: {"PE": pe, "SIMD": simd} for name, (pe, simd) in FOLDING.items()}))
    assert finn.main([str(folder), "--folding", str(folding), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "features.6: 5184 folded weights, INT8, equal to the codes" in out
    assert "The bundle was trained with this placement" in out
    for name, (pe, simd) in FOLDING.items():
        lines = (tmp_path / "out" / f"{name}.as_written.dat").read_text()
        assert lines == finn_memory(image.codes[name], pe, simd, 8)
    weights = finn.folded_weights(folder / "model.qonnx.onnx")
    assert min(w.min() for _, w in weights.values()) == min(c.min() for c in image.codes.values())


def test_a_bundle_of_another_placement_is_told(tmp_path, capsys):
    finn = flow("finn/memories.py")
    folder = Group("linear").export(tmp_path / "b")
    folding = tmp_path / "folding.json"
    folding.write_text('{"0": {"PE": 4, "SIMD": 8}, "2": {"PE": 2, "SIMD": 4}}')
    assert finn.main([str(folder), "--folding", str(folding), "--out", str(tmp_path / "out")]) == 0
    assert "was trained with another placement" in capsys.readouterr().out
    assert (tmp_path / "out" / "2.as_written.dat").exists()
