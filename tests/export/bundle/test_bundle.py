"""A bundle leaves whole or not at all, and what was done to it afterwards is found and named, without torch."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from groups import Group
from groups import X as INPUTS
from helpers import a_chip, change_initializer, expected_codes

import tremap_brevitas as tm
from tremap_brevitas.export import load_onnx, onnx_metadata, onnx_weights, read_memory_image, write_memory_image
from tremap_brevitas.export.bundle.manifest import Manifest, file_digest
from tremap_brevitas.export.bundle.read import read_image

X = INPUTS["digits"]
FILES = [
    "chips.csv",
    "model.qcdq.onnx",
    "model.qonnx.onnx",
    "placement.npz",
    "probe.npz",
    "weights_as_written.mem",
]


@pytest.fixture(scope="module")
def group():
    return Group()


@pytest.fixture(scope="module")
def exported(group, tmp_path_factory):
    stranger = a_chip(group.placement, rate=0.001)
    satisfied = exact_chip(group)
    report = tm.evaluate_fleet(group.model, group.placement, group.chips, lambda m: float(m(X).sum() > 0), progress=False)
    folder = tmp_path_factory.mktemp("bundles") / "group_0"
    group.export(folder, chips=[*group.chips, stranger, satisfied], report=report, dynamo=True)
    return folder, [*group.chips, stranger, satisfied]


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported[0], tmp_path / "group_0"), exported[1]


def exact_chip(group):
    """A chip that is no member, whose stuck values happen to be what is stored."""
    width = group.placement.memory.word_bits
    words = group.image.words()
    cells = list(range(5, 2000, 7))
    return tm.FaultMap(group.placement.memory, cells, [words[c // width] >> c % width & 1 for c in cells], "lucky")


def signed(folder, **changes):
    """Let the manifest agree with whatever lies in the folder: a forgery that no digest gives away."""
    manifest = Manifest.read(folder)
    files = {name: file_digest(folder / name) for name in manifest.files}
    dataclasses.replace(manifest, files=files, **changes).write(folder)


# ------------------------------------------------------------------ what is in it


def test_what_is_written(group, exported):
    folder, chips = exported
    assert sorted(p.name for p in folder.iterdir()) == sorted([*FILES, "manifest.json"])
    report = tm.verify_bundle(folder, chips)
    assert report.ok
    assert not report.bit_exact  # conflicts
    assert report.codes == group.placement.weights
    assert report.output_error == 0.0  # power-of-two scales
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest["files"]) == FILES
    assert manifest["fault_map"] == group.merged.digest
    assert [m["digest"] for m in manifest["members"]] == [c.digest for c in group.chips]
    assert (
        manifest["versions"]["torch"] == torch.__version__.split("+")[0] or manifest["versions"]["torch"] == torch.__version__
    )
    for said, layer in zip(manifest["layers"], group.placement.layers, strict=True):
        weight = group.model.get_submodule(layer.name).quant_weight()
        assert tuple(said["shape"]) == layer.shape
        assert (said["bit_width"], said["signed"], said["encoding"]) == (8, True, "twos_complement")
        assert said["scale"] == weight.scale.detach().reshape(-1).tolist()
        assert said["zero_point"] == [0.0]
        assert said["store"] == "nearest"


def test_the_table_of_chips(group, exported):
    folder, chips = exported
    with (folder / "chips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["chip"] for r in rows] == [c.chip for c in chips]
    assert [r["member"] for r in rows] == ["yes"] * 4 + ["no"] * 2
    assert [r["accuracy"] != "" for r in rows] == [True] * 4 + [False] * 2
    for row, chip in zip(rows, chips, strict=True):
        read = expected_codes(group.image.codes, group.placement, chip, "plain")
        wrong = sum(int((read[n] != group.image.codes[n]).sum()) for n in read)
        assert int(row["weights_that_differ"]) == wrong
        assert row["bit_exact"] == ("yes" if wrong == 0 else "no")
        assert row["image"] == "weights_as_written.mem"
    assert rows[-1]["bit_exact"] == "yes"


def test_certificates_are_the_oracles(group, exported):
    folder, chips = exported
    for proof, chip in zip(tm.verify_bundle(folder, chips).certificates, chips, strict=True):
        read = expected_codes(group.image.codes, group.placement, chip, "plain")
        assert all(np.array_equal(codes, read[name]) for name, codes in proof.read().items())


def test_the_report_reads_well(exported):
    folder, chips = exported
    text = str(tm.verify_bundle(folder, chips[-2:]))
    first, second, bad, good = text.splitlines()
    assert first == f"{folder}: 7 files whole, 9744 codes equal in image and ONNX"
    assert second == "  onnxruntime gives PyTorch's outputs for 6 of 6 inputs"
    assert bad.startswith("  chip 'chip': ")
    assert "weights differ, by " in bad
    assert ".weight[" in bad
    assert good == "  chip 'lucky': bit-exact"


def test_it_needs_neither_torch_nor_brevitas(exported, tmp_path):
    folder, chips = exported
    paths = [str(chip.save(tmp_path / f"{i}.npz")) for i, chip in enumerate(chips)]
    program = """
        import sys

        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "brevitas"):
                    raise ModuleNotFoundError(f"{name} is blocked")

        sys.meta_path.insert(0, Blocked())
        import tremap_brevitas as tm
        chips = [tm.FaultMap.load(path) for path in sys.argv[3:]]
        print(tm.verify_bundle(sys.argv[1], chips))
        tm.apply_to_onnx(sys.argv[1], chips[0], sys.argv[2])
        assert not {"torch", "brevitas"} & set(sys.modules)
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), str(folder), str(tmp_path / "chip.onnx"), *paths]
    found = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == str(tm.verify_bundle(folder, chips))


