"""``tremap order`` on a real bundle, and what ``verify`` and ``apply_to_onnx`` make of its orders: files in, files out."""

import csv
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from cli.test_maps import tremap
from groups import Group

import tremap_brevitas as tm
from tremap_brevitas.bundle.manifest import NAME
from tremap_brevitas.faults.formats import write_fault_map
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_weights
from tremap_brevitas.order import FleetOrders, load_orders, save_orders, solve
from tremap_brevitas.placement import read_memory_image, words_read, write_memory_image

COUNTS = {"exact_as_it_lies": 3, "exact_in_another_order": 4, "left_over": 1}


@pytest.fixture(scope="module")
def lot(tmp_path_factory):
    """(group, its bundle, chips from exact to ruined, their folder, the file of their orders)."""
    root = tmp_path_factory.mktemp("order")
    group = Group("linear")
    folder = group.export(root / "group_0", groups=tm.prepare.channel_groups(group.net, group.x))
    memory = group.placement.memory
    rates = [0, 2e-4, 4e-4, 4e-4, 6e-4, 6e-4, 0.03]
    maps = [tm.random_fault_maps(memory, chips=1, fault_rate=rate, seed=n)[0] for n, rate in enumerate(rates)]
    chips = [tm.FaultMap(memory, chip.cells, chip.stuck_at, f"A{n}") for n, chip in enumerate(maps)]
    lucky = group.exact_chip(range(5, 2000, 7))
    chips.append(tm.FaultMap(memory, lucky.cells, lucky.stuck_at, "lucky"))
    (root / "lot").mkdir()
    for chip in chips:
        chip.save(root / "lot" / f"{chip.chip}.npz")
    orders = root / "orders.npz"
    tremap("order", folder, root / "lot", "--out", orders)
    return group, folder, chips, root / "lot", orders


def loaded(folder, path):
    bundle = tm.Bundle.load(folder)
    return load_orders(path, bundle.image, bundle.groups())


def by_hand(bundle, order, chip):
    """Integers that a chip gives back: its words written, stuck, and put in order, axis by axis, in plain NumPy."""
    read = tm.MemoryImage.from_words(bundle.image.placement, words_read(order.image, chip)).codes
    read = {name: np.array(codes) for name, codes in read.items()}
    for group in reversed(order.groups):
        for side in group.sides:
            assert side.index.shape[1] == 1
            assert side.within is None
            moved = np.moveaxis(read[side.layer], side.axis, 0)
            moved[side.index[order.orders[group.name], 0]] = moved[side.index[:, 0]].copy()
    return read


# ------------------------------------------------------------------ the command


def test_orders_of_a_lot(lot, tmp_path):
    group, folder, chips, where, _ = lot
    out, table = tmp_path / "orders.npz", tmp_path / "yield.csv"
    said = tremap("order", folder, where, "--out", out, "--csv", table).stdout.splitlines()
    assert said[0].split("  ")[0] == "chip"
    assert len(said) == 1 + len(chips) + 4
    assert said[-4] == "8 chips: 3 exact as it lies, 4 exact in another order, 1 left over"
    assert said[-3].startswith("left over: ")
    assert said[-2] == "what stays was weighed by the squared error of the codes"
    assert said[-1] == str(out)
    fleet = loaded(folder, out)
    groups = tm.Bundle.load(folder).groups()
    for order, chip in zip(fleet, chips, strict=True):
        alone = solve(group.image, groups, chip)
        assert {name: o.tolist() for name, o in order.orders.items()} == {n: o.tolist() for n, o in alone.orders.items()}
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["chip"] for row in rows] == [chip.chip for chip in chips]
    assert [int(row["wrong_in_order"]) for row in rows] == [order.wrong for order in fleet]
    verdicts = [row["verdict"].replace(" ", "_") for row in rows]
    assert {verdict: verdicts.count(verdict) for verdict in COUNTS} == COUNTS
    assert verdicts[6] == "left_over"
    assert (int(rows[6]["worst_error"]), float(rows[6]["relative_error"])) == (
        fleet["A6"].worst_error,
        fleet["A6"].relative_error,
    )


