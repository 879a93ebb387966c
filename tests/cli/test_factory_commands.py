"""A factory's commands on one lot: orders that weigh what stays, libraries with orders and spare lines, patches in order."""

import csv
import json

import numpy as np
import pytest
import torch
from cli.test_maps import tremap
from groups import Group

import tremap_brevitas as tm
from tremap_brevitas.faults.array.repair import Repair, repaired
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_weights
from tremap_brevitas.order import Hardware, load_orders, output_importance, patch_in_order, solve
from tremap_brevitas.order.hardware.words import stuck_words
from tremap_brevitas.placement import read_memory_image, words_read
from tremap_brevitas.placement.certificate import certificate_of
from tremap_brevitas.planning import output_error

RATES = [0, 3e-4, 6e-4, 0.02, 0.03]


@pytest.fixture(scope="module")
def lot(tmp_path_factory):
    """(bundle with groups, moments and an accuracy, chips, their folder, the file of their orders)."""
    root = tmp_path_factory.mktemp("factory")
    group = Group("linear")
    report = group.net.evaluate(group.chips[:1], lambda model: 0.9, progress=False)
    inputs = torch.randn(200, 64, generator=torch.Generator().manual_seed(1)).relu()
    groups = tm.prepare.channel_groups(group.net, group.x)
    folder = group.export(root / "group_0", chips=group.chips[:1], report=report, moments=[inputs], groups=groups)
    memory, chips = group.placement.memory, []
    (root / "lot").mkdir()
    for n, rate in enumerate(RATES):
        (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=rate, seed=n)
        chips.append(tm.FaultMap(memory, chip.cells, chip.stuck_at, f"A{n}"))
        chips[-1].save(root / "lot" / f"A{n}.npz")
    tremap("order", folder, root / "lot", "--out", root / "orders.npz")
    return tm.Bundle.load(folder), chips, root / "lot", root / "orders.npz"


def by_hand(bundle, order, words):
    """The network's codes from a chip's words, its order undone axis by axis."""
    read = {name: np.array(codes) for name, codes in tm.MemoryImage.from_words(bundle.image.placement, words).codes.items()}
    for group in reversed(order.groups):
        for side in group.sides:
            moved = np.moveaxis(read[side.layer], side.axis, 0)
            moved[side.index[order.orders[group.name], 0]] = moved[side.index[:, 0]].copy()
    return read


def test_what_stays_is_weighed_by_the_outputs(lot, tmp_path):
    bundle, chips, where, orders = lot
    table = tmp_path / "lot.csv"
    said = tremap("order", bundle.folder, where, "--out", tmp_path / "orders.npz", "--csv", table).stdout
    assert "what stays was weighed by the error of the layers' outputs" in said
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    moments, fleet = bundle.moments(), load_orders(orders, bundle.image, bundle.groups())
    importance = output_importance(moments, bundle.image)
    for chip, order, row in zip(chips, fleet, rows, strict=True):
        alone = solve(bundle.image, bundle.groups(), chip, importance=importance)
        assert all(np.array_equal(alone.orders[name], order.orders[name]) for name in order.orders)
        read = by_hand(bundle, order, words_read(order.image, chip))
        expected = output_error(certificate_of(chip.chip, bundle.image, read), moments)
        assert float(row["output_error"]) == pytest.approx(expected)
        assert (expected == 0) == order.exact
    answer = json.loads(tremap("order", bundle.folder, where, "--out", tmp_path / "more.npz", "--json").stdout)
    assert answer["weighed_by"] == "error of the layers' outputs"


def test_a_library_counts_chips_that_are_exact_in_order(lot, tmp_path):
    bundle, _, where, orders = lot
    options = ["assign", where, "--bundle", bundle.folder, "--goal", 0.85]
    fleet = load_orders(orders, bundle.image, bundle.groups())
    expected = ["exact" if not o.wrong_as_it_lies else "exact in order" if o.exact else "retrain" for o in fleet]
    assert set(expected) == {"exact", "exact in order", "retrain"}
    rows = json.loads(tremap(*options, "--orders", "--json").stdout)
    assert [row["verdict"] for row in rows] == expected
    for row in rows:
        if row["verdict"] == "exact in order":
            assert (row["weights_that_differ"], row["accuracy"], row["error"]) == (0, 0.9, 0.0)
    plain = json.loads(tremap(*options, "--json").stdout)
    assert [row["verdict"] for row in plain] == [v.replace("exact in order", "retrain") for v in expected]
    out = tmp_path / "lot.csv"
    said = tremap(*options, "--orders", "--out", out).stdout
    assert f"{expected.count('exact in order')} of 5 chips: exact in order" in said
    with out.open(newline="") as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == expected
    high = json.loads(tremap(*options[:-1], 0.95, "--orders", "--json").stdout)  # the network itself does not reach the goal
    assert {row["verdict"] for row in high} == {"retrain"}


