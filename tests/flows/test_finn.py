"""FINN's layout, against a case worked out by hand and against qonnx' own interleaving."""

import dataclasses
import json
from functools import partial

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Int8WeightPerChannelFloat, Uint8ActPerTensorFixedPoint
from groups import Group
from helpers import finn_memory, flow
from hypothesis import given
from hypothesis import strategies as st
from networks import FullRangeWeight
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.order import save_orders, solve
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


@given(st.data())
def test_any_folding(data):
    pe, simd, kernel = (data.draw(st.integers(1, 3)) for _ in range(3))
    bits = data.draw(st.integers(2, 9))
    shape = (pe * data.draw(st.integers(1, 3)), simd * data.draw(st.integers(1, 3)), kernel, kernel)
    if data.draw(st.booleans()):
        shape = shape[:2]
    layers = [LayerCodes("a", (3, 2), 2, "twos_complement"), LayerCodes("b", shape, bits, "twos_complement")]
    memory = tm.Memory(words=2000, word_bits=max(pe * simd * bits, 4) + data.draw(st.integers(0, 5)))
    plain = {"PE": 1, "SIMD": 2, "input_shape": (2,)}  # beside a convolution, that must be said
    placement = finn_placement(layers, memory, folding={"a": plain, "b": (pe, simd)})
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    codes = {
        "a": rng.integers(-2, 2, (3, 2)),
        "b": rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape),
    }
    image = tm.MemoryImage(placement, codes)
    assert finn_dat(image, "b") == finn_memory(codes["b"], pe, simd, bits)
    assert finn_dat(image, "a") == finn_memory(codes["a"], 1, 2, 2)


def lines(shape, folding, **fields):
    """Lines of the memory of a layer whose weight is 0, 1, 2, … in row-major order."""
    codes = np.arange(np.prod(shape)).reshape(shape)
    layer = LayerCodes("x", shape, 8, "twos_complement", **fields)
    placement = finn_placement([layer], tm.Memory(words=100, word_bits=512), folding={"x": folding})
    return finn_dat(tm.MemoryImage(placement, {"x": codes}), "x").split()


# What FINN's own make_weight_file wrote for the same numbers (commit 39f0c9a6).


def test_columns_of_a_flattened_feature_map():
    """Three channels of 1 × 2 pixels: (0, 1), (2, 3), (4, 5) come as 0, 2, 4 and 1, 3, 5."""
    expected = ["040200", "050301", "0a0806", "0b0907"]
    folding = {"PE": 1, "SIMD": 3}
    assert lines((2, 6), {**folding, "input_shape": (3, 1, 2)}) == expected
    assert lines((2, 6), folding, channels=3) == expected
    assert lines((2, 6), {**folding, "input_shape": [3, 2]}, channels=3) == expected
    for plain in ({**folding, "input_shape": (6,)}, {**folding, "input_shape": (6, 1, 1)}, folding, (1, 3)):
        assert lines((2, 6), plain) == ["020100", "050403", "080706", "0b0a09"]


def test_transposed_convolutions():
    expected = ["0a170b041105", "1509160f0310", "071408010e02", "1206130c000d"]
    assert lines((2, 2, 2, 3), (2, 3), transposed=True) == expected


@pytest.mark.parametrize(
    ("unit", "pe", "simd", "expected"),
    [
        (None, 2, 1, "0400 0501 0602 0703 0c08 0d09 0e0a 0f0b"),
        ("VVAU_hls", 2, 2, "04050001 06070203 0c0d0809 0e0f0a0b"),
        ("VVAU_rtl", 2, 2, "05040100 07060302 0d0c0908 0f0e0b0a"),
        ("VVAU_hls", 4, 4, "0c0d0e0f08090a0b0405060700010203"),
        ("VVAU_rtl", 4, 4, "0f0e0d0c0b0a09080706050403020100"),
        ("VVAU_hls", 1, 2, "0001 0203 0405 0607 0809 0a0b 0c0d 0e0f"),
    ],
)
def test_depthwise_convolutions(unit, pe, simd, expected):
    folding = {"PE": pe, "SIMD": simd} | ({} if unit is None else {"unit": unit})
    assert lines((4, 1, 2, 2), folding, groups=4) == expected.split()