def test_json_workers_and_a_run_folder(lot, tmp_path):
    _, folder, chips, where, orders = lot
    out, run = tmp_path / "orders.npz", tmp_path / "run"
    arguments = ["order", folder, where, "--out", out, "--json", "--workers", 2, "--run", run, "--overwrite"]
    said = json.loads(tremap(*arguments).stdout)
    assert {key: said[key] for key in COUNTS} == COUNTS
    assert [row["chip"] for row in said["chips"]] == [chip.chip for chip in chips]
    assert out.read_bytes() == orders.read_bytes()  # whatever the number of workers
    done = {path: path.stat().st_mtime_ns for path in (run / "done").iterdir()}
    assert len(done) == len(chips)
    assert json.loads(tremap(*arguments).stdout) == said
    assert {path: path.stat().st_mtime_ns for path in (run / "done").iterdir()} == done
    assert "seed" in tremap(*arguments, "--seed", 1, code=1).stderr
    result = tremap("order", folder, where, "--out", "-")
    assert "8 chips: 3 exact as it lies" in result.stderr
    assert result.stdout_bytes == orders.read_bytes()
    assert "both write to standard output" in tremap("order", folder, where, "--out", "-", "--json", code=2).stderr


def test_each_chip_has_its_own_image(lot, tmp_path):
    group, folder, chips, where, orders = lot
    images = tmp_path / "images"
    tremap("order", folder, where, "--out", tmp_path / "orders.npz", "--images", images)
    for order, chip in zip(loaded(folder, orders), chips, strict=True):
        words = read_memory_image(images / f"{chip.chip}_as_written.mem", format="readmemh", word_bits=32)
        written = tm.MemoryImage.from_words(group.placement, words)
        assert written.digest == order.image.digest
        assert tm.placement.certificate(written, chip).bit_exact
    assert len(list(images.glob("*.mem"))) == len(chips)
    again = tremap("order", folder, where, "--out", tmp_path / "more.npz", "--images", images, code=1)
    assert "images exists already, and is not empty" in again.stderr
    assert not (tmp_path / "more.npz").exists()
    tremap("order", folder, where / "A5.npz", "--out", tmp_path / "orders.npz", "--images", images, "--overwrite")
    assert [path.name for path in images.glob("*.mem")] == ["A5_as_written.mem"]
    strange = tm.FaultMap(chips[0].memory, [], [], "../out").save(tmp_path / "strange.npz")
    result = tremap("order", folder, strange, "--out", tmp_path / "more.npz", "--images", tmp_path / "new", code=1)
    assert "calls its chip '../out', which cannot be the name of a file in" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "orders.npz", "strange.npz"]


def test_logs_with_many_chips_and_bad_ones(lot, tmp_path):
    _, folder, chips, _, _ = lot
    (tmp_path / "lot").mkdir()
    write_fault_map(chips[1], tmp_path / "lot" / "A1.log", format="log")
    chips[2].save(tmp_path / "lot" / "B.npz")
    chips[2].save(tmp_path / "lot" / "C.npz")
    tm.FaultMap(tm.Memory(words=2, word_bits=2), [0], [0], "small").save(tmp_path / "lot" / "D.npz")
    (tmp_path / "lot" / "E.npz").write_bytes(b"no")
    nameless = tm.FaultMap(chips[3].memory, chips[3].cells, chips[3].stuck_at)
    nameless.save(tmp_path / "lot" / "F.npz")
    out = tmp_path / "orders.npz"
    result = tremap("order", folder, tmp_path / "lot", "--out", out, code=1)
    named = result.stderr.strip().splitlines()
    assert len(named) == 4
    assert "C.npz: chip 'A2' was read from" in named[0]
    assert "D.npz: is of a memory of 2 words × 2 bits, expected" in named[1]
    assert "E.npz" in named[2]
    assert named[3] == "tremap: 3 bad files"
    assert [order.chip for order in loaded(folder, out)] == ["A1", "A2", "F"]
    assert tm.verify_bundle(folder, [nameless], orders=out).bit_exact
    out.unlink()
    assert "chip 'A2' was read from" in tremap("order", folder, tmp_path / "lot", "--out", out, "--strict", code=1).stderr
    assert tremap("order", folder, tmp_path / "lot" / "D.npz", "--out", out, code=1).stdout == ""
    assert not out.exists()