def test_spare_lines_come_first(lot, tmp_path):
    bundle, chips, _, _ = lot
    memory = chips[0].memory
    rows = np.arange(10 * 32, 11 * 32)
    cells = np.union1d(rows, chips[1].cells)
    stuck_at = np.where(np.isin(cells, rows), cells % 2, 0)
    path = tm.FaultMap(memory, cells, stuck_at, "row").save(tmp_path / "row.npz")
    options = ["assign", path, "--bundle", bundle.folder, "--goal", 0.85, "--orders", "--json"]
    assert [row["verdict"] for row in json.loads(tremap(*options).stdout)] == ["retrain"]
    assert [row["verdict"] for row in json.loads(tremap(*options, "--spare-rows", 1).stdout)] == ["exact in order"]
    assert "give --spare-rows or --spare-columns" in tremap(*options, "--column-mux", 2, code=2).stderr


def test_orders_after_spare_lines(lot, tmp_path):
    """The chip's own map proves the order, since the file says which lines are replaced; no option is said twice."""
    bundle, chips, _, _ = lot
    memory = chips[0].memory
    line = np.arange(10 * 32, 11 * 32)
    cells = np.union1d(line, chips[1].cells)
    chip = tm.FaultMap(memory, cells, np.where(np.isin(cells, line), cells % 2, 0), "row")
    path, out, images = chip.save(tmp_path / "row.npz"), tmp_path / "orders.npz", tmp_path / "images"
    unnamed = tm.FaultMap(memory, cells, chip.stuck_at).save(tmp_path / "unnamed.npz")
    arguments = ["order", bundle.folder, path, unnamed, "--out", out, "--csv", tmp_path / "y.csv", "--images", images]
    said = tremap(*arguments, "--spare-rows", 1, "--workers", 2).stdout
    assert "2 chips: 0 exact as it lies, 2 exact in another order, 0 left over" in said
    assert "2 rows and 0 columns replaced by spare ones" in said
    drawn = tremap("layout", bundle.folder, "--orders", out, "--chip", "row").stdout
    assert "spare lines for bank 0: rows 10" in drawn
    with (tmp_path / "y.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["chip"], row["spare_rows"], row["spare_columns"]) for row in rows] == [
        ("row", "1", "0"),
        ("unnamed", "1", "0"),
    ]
    proved = tremap("verify", bundle.folder, path, unnamed, "--orders", out, "--exact").stdout
    assert "2 of 2 chips compute exactly" in proved
    assert (images / "row_repair.csv").read_text().splitlines() == ["bank,kind,index", "0,row,10"]
    # The words as written, read through what the spare row leaves stuck, in plain Python.
    words = read_memory_image(images / "row_as_written.mem", format="readmemh", word_bits=32)
    left = repaired(chip, Repair.load(images / "row_repair.csv"))
    for cell, value in zip(left.cells.tolist(), left.stuck_at.tolist(), strict=True):
        words[cell // 32] = words[cell // 32] & ~(1 << cell % 32) | value << cell % 32
    read = by_hand(bundle, load_orders(out, bundle.image, bundle.groups())["row"], words)
    assert all(np.array_equal(read[name], codes) for name, codes in bundle.image.codes.items())
    # What the field adds is patched with the same row replaced: a new stuck cell in it does nothing.
    assert (
        "nothing to patch" in tremap("patch", bundle.folder, path, "--orders", out, "--out", tmp_path / "p.mem", code=1).stderr
    )
    assert "give --spare-rows or --spare-columns" in tremap(*arguments, "--column-mux", 2, "--overwrite", code=2).stderr


def test_a_library_counts_chips_that_are_exact_with_hardware(lot, tmp_path):
    bundle, chips, _, _ = lot
    hardware = Hardware(invert=1)
    wide, paths = hardware.chip_memory(chips[0].memory), []
    for chip in chips:
        (more,) = tm.random_fault_maps(wide, chips=1, fault_rate=len(chip) / wide.cells, seed=len(chip))
        paths.append(tm.FaultMap(wide, more.cells, more.stuck_at, chip.chip).save(tmp_path / f"{chip.chip}.npz"))
    options = ["assign", *paths, "--bundle", bundle.folder, "--goal", 0.85, "--json"]
    rows = json.loads(tremap(*options, "--orders", "--invert", 1, "--workers", 2).stdout)
    orders = tmp_path / "orders.npz"
    said = tremap("order", bundle.folder, *paths, "--out", orders, "--invert", 1, "--json").stdout
    exact = {row["chip"]: row["verdict"] for row in json.loads(said)["chips"]}
    names = {"exact as it lies": "exact", "exact in another order": "exact in order", "left over": "retrain"}
    assert [row["verdict"] for row in rows] == [names[exact[chip.chip]] for chip in chips]
    assert {"exact", "exact in order"} <= {row["verdict"] for row in rows}
    assert "give that as well" in tremap(*options, "--invert", 1, code=2).stderr
    assert "power of two" in tremap(*options, "--orders", "--scramble", 3, code=2).stderr


def test_a_chip_with_hardware_is_patched_in_its_order(lot, tmp_path):
    bundle, _, _, _ = lot
    hardware = Hardware(rotate=1, amounts=8, invert=1)
    wide = hardware.chip_memory(bundle.image.placement.memory)
    (some,) = tm.random_fault_maps(wide, chips=1, fault_rate=0.08, seed=1)
    chip = tm.FaultMap(wide, some.cells, some.stuck_at, "A9")
    path, orders = chip.save(tmp_path / "A9.npz"), tmp_path / "orders.npz"
    tremap("order", bundle.folder, path, "--out", orders, "--rotate", 1, "--amounts", 8, "--invert", 1)
    out, onnx, own = tmp_path / "A9.mem", tmp_path / "A9.onnx", tmp_path / "own.npz"
    arguments = ["patch", bundle.folder, path, "--orders", orders, "--out", out, "--onnx", onnx, "--order-out", own]
    assert "with its keys as they were: " in tremap(*arguments).stdout
    (order,) = load_orders(own, bundle.image, bundle.groups())
    words = read_memory_image(out, format="readmemh", word_bits=wide.word_bits)
    read = order.read(stuck_words(words, chip))
    weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(onnx))}
    for layer, initializer in onnx_metadata(onnx)["layers"].items():
        assert np.array_equal(weights[initializer], read[layer])
    tremap("verify", bundle.folder, path, "--orders", own)
    before = tm.verify_bundle(bundle, [chip], orders=orders).certificates[0]
    after = tm.verify_bundle(bundle, [chip], orders=own).certificates[0]
    assert output_error(after, bundle.moments()) < output_error(before, bundle.moments())