@pytest.mark.parametrize("memory_format", ["intel_hex", "raw", "coe"])
def test_other_memory_formats_and_a_single_chip(group, tmp_path, memory_format):
    chip = group.chips[0]
    with tm.using_faults(group.model, group.placement, chip):
        folder = tm.export_bundle(
            group.model,
            X,
            tmp_path / "one",
            placement=group.placement,
            fault_map=chip,
            memory_format=memory_format,
            onnx_forms=["qonnx"],
            dynamo=False,
        )
    report = tm.verify_bundle(folder, [chip])
    assert report.bit_exact
    assert report.output_error is None  # onnxruntime knows no Quant node
    assert not (folder / "model.qcdq.onnx").exists()


def test_wide_codes_leave_as_qonnx(tmp_path):
    wide = type("Wide", (tm.FaultyInt8WeightPerChannelFloat,), {"bit_width": 12})
    group = Group(quantizer=wide)
    with pytest.raises(ValueError, match="layer 'features.0': QCDQ holds codes of up to 8 bits, its codes have 12"):
        group.export(tmp_path / "both")
    assert list(tmp_path.iterdir()) == []
    assert tm.verify_bundle(group.export(tmp_path / "one", onnx_forms=["qonnx"]), group.chips).ok


def test_one_image_a_chip(group, tmp_path):
    folder = group.export(tmp_path / "own", deployment="chip_image")
    report = tm.verify_bundle(folder, group.chips)
    assert report.ok, report
    assert len(list(folder.glob("weights_as_written_chip_*.mem"))) == 4
    for chip, proof in zip(group.chips, report.certificates, strict=True):
        expected = expected_codes(group.image.codes, group.placement, chip, "nearest")
        assert all(np.array_equal(codes, expected[name]) for name, codes in proof.read().items())
        assert proof.weights_that_differ > 0
    mine = folder / "weights_as_written_chip_0002.mem"
    shutil.copy(folder / "weights_as_written_chip_0001.mem", mine)
    assert "has the content of weights_as_written_chip_0001.mem" in str(tm.verify_bundle(folder, group.chips))
    signed(folder)  # even then the table gives it away
    assert "chips.csv: says of chip 'chip-2' that" in str(tm.verify_bundle(folder, group.chips))