def test_what_is_refused(lot, tmp_path):
    group, folder, _, where, _ = lot
    out = tmp_path / "orders.npz"

    def said(*arguments, code=1):
        result = tremap("order", *arguments, "--out", out, code=code)
        assert not out.exists()
        assert len(result.stderr.strip().splitlines()) == 1 or code == 2
        return result.stderr

    plain = group.export(tmp_path / "plain")
    assert f"{plain}: has no groups of channels; export it with groups=tm.prepare.channel_groups(net, x)" in said(plain, where)
    assert f"no {NAME} in it" in said(tmp_path, where)
    assert "does not exist" in said(tmp_path / "no", where, code=2)
    assert "--words and --word-bits say 3 words × 8 bits" in said(folder, where, "--words", 3, "--word-bits", 8, code=2)
    assert "cannot be an output as well" in tremap("order", folder, where, "--out", folder / "groups.npz", code=2).stderr
    tremap("verify", folder)


def test_neither_torch_nor_brevitas_is_loaded(lot, tmp_path):
    _, folder, _, where, orders = lot
    program = """
        import sys
        sys.modules["torch"] = sys.modules["brevitas"] = None
        from tremap_brevitas.cli import main
        bundle, chips, out = sys.argv[1:]
        main(["order", bundle, chips, "--out", out, "--workers", "2"], standalone_mode=False)
        main(["verify", bundle, chips, "--orders", out], standalone_mode=False)
    """
    out = tmp_path / "orders.npz"
    arguments = [sys.executable, "-c", textwrap.dedent(program), os.fspath(folder), os.fspath(where), os.fspath(out)]
    process = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert out.read_bytes() == orders.read_bytes()
    assert "7 of 8 chips compute exactly the network that was trained" in process.stdout


# ------------------------------------------------------------------ what the orders are good for, from files alone


def test_verify_in_order(lot, tmp_path):
    group, folder, chips, where, orders = lot
    for given in (orders, os.fspath(orders), loaded(folder, orders), list(loaded(folder, orders))):
        report = tm.verify_bundle(folder, chips, orders=given)
        assert report.ok, report
        assert [proof.bit_exact for proof in report.certificates] == [*[True] * 6, False, True]
    bundle = tm.Bundle.load(folder)
    assert tm.verify_bundle(bundle, chips[:6], orders=orders).bit_exact
    assert not tm.verify_bundle(bundle, chips[:6]).bit_exact  # as they lie
    assert "chip 'A0', in its order: bit-exact" in str(report)
    for order, chip, proof in zip(loaded(folder, orders), chips, report.certificates, strict=True):
        read = by_hand(bundle, order, chip)
        for name, codes in proof.read().items():
            assert np.array_equal(codes, read[name])
        if order.exact:
            assert all(np.array_equal(codes, group.image.codes[name]) for name, codes in read.items())
    said = tremap("verify", folder, where, "--orders", orders).stdout
    assert "7 of 8 chips compute exactly the network that was trained" in said
    tremap("verify", folder, where, "--orders", orders, "--exact", code=1)
    tremap("verify", folder, where / "A5.npz", "--orders", orders, "--exact")
    tremap("verify", folder, where / "A5.npz", "--exact", code=1)


