"""A factory's commands on one lot: orders that weigh what stays, libraries with orders and spare lines, patches in order."""

import csv
import json

import numpy as np
import pytest
import torch
from cli.test_maps import tremap
from groups import Group

import tremap_brevitas as tm
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_weights
from tremap_brevitas.order import load_orders, output_importance, patch_in_order, solve
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