@pytest.mark.parametrize(
    ("shape", "fields", "folding", "reason"),
    [
        ((4, 2, 3, 3), {"groups": 2}, (1, 1), "a convolution of 2 groups, weight \\(4, 2, 3, 3\\)"),
        ((8, 1, 3, 3), {"groups": 4}, (1, 1), "a convolution of 4 groups"),
        ((4, 1, 3, 3), {"groups": 4, "transposed": True}, (1, 1), "a transposed convolution of 4 groups"),
        ((4, 2, 3), {"transposed": True}, (1, 1), "only two-dimensional"),
        ((4, 2, 3, 3, 3), {}, (1, 1), "of one or two dimensions"),
        ((4, 1, 3, 3), {"groups": 4}, (1, 3), "give it in the folding"),
        ((4, 1, 3, 3), {"groups": 4}, {"PE": 1, "SIMD": 3, "unit": "MVAU_hls"}, "makes a VVAU_hls or VVAU_rtl"),
        ((4, 1, 3, 3), {}, {"PE": 1, "SIMD": 3, "unit": "VVAU_hls"}, "makes a MVAU_hls or MVAU_rtl"),
        ((4, 2, 3, 3), {}, {"PE": 1, "SIMD": 1, "input_shape": (2, 3, 3)}, "is for linear layers"),
        ((4, 6), {}, {"PE": 1, "SIMD": 1, "input_shape": (2, 2, 2)}, "has 8 numbers, its weight 6 columns"),
        (
            (4, 6),
            {"channels": 3},
            {"PE": 1, "SIMD": 1, "input_shape": (2, 3, 1)},
            "2 channels, but its input in the model has 3",
        ),
        ((4, 6), {"channels": 4}, (1, 1), "6 columns are not a feature map of 4 channels"),
        ((4, 6), {"channels": 0}, (1, 1), 'give its shape in the folding: "input_shape"'),
        ((4, 6), {}, {"PE": 1}, "give \\(PE, SIMD\\)"),
        ((4, 6), {}, {"PE": 1, "SIMD": 1, "ram_style": "block"}, "some of PE, SIMD, input_shape, unit"),
        ((4, 6), {}, (1, 1, 1), "give \\(PE, SIMD\\)"),
    ],
)
def test_what_finn_has_no_unit_for_or_must_be_told(shape, fields, folding, reason):
    with pytest.raises(ValueError, match=f"layer 'x': .*({reason})"):
        lines(shape, folding, **fields)


def test_a_linear_layer_beside_convolutions_must_be_said_or_found():
    layers = [LayerCodes("conv", (3, 1, 1, 1), 8, "twos_complement"), LayerCodes("fc", (2, 6), 8, "twos_complement")]
    memory, folding = tm.Memory(words=100, word_bits=32), {"conv": (1, 1), "fc": (1, 1)}
    with pytest.raises(ValueError, match="layer 'fc': its 6 columns may be a flattened feature map"):
        finn_placement(layers, memory, folding=folding)
    said = finn_placement(layers, memory, folding={**folding, "fc": {"PE": 1, "SIMD": 1, "input_shape": (3, 1, 2)}})
    placement = finn_placement([layers[0], layers[1]._replace(channels=3)], memory, folding=folding)
    assert said == placement
    assert [w.index for w in said.weights_at(4 * 32)] == [(0, 2)]


def test_what_does_not_fit():
    layers = [LayerCodes("fc", (4, 6), 8, "twos_complement")]
    memory = tm.Memory(words=100, word_bits=32)
    for folding, reason in (
        ({}, "layer 'fc': no folding for it"),
        ({"fc": (3, 2)}, "PE 3 must divide its 4 outputs, SIMD 2 its 6 inputs"),
        ({"fc": (2, 4)}, "PE 2 must divide its 4 outputs, SIMD 4 its 6 inputs"),
        ({"fc": (2, 0)}, "SIMD 0"),
        ({"fc": (2, 3)}, "PE × SIMD = 6 codes of 8 bits do not fit into a word of 32"),
        ({"fc": (1, 1), "other": (1, 1)}, r"folding names unknown layers: 'other'; there are fc"),
    ):
        with pytest.raises(ValueError, match=reason):
            finn_placement(layers, memory, folding=folding)
    with pytest.raises(ValueError, match="is not a matrix"):
        finn_placement([LayerCodes("v", (4,), 8, "twos_complement")], memory, folding={"v": (1, 1)})


FOLDING = {"features.0": (2, 3), "features.3": (4, 4), "features.6": (4, 4), "classifier": (2, 8)}