def test_orders_that_do_not_hold(lot, tmp_path):
    group, folder, chips, _, orders = lot
    bundle, fleet = tm.Bundle.load(folder), loaded(folder, orders)
    worse = tm.FaultMap(chips[5].memory, [*range(64)], [1] * 64, "A5")
    report = tm.verify_bundle(bundle, [worse], orders=fleet)
    assert "chip 'A5': the order is for a fault map of digest" in report.problems[0]
    assert "read back otherwise than the order says" in str(report)
    worse.save(tmp_path / "A5.npz")
    tremap("verify", folder, tmp_path / "A5.npz", "--orders", orders, code=1)
    with pytest.raises(ValueError, match="no order of chip 'other'; it has 8 chips"):
        tm.verify_bundle(folder, [tm.FaultMap(worse.memory, [3], [1], "other")], orders=orders)
    other = Group("linear", seed=1)
    foreign = other.export(tmp_path / "other", groups=tm.prepare.channel_groups(other.net, other.x))
    with pytest.raises(ValueError, match=r"orders.npz: is of another network: its image"):
        tm.verify_bundle(foreign, chips, orders=orders)
    with pytest.raises(ValueError, match="the order of chip 'A0' is of a network of digest"):
        tm.verify_bundle(foreign, chips, orders=fleet)
    plain = group.export(tmp_path / "plain")
    with pytest.raises(ValueError, match="has no groups of channels; export it with groups="):
        tm.verify_bundle(plain, chips, orders=fleet)
    strange = FleetOrders((solve(group.image, bundle.groups()[:0], chips[1]),))
    with pytest.raises(ValueError, match="the order of chip 'A1' is of other groups of channels than the bundle's"):
        tm.verify_bundle(folder, chips[1:2], orders=strange)
    with pytest.raises(FileNotFoundError):
        tm.verify_bundle(folder, chips, orders=tmp_path / "nowhere.npz")
    assert "give them as well" in tremap("verify", folder, "--orders", orders, code=2).stderr


@pytest.mark.parametrize("form", ["qcdq", "qonnx"])
def test_a_chips_onnx_and_image(lot, tmp_path, form):
    group, folder, chips, _, orders = lot
    bundle, fleet = tm.Bundle.load(folder), loaded(folder, orders)
    for chip in (chips[5], chips[6]):  # exact in another order, left over
        order = fleet[chip.chip]
        path = tm.apply_to_onnx(bundle, chip, tmp_path / "chip.onnx", form=form, order=order)
        read = by_hand(bundle, order, chip)
        weights, about = {w.initializer: w.codes for w in onnx_weights(load_onnx(path))}, onnx_metadata(path)
        for layer, initializer in about["layers"].items():
            assert np.array_equal(weights[initializer], read[layer])
        image = {"image": order.image.digest, "in_order": "yes"}
        assert about["read_by"] == {"chip": chip.chip, "digest": chip.digest, **image}
        if form == "qcdq":
            report = tm.verify_onnx(
                path, tm.MemoryImage(group.placement, read), inputs=group.x.numpy(), outputs=group.outputs(read)
            )
            assert report.ok, report
        write_memory_image(order.image, tmp_path / "chip_as_written.mem", format="readmemh", fault_map=None)
        words = read_memory_image(tmp_path / "chip_as_written.mem", format="readmemh", word_bits=32)
        ordered = tm.MemoryImage.from_words(group.placement, words)
        assert ordered.digest == order.image.digest
        assert tm.placement.certificate(ordered, chip).bit_exact  # it comes back as it was written
        assert tm.MemoryImage(group.placement, order.read(words)).digest == tm.MemoryImage(group.placement, read).digest


def test_onnx_calls_that_are_refused(lot, tmp_path):
    group, folder, chips, _, orders = lot
    fleet, path = loaded(folder, orders), tmp_path / "chip.onnx"
    with pytest.raises(ValueError, match="give image or order, not both"):
        tm.apply_to_onnx(folder, chips[5], path, order=fleet["A5"], image=group.image)
    with pytest.raises(ValueError, match="chip 'A5': the order is for a fault map of digest"):
        tm.apply_to_onnx(folder, chips[4], path, order=fleet["A5"])
    with pytest.raises(ValueError, match="has no groups of channels"):
        tm.apply_to_onnx(group.export(tmp_path / "plain"), chips[5], path, order=fleet["A5"])
    assert not path.exists()


def test_orders_of_two_networks_are_not_mixed(lot, tmp_path):
    _, folder, chips, _, orders = lot
    other = Group("linear", seed=1)
    strange = solve(other.image, tm.Bundle.load(folder).groups(), chips[0])
    with pytest.raises(ValueError, match="orders of different networks"):
        save_orders([*loaded(folder, orders), strange], tmp_path / "mixed.npz")
    assert not list(tmp_path.iterdir())