def test_a_library_without_groups_or_with_one_image_for_all(lot, tmp_path):
    bundle, _, where, _ = lot
    options = ["assign", where, "--bundle", bundle.folder, "--goal", 0.85, "--orders"]
    result = tremap(*options, "--deployment", "group_image", code=1)
    assert "orders give each chip an image of its own" in result.stderr
    group = Group("linear", seed=1)
    report = group.net.evaluate(group.chips[:1], lambda model: 0.9, progress=False)
    bare = group.export(tmp_path / "bare", chips=group.chips[:1], report=report)
    result = tremap("assign", where, "--bundle", bare, "--goal", 0.85, "--orders", code=1)
    assert "no image has groups of channels" in result.stderr


def test_a_chip_is_patched_in_its_order(lot, tmp_path):
    bundle, chips, where, orders = lot
    out, onnx, own = tmp_path / "A4.mem", tmp_path / "A4.onnx", tmp_path / "A4_order.npz"
    arguments = ["patch", bundle.folder, where / "A4.npz", "--orders", orders, "--out", out]
    said = tremap(*arguments, "--onnx", onnx, "--order-out", own).stdout
    assert "the chip holds the network in its order of channels" in said
    order = load_orders(orders, bundle.image, bundle.groups())["A4"]
    patched, result = patch_in_order(order, bundle.moments(), chips[4])
    assert result.error < result.nearest_error
    words = read_memory_image(out, format="readmemh", word_bits=32)
    assert words == patched.image.words()
    written = tm.MemoryImage.from_words(bundle.image.placement, words)
    assert tm.placement.certificate(written, chips[4]).bit_exact  # the certificate of what was written holds
    read = by_hand(bundle, order, words_read(written, chips[4]))
    weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(onnx))}
    for layer, initializer in onnx_metadata(onnx)["layers"].items():
        assert np.array_equal(weights[initializer], read[layer])
        assert np.array_equal(result.image.codes[layer], read[layer])
    report = tm.verify_bundle(bundle, [chips[4]], orders=own)
    assert report.ok
    assert report.certificates[0].weights_that_differ == result.after.weights_that_differ
    tremap("verify", bundle.folder, where / "A4.npz", "--orders", own)
    assert (
        "nothing to patch"
        in tremap("patch", bundle.folder, where / "A1.npz", "--orders", orders, "--out", tmp_path / "A1.mem", code=1).stderr
    )
    alone = ["patch", bundle.folder, where / "A4.npz", "--out", tmp_path / "x.mem", "--order-out", tmp_path / "x.npz"]
    assert "give that as well" in tremap(*alone, code=2).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A4.mem", "A4.onnx", "A4_order.npz"]