# ------------------------------------------------------------------ whole or not at all


def test_nothing_is_left_when_it_fails(group, tmp_path):
    with pytest.raises(ValueError, match="differs from PyTorch's by .* allowed are -1"):
        group.export(tmp_path / "b", tolerance=-1)
    other = tm.random_fault_maps(group.placement.memory, chips=1, fault_rate=0.1, seed=99)[0]
    with pytest.raises(ValueError, match="codes do not satisfy the fault map"):
        tm.export_bundle(group.model, X, tmp_path / "b", placement=group.placement, fault_map=other)
    with pytest.raises(FileNotFoundError):
        group.export(tmp_path / "nowhere" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        group.export(tmp_path / "file" / "b")
    with pytest.raises(FileExistsError, match="file exists already, and is no folder"):
        group.export(tmp_path / "file", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_without_permission(group, tmp_path):
    group.export(tmp_path / "first")  # everything is imported now
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    was = os.geteuid()
    if was == 0:
        tmp_path.chmod(0o755)
        os.seteuid(65534)  # root may write everywhere
    try:
        with pytest.raises(PermissionError, match=r"locked|pytest"):
            group.export(locked / "b")
        with pytest.raises(PermissionError):
            tm.export_qonnx(group.model, X, locked / "m.onnx", placement=group.placement, fault_map=group.merged, dynamo=False)
    finally:
        os.seteuid(was)
    assert list(locked.iterdir()) == []


def test_an_existing_bundle_is_kept_or_replaced_whole(group, copied):
    folder, _ = copied
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(FileExistsError, match="group_0 exists already; give overwrite=True"):
        group.export(folder)
    with pytest.raises(ValueError, match="allowed are -1"):
        group.export(folder, overwrite=True, tolerance=-1)
    assert sorted(p.name for p in folder.iterdir()) == before
    group.export(folder, overwrite=True, memory_format="raw")
    assert (folder / "weights_as_written.bin").exists()
    assert not (folder / "weights_as_written.mem").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["group_0"]


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    program = """
        import sys
        sys.path[:0] = {paths!r}
        from groups import Group
        group = Group()
        print("ready", flush=True)
        group.export({target!r})
        print("done", flush=True)
    """
    here = os.path.dirname(__file__)
    paths = [here, *(p for p in sys.path if p)]
    outcomes = []
    for turn, delay in enumerate([0.05, 0.3, 0.6, 0.9, 1.1, 1.3, 60]):
        target = tmp_path / str(turn) / "bundle"
        target.parent.mkdir()
        source = textwrap.dedent(program.format(paths=paths, target=str(target)))
        with subprocess.Popen(
            [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as run:
            assert run.stdout is not None
            assert "ready" in run.stdout.readline()
            end = time.monotonic() + delay
            while time.monotonic() < end and run.poll() is None:
                time.sleep(0.01)
            run.send_signal(signal.SIGKILL)
        outcomes.append(target.exists())
        if target.exists():
            assert tm.verify_bundle(target, []).ok
    assert outcomes[-1]
    assert not outcomes[0]


# ------------------------------------------------------------------ damage is found and named


@pytest.mark.parametrize("name", FILES)
def test_damage_is_found_and_named(copied, name):
    folder, chips = copied
    path = folder / name
    whole = path.read_bytes()
    at = len(whole) // 2
    for damaged in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole[:at], b"", whole + b"\n"):
        path.write_bytes(damaged)
        report = tm.verify_bundle(folder, chips)
        assert not report.ok
        assert report.problems[0].startswith(f"{name}: damaged or replaced: SHA-256 is {file_digest(path)}, expected "), report
        with pytest.raises(ValueError, match=f"not what was exported(.|\n)*{name}"):
            tm.Bundle.load(folder)
    path.unlink()
    assert tm.verify_bundle(folder, chips).problems[0] == f"{name}: missing"


def test_renamed_swapped_and_added_files(copied):
    folder, chips = copied
    (folder / "model.qcdq.onnx").rename(folder / "old.onnx")
    report = tm.verify_bundle(folder, chips)
    assert report.problems[0] == "model.qcdq.onnx: missing; old.onnx has its content"
    assert report.unlisted == ("old.onnx",)
    shutil.copy(folder / "old.onnx", folder / "model.qcdq.onnx")
    report = tm.verify_bundle(folder, chips)
    assert report.ok
    assert "not looked at, since the manifest does not name it: old.onnx" in str(report)
    shutil.move(folder / "model.qcdq.onnx", folder / "x")
    shutil.move(folder / "model.qonnx.onnx", folder / "model.qcdq.onnx")
    shutil.move(folder / "x", folder / "model.qonnx.onnx")
    text = str(tm.verify_bundle(folder, chips))
    assert "model.qcdq.onnx: has the content of model.qonnx.onnx" in text
    assert "model.qonnx.onnx: has the content of model.qcdq.onnx" in text


def test_files_of_another_bundle(copied, tmp_path):
    folder, chips = copied
    other = Group(seed=1).export(tmp_path / "group_1")
    for name in FILES:
        kept = (folder / name).read_bytes()
        if kept == (other / name).read_bytes():  # the placement is the same
            continue
        shutil.copy(other / name, folder / name)
        assert f"{name}: damaged or replaced" in str(tm.verify_bundle(folder, chips))
        signed(folder)
        report = tm.verify_bundle(folder, chips)
        assert not report.ok, name
        if name.endswith(".onnx"):
            assert f"{name}: made for fault_map {tm.Bundle.load(other).manifest.fault_map}" in str(report)
        (folder / name).write_bytes(kept)
        signed(folder)
    assert tm.verify_bundle(folder, chips).ok


def test_the_manifest_itself(copied):
    folder, chips = copied
    path = folder / "manifest.json"
    whole = json.loads(path.read_text())
    for change, reason in {
        '{"a": ': "not a tremap bundle's manifest, or damaged",
        "[]": "not a tremap bundle's manifest, or damaged",
        json.dumps({**whole, "image_format": "raw"}): "was changed: its content has digest",
        json.dumps({**whole, "kind": "else"}): "holds a 'else'",
        json.dumps({**whole, "schema": 2}): "schema 2 of tremap bundle, but this version reads 1 to 1 only",
    }.items():
        path.write_text(change)
        report = tm.verify_bundle(folder, chips)
        assert report.problems[0].startswith("manifest.json: ")
        assert reason in report.problems[0]
        assert report.certificates == ()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in it, so it is no bundle"):
        tm.verify_bundle(folder, chips)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        tm.verify_bundle(folder / "none", chips)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", "a\\b"])
def test_names_cannot_leave_the_folder(copied, name):
    folder, chips = copied
    manifest = Manifest.read(folder)
    for changes in ({"files": {**manifest.files, name: "0"}}, {"image": name}):
        dataclasses.replace(manifest, **changes).write(folder)
        assert "is not plainly in the folder" in tm.verify_bundle(folder, chips).problems[0]


# ------------------------------------------------------------------ forgeries that the digests do not give away


def test_one_flipped_bit_in_the_image(copied, group):
    folder, chips = copied
    words = group.image.words()
    words[100] ^= 1 << 7
    forged = tm.MemoryImage.from_words(group.placement, words)
    write_memory_image(forged, folder / "weights_as_written.mem", format="readmemh", faults=None)
    signed(folder)
    text = str(tm.verify_bundle(folder, chips))
    assert "weights_as_written.mem: holds codes of digest" in text
    signed(folder, image_digest=forged.digest)
    text = str(tm.verify_bundle(folder, chips))
    changed = group.placement.weights_at(100 * 32 + 7)[0]
    assert f"model.qcdq.onnx: layer '{changed.layer}': 1 of " in text
    assert f"[{','.join(map(str, changed.index))}]" in text


@pytest.mark.parametrize("form", ["qcdq", "qonnx"])
def test_one_changed_code_in_an_onnx_file(copied, form):
    folder, chips = copied
    layer = Manifest.read(folder).layers[1]
    path = folder / f"model.{form}.onnx"
    step = 1 if form == "qcdq" else layer.scale[0]

    def change(array):
        array[3, 2, 1, 0] += step if array[3, 2, 1, 0] <= 0 else -step

    change_initializer(path, layer.initializers[form], change)
    signed(folder)
    report = tm.verify_bundle(folder, chips)
    assert len(report.problems) == 1
    assert f"{path.name}: layer '{layer.name}': 1 of 3456 codes differ" in report.problems[0]
    assert "first at [3,2,1,0]" in report.problems[0]


@pytest.mark.parametrize("form", ["qcdq", "qonnx"])
def test_a_changed_scale(copied, form):
    folder, chips = copied
    layer = Manifest.read(folder).layers[-1]
    path = folder / f"model.{form}.onnx"
    graph = load_onnx(path)
    (scale,) = [n.input[1] for n in graph.graph.node if n.input[0] == layer.initializers[form]]

    def double(array):
        array *= 2

    change_initializer(path, scale, double)
    signed(folder)
    text = str(tm.verify_bundle(folder, chips))
    assert f"layer '{layer.name}'" in text
    if form == "qcdq":
        assert f"scale [0] is {2 * layer.scale[0]:.9g}, expected {layer.scale[0]:.9g}" in text
    else:  # half the codes, to which that scale was applied
        assert "codes differ" in text


def test_a_changed_activation(copied):
    folder, chips = copied
    graph = load_onnx(folder / "model.qcdq.onnx")
    biases = [i.name for i in graph.graph.initializer if i.dims == [10]]

    def shift(array):
        array[0] += 1

    change_initializer(folder / "model.qcdq.onnx", biases[0], shift)
    signed(folder)
    assert "model.qcdq.onnx: outputs for probe.npz differ by" in str(tm.verify_bundle(folder, chips))


def test_a_table_that_lies(copied):
    folder, chips = copied
    path = folder / "chips.csv"
    text = path.read_text()
    lines = text.splitlines()
    fields = lines[1].split(",")
    fields[4:7] = ["yes", "0", "0"]
    path.write_text("\n".join([lines[0], ",".join(fields), *lines[2:]]) + "\n")
    signed(folder)
    assert "chips.csv: says of chip 'chip-0' that 0 weights differ" in str(tm.verify_bundle(folder, chips))
    path.write_text(text.replace("chip-1,", "chip-1,x,", 1))
    signed(folder)
    assert "chips.csv:3: " in str(tm.verify_bundle(folder, chips))
    path.write_text(text.replace("digest", "hash", 1))
    signed(folder)
    assert "chips.csv:1: columns chip,hash,faults" in str(tm.verify_bundle(folder, chips))
    path.write_text(text.replace("weights_as_written.mem", "other.mem", 1))
    signed(folder)
    assert "is to get 'other.mem', which is no file of the bundle" in str(tm.verify_bundle(folder, chips))


def test_an_onnx_file_that_is_none_or_lacks_a_weight(copied):
    folder, chips = copied
    path = folder / "model.qcdq.onnx"
    whole = path.read_bytes()
    path.write_bytes(b"\x00garbage")
    signed(folder)
    assert "model.qcdq.onnx: not an ONNX file, or damaged" in str(tm.verify_bundle(folder, chips))
    foreign = load_onnx(folder / "model.qonnx.onnx")
    del foreign.metadata_props[:]
    path.write_bytes(foreign.SerializeToString())
    signed(folder)
    assert "model.qcdq.onnx: was not written by tremap_brevitas" in str(tm.verify_bundle(folder, chips))
    path.write_bytes(whole)
    graph = load_onnx(path)
    name = Manifest.read(folder).layers[0].initializers["qcdq"]
    kept = [i for i in graph.graph.initializer if i.name != name]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    path.write_bytes(graph.SerializeToString())
    signed(folder)
    assert f"model.qcdq.onnx: layer 'features.0': no quantized weight '{name}' in it" in str(tm.verify_bundle(folder, chips))
    shutil.copy(folder / "probe.npz", folder / "placement.npz")
    signed(folder)
    assert "placement.npz: holds a tremap probe, expected a tremap placement" in str(tm.verify_bundle(folder, chips))


# ------------------------------------------------------------------ as one chip computes it


@pytest.mark.parametrize("deployment", ["group_image", "chip_image"])
def test_onnx_as_a_chip_computes_it(group, tmp_path, deployment):
    bundle = tm.Bundle.load(group.export(tmp_path / "b", deployment=deployment))
    for chip in [*group.chips[:2], a_chip(group.placement, rate=0.05)]:
        proof = bundle.certificate(chip)
        path = tm.apply_to_onnx(bundle, chip, tmp_path / f"{chip.chip}.onnx")
        found = tm.verify_onnx(
            path,
            tm.MemoryImage(group.placement, proof.read()),
            inputs=X.numpy(),
            outputs=group.outputs(proof.read()),
            tolerance=0,
        )
        assert found.ok, found  # to the last bit
        path = tm.apply_to_onnx(bundle, chip, tmp_path / "q.onnx", form="qonnx")
        weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(path))}
        for layer, initializer in onnx_metadata(path)["layers"].items():
            assert np.array_equal(weights[initializer], proof.read()[layer])


@pytest.mark.parametrize("dynamo", [False, True])
def test_lowest_codes_in_layers_that_no_fault_hit_in_training(tmp_path, dynamo):
    """Stock Brevitas clips such layers to -127; a chip may read -128 there all the same."""
    group = Group(quantizer=tm.FaultyInt8WeightPerTensorFixedPoint)
    first = tm.FaultMap(group.placement.memory, [0], [1], "first")
    tm.set_faults_(group.model, group.placement, first)
    image = tm.memory_image(group.model, group.placement)
    layer = group.placement.layer("features.3")
    weight = int(np.argmin(np.abs(image.codes[layer.name].reshape(-1).astype(int))))
    cells = [group.placement.cell(layer.name, weight, bit=bit) for bit in range(8)]
    chip = tm.FaultMap(group.placement.memory, cells, [0] * 7 + [1], "lowest")
    folder = tm.export_bundle(
        group.model, X, tmp_path / "b", placement=group.placement, fault_map=first, chips=[chip], dynamo=dynamo
    )
    proof = tm.verify_bundle(folder, [chip]).certificates[0]
    assert proof.read()["features.3"].reshape(-1)[weight] == -128
    for form in ("qcdq", "qonnx"):
        path = tm.apply_to_onnx(folder, chip, tmp_path / "chip.onnx", form=form)
        weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(path))}
        assert weights[onnx_metadata(path)["layers"]["features.3"]].min() == -128
        if form == "qcdq":
            found = tm.verify_onnx(
                path, tm.MemoryImage(group.placement, proof.read()), inputs=X.numpy(), outputs=group.outputs(proof.read())
            )
            assert found.ok, found


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
    report = tm.evaluate_fleet(group.model, group.placement, group.chips, lambda m: 0.5, progress=False)
    with pytest.raises(ValueError, match="is about chip 'chip-1', which is none of chips"):
        group.export(tmp_path / "b", chips=group.chips[:1], report=report)
    with pytest.raises(ValueError, match="is of another network or deployment: on chip 'chip-0'"):
        group.export(tmp_path / "b", report=report, deployment="chip_image")
    assert list(tmp_path.iterdir()) == []


def test_the_words_in_the_file_are_the_image(group, exported):
    folder, _ = exported
    bundle = tm.Bundle.load(folder)
    assert repr(bundle).startswith(f"Bundle({str(folder)!r}, MemoryImage(9744 codes of 4 layers")
    words = read_memory_image(folder / "weights_as_written.mem", format="readmemh", word_bits=32)
    assert words == group.image.words()
    image = read_image(folder, "weights_as_written.mem", bundle.manifest, group.placement)
    assert image.digest == group.image.digest
