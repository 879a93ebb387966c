"""``tremap order --scramble --rotate --invert`` on a real bundle: orders, images, keys, verify, ONNX and drawings agree."""

import csv
import json

import numpy as np
import pytest
from cli.test_maps import tremap
from groups import Group, X, linear_network

import tremap_brevitas as tm
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_weights
from tremap_brevitas.order import Hardware, load_orders
from tremap_brevitas.order.hardware.words import stuck_words
from tremap_brevitas.placement import read_memory_image

HARDWARE = Hardware(rotate=1, amounts=8, invert=1)
OPTIONS = ["--rotate", 1, "--amounts", 8, "--invert", 1]


@pytest.fixture(scope="module")
def lot(tmp_path_factory):
    """(group, its bundle, chips, their folder, the file of their orders)."""
    root = tmp_path_factory.mktemp("hardware")
    group = Group("linear")
    folder = group.export(root / "group_0", groups=tm.prepare.channel_groups(group.net, group.x))
    memory = HARDWARE.chip_memory(group.placement.memory)
    chips = []
    for number, rate in enumerate((0, 2e-3, 1e-2)):
        (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=rate, seed=number)
        chips.append(tm.FaultMap(memory, chip.cells, chip.stuck_at, f"A{number}"))
        chips[-1].save(root / f"A{number}.npz")
    where = [root / f"A{number}.npz" for number in range(3)]
    said = tremap("order", folder, *where, "--out", root / "orders.npz", "--images", root / "images", *OPTIONS).stdout
    assert "3 chips: 1 exact as it lies, 2 exact in another order, 0 left over" in said
    assert (
        f"rotation of each word by 8 amounts, inversion of each word: {4 * memory.words} cells and 0 bits of keys, 12.5%"
        in said
    )
    return group, folder, chips, where, root / "orders.npz", root / "images"


def test_what_is_written_comes_back_as_the_network(lot, tmp_path):
    group, folder, chips, where, orders, images = lot
    bundle = tm.Bundle.load(folder)
    for order, chip in zip(load_orders(orders, bundle.image, bundle.groups()), chips, strict=True):
        words = read_memory_image(images / f"{chip.chip}_as_written.mem", format="readmemh", word_bits=chip.memory.word_bits)
        assert words == order.words
        read = order.read(stuck_words(words, chip))
        path = tm.apply_to_onnx(bundle, chip, tmp_path / f"{chip.chip}.onnx", order=order)
        weights, about = {w.initializer: w.codes for w in onnx_weights(load_onnx(path))}, onnx_metadata(path)
        for layer, initializer in about["layers"].items():
            assert np.array_equal(weights[initializer], read[layer])
            assert np.array_equal(read[layer], group.image.codes[layer])
        assert about["read_by"]["hardware"] == str(HARDWARE)
    assert "3 of 3 chips compute exactly" in tremap("verify", folder, *where, "--orders", orders, "--exact").stdout
    report = tm.verify_bundle(folder, chips, orders=orders)
    assert report.bit_exact, report


def test_layout_of_a_chip(lot):
    _, folder, _chips, _, orders, _ = lot
    bundle = tm.Bundle.load(folder)
    order = load_orders(orders, bundle.image, bundle.groups())["A2"]
    chip = ["--orders", orders, "--chip", "A2"]
    assert str(order.hardware) in tremap("layout", folder, *chip).stdout
    row, amount = int(order.hardware.rows[0]), int(order.hardware.amounts[0])
    drawn = tremap("layout", folder, row, *chip).stdout
    assert f"rotated by {amount}" in drawn.splitlines()[0]
    assert f"flag: {int(row in order.hardware.inverted.tolist())}" in drawn
    # Cell by cell against the words: a weight's code has its bits where it is said.
    wide, said = order.memory.word_bits, {}
    for bit in range(8):
        text = tremap("layout", folder, "--cell", row * wide + bit, *chip).stdout.strip()
        said[bit] = text.split(": ", 1)[1]
    word = order.words[row]
    for bit, text in said.items():
        if text.startswith("bit "):
            name = text.split(" of ", 1)[1].removesuffix(", inverted")
            layer, index = name.rsplit(".weight[", 1)
            code = int(bundle.image.codes[layer][tuple(int(i) for i in index.rstrip("]").split(","))])
            read = code >> int(text.split()[1]) & 1
            assert word >> bit & 1 == read ^ text.endswith(", inverted")
    assert "no order of a chip 'A9'" in tremap("layout", folder, "--orders", orders, "--chip", "A9", code=1).stderr
    assert "give --orders and --chip together" in tremap("layout", folder, "--chip", "A2", code=2).stderr


def test_keys_are_written_too(tmp_path):
    model = tm.make_faulty(linear_network())
    for _ in range(3):  # activation scales
        model(X["linear"])
    size, memory = 64, tm.Memory(words=64 * 256, word_bits=32)
    net = tm.place(model.eval(), memory)
    groups = tm.prepare.channel_groups(net, X["linear"])
    folder = net.export(tmp_path / "healthy", X["linear"], dynamo=False, groups=groups)
    (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=1e-3, seed=7)
    chip.save(tmp_path / "A7.npz")
    said = tremap(
        *("order", folder, tmp_path / "A7.npz", "--out", tmp_path / "orders.npz", "--images", tmp_path / "images"),
        *("--scramble", size, "--json"),
    )
    assert json.loads(said.stdout)["hardware"] == {"scramble": size, "rotate": 0, "amounts": None, "invert": 0}
    bundle = tm.Bundle.load(folder)
    (order,) = load_orders(tmp_path / "orders.npz", bundle.image, bundle.groups())
    with (tmp_path / "images" / f"{chip.chip}_keys.csv").open(newline="") as file:
        assert [int(row["key"]) for row in csv.DictReader(file)] == order.hardware.keys.tolist()
    assert tm.verify_bundle(bundle, [chip], orders=[order]).bit_exact


def test_what_is_refused(lot, tmp_path):
    group, folder, _chips, where, orders, _ = lot
    out = tmp_path / "orders.npz"
    assert "power of two above 1, got 3" in tremap("order", folder, *where, "--out", out, "--scramble", 3, code=2).stderr
    assert "amounts=8 are of rotation" in tremap("order", folder, *where, "--out", out, "--amounts", 8, code=2).stderr
    narrow = tm.FaultMap(group.placement.memory, [1], [1], "narrow").save(tmp_path / "narrow.npz")
    assert "expected" in tremap("order", folder, narrow, "--out", out, *OPTIONS, code=1).stderr
    assert not out.exists()
    bundle = tm.Bundle.load(folder)
    order = load_orders(orders, bundle.image, bundle.groups())["A1"]
    with pytest.raises(ValueError, match="is of a memory of"):
        tm.apply_to_onnx(bundle, tm.FaultMap(group.placement.memory, [1], [1], "A1"), tmp_path / "a.onnx", order=order)