def test_from_training_to_the_memories(tmp_path, capsys):
    """Faults in FINN's own cells, and the lowest code: a chip whose first sign bit is stuck at 1 reads -128 or close to it."""
    finn = flow("finn/memories.py")
    group = Group()
    memory = tm.Memory(words=624, word_bits=128)
    net = tm.place(group.model, memory, layout=partial(finn_placement, folding=FOLDING))
    assert net.placement.words == 624
    cells = [net.placement.cell("features.0", (0, 0, 0, 0), bit=bit) for bit in range(8)]
    merged = tm.merge(
        [
            *tm.random_fault_maps(memory, chips=2, fault_rate=0.01, seed=3),
            tm.FaultMap(memory, cells, [0] * 7 + [1], "lowest"),
        ],
        on_conflict="sa0",
    )
    net.set_faults_(merged)
    image = net.memory_image()
    folder = net.export(tmp_path / "b", group.x, dynamo=False)
    folding = tmp_path / "folding.json"
    folding.write_text(json.dumps({name: {"PE": pe, "SIMD": simd} for name, (pe, simd) in FOLDING.items()}))
    assert finn.main([str(folder), "--folding", str(folding), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "features.6: 5184 folded weights, INT8, equal to the codes" in out
    assert "The bundle was trained with this placement" in out
    for name, (pe, simd) in FOLDING.items():
        lines = (tmp_path / "out" / f"{name}.as_written.dat").read_text()
        codes = image.codes[name]
        if name == "classifier":  # as RemoveCNVtoFCFlatten leaves the columns of 24 channels of 2 × 2 pixels
            codes = codes.T.reshape(24, 2, 2, 10).transpose(1, 2, 0, 3).reshape(96, 10).T
        assert lines == finn_memory(codes, pe, simd, 8)
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


@pytest.mark.parametrize("dynamo", [False, True])
def test_weights_that_the_exporter_turned(tmp_path, capsys, dynamo):
    """Linear layers without bias: MatMul with a turned weight, two of them square and equal but for the turn."""
    torch.manual_seed(0)
    options = {"bias": False, "weight_quant": FullRangeWeight}
    act = {"act_quant": Uint8ActPerTensorFixedPoint}
    model = nn.Sequential(
        qnn.QuantLinear(8, 6, **options),
        qnn.QuantReLU(**act),
        qnn.QuantLinear(6, 6, **options),
        qnn.QuantReLU(**act),
        qnn.QuantLinear(6, 6, **options),
    )
    with torch.no_grad():
        model[4].weight.copy_(model[2].weight.T)
    model = tm.make_faulty(model)
    x = torch.rand(2, 8)
    model(x)
    model.eval()
    memory = tm.Memory(words=100, word_bits=32)
    net = tm.place(model, memory)
    net.set_faults_(tm.FaultMap(memory, [], [], "chip"))
    folder = net.export(tmp_path / "b", x, dynamo=dynamo, onnx_forms=["qonnx"])
    folding = tmp_path / "folding.json"
    folding.write_text(json.dumps({name: {"PE": 1, "SIMD": 2} for name in "024"}))
    finn = flow("finn/memories.py")
    assert finn.main([str(folder), "--folding", str(folding), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "NOT" not in out
    assert "0: its input is not quantized" in out
    for name, array in tm.Bundle.load(folder).image.codes.items():
        assert (tmp_path / "out" / f"{name}.as_written.dat").read_text() == finn_memory(array, 1, 2, 8)


def test_memories_in_a_chips_order(tmp_path, capsys):
    """The order undone by hand, row by row and column by column; scales for each channel in the rows' order."""
    finn = flow("finn/memories.py")
    torch.manual_seed(0)
    options = {"bias": False, "weight_quant": Int8WeightPerChannelFloat}
    act = {"act_quant": Uint8ActPerTensorFixedPoint}
    model = nn.Sequential(
        qnn.QuantLinear(8, 12, **options), qnn.QuantReLU(**act), qnn.QuantLinear(12, 16, **options),
        qnn.QuantReLU(**act), qnn.QuantLinear(16, 4, **options),
    )  # fmt: skip
    model, x = tm.make_faulty(model), torch.rand(2, 8)
    model(x)
    model.eval()
    folding = {"0": {"PE": 2, "SIMD": 2}, "2": {"PE": 4, "SIMD": 1}, "4": {"PE": 1, "SIMD": 4}}
    layout = partial(finn_placement, folding=folding)
    net = tm.place(model, tm.Memory(words=88, word_bits=32), layout=layout)
    groups = tm.prepare.channel_groups(net, x).groups
    assert len(groups) == 2
    (some,) = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=0.02, seed=1)
    chip = tm.FaultMap(some.memory, some.cells, some.stuck_at, "A7")
    (order,) = tm.reorder(net, [chip], groups=groups, progress=False)
    assert order.wrong < order.wrong_as_it_lies
    net.set_faults_(tm.FaultMap(chip.memory, [], [], "healthy"))
    folder = net.export(tmp_path / "b", x, dynamo=False, onnx_forms=["qonnx"], groups=groups, chips=[])
    (tmp_path / "folding.json").write_text(json.dumps(folding))
    arguments = [str(folder), "--folding", str(tmp_path / "folding.json"), "--out", str(tmp_path / "out")]
    path, orders = chip.save(tmp_path / "A7.npz"), save_orders([order], tmp_path / "orders.npz")
    assert finn.main([*arguments, "--orders", str(orders), "--chips", str(path)]) == 0
    assert f"chip 'A7' in its order, {'exact' if order.exact else f'{order.wrong} codes wrong'}" in capsys.readouterr().out
    channels = json.loads((tmp_path / "out" / "A7" / "channels.json").read_text())
    hidden = [order.orders[group.name] for group in groups]
    assert sorted(map(len, hidden)) == [12, 16]
    inner, outer = sorted(hidden, key=len)
    rows, columns = {"0": inner, "2": outer, "4": range(4)}, {"0": range(8), "2": inner, "4": outer}
    bundle = tm.Bundle.load(folder)
    wrong = 0
    for layer in bundle.manifest.layers:
        codes, name = bundle.image.codes[layer.name], layer.name
        placed = [[int(codes[row, column]) for column in columns[name]] for row in rows[name]]
        if order.exact:
            wanted = finn_memory(np.array(placed), folding[name]["PE"], folding[name]["SIMD"], 8)
            assert (tmp_path / "out" / "A7" / f"{name}.as_written.dat").read_text() == wanted
        wrong += int((np.array(placed) != order.image.codes[name]).sum())
        assert (tmp_path / "out" / "A7" / f"{name}.as_written.dat").read_text() == finn_dat(order.image, name)
        assert channels[name]["channels"] == list(rows[name])
        assert channels[name]["scale"] == [layer.scale[row] for row in rows[name]]
    assert wrong == order.wrong
    # What was written is what the check wants; the memories of the network as it lies are not.
    check, dat = flow("finn/check.py"), [f"{name}={tmp_path / 'out' / 'A7' / name}.as_written.dat" for name in "024"]
    compared = [str(folder), "--folding", str(tmp_path / "folding.json"), "--dat", *dat]
    capsys.readouterr()
    assert check.main([*compared, "--orders", str(orders), "--chip", str(path)]) == 0
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()] == ["0: equal", "2: equal", "4: equal"]
    assert check.main(compared) == 1
    assert "2: different" in (said := capsys.readouterr().out) or "2: permuted" in said
    (lie,) = [dataclasses.replace(order, wrong_as_it_lies=0)]
    lies = str(save_orders([lie], tmp_path / "lie.npz"))
    assert check.main([*compared, "--orders", lies, "--chip", str(path)]) == 1
    assert f"NOT as the order says: chip 'A7': {order.wrong_as_it_lies} codes wrong as it lies" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        check.main([*compared, "--orders", str(orders)])
    assert "give --orders and --chip together" in capsys.readouterr().err
    hardware = tm.order.Hardware(invert=1)
    wide = tm.FaultMap(hardware.chip_memory(chip.memory), [], [], "A7")
    with_flags = solve(bundle.image, groups, wide, hardware=hardware)
    flags, wide_path = str(save_orders([with_flags], tmp_path / "flags.npz")), str(wide.save(tmp_path / "wide.npz"))
    for refused in ([*arguments, "--orders", flags, "--chips", wide_path], [*compared, "--orders", flags, "--chip", wide_path]):
        with pytest.raises(SystemExit, match="needs hardware that FINN does not have: inversion of each word"):
            (finn if "--chips" in refused else check).main(refused)
    with pytest.raises(SystemExit, match="give --orders and --chips together"):
        finn.main([*arguments, "--orders", str(orders)])
    folding["4"] = {"PE": 2, "SIMD": 2}
    (tmp_path / "folding.json").write_text(json.dumps(folding))
    with pytest.raises(SystemExit, match="an order is of the cells that its bundle was placed in, and these are others"):
        finn.main([*arguments, "--orders", str(orders), "--chips", str(path)])


def test_an_accumulator_that_is_too_narrow_for_a_chip_is_told(tmp_path, capsys):
    """Every weight of the second layer is small; one chip reads -128 for the first one."""
    finn, group = flow("finn/memories.py"), Group("linear")
    with torch.no_grad():
        group.model[2].weight.fill_(group.model[2].weight.abs().max() / 64)
    healthy = tm.FaultMap(group.placement.memory, [], [], "healthy")
    group.net.set_faults_(healthy)
    bad = tm.FaultMap(group.placement.memory, [group.placement.cell("2", i, bit=7) for i in range(32)], [1] * 32, "bad")
    folder = group.export(tmp_path / "b", chips=[healthy, bad], onnx_forms=["qonnx"])
    folding = tmp_path / "folding.json"
    folding.write_text('{"0": {"PE": 4, "SIMD": 8}, "2": {"PE": 2, "SIMD": 4}}')
    finn.main([str(folder), "--folding", str(folding), "--out", str(tmp_path / "out")])
    out = capsys.readouterr().out
    codes = tm.Bundle.load(folder).image.codes["2"].astype(int)
    lowest = 255 * (codes[0] - 128).sum()
    assert f"2: sums of every chip lie in {lowest} to {255 * codes.sum(1).max()}, INT21, WIDER than " in out
