"""What was done to a bundle afterwards is found and named, forgeries included."""

import dataclasses
import json
import shutil

import pytest
from groups import BUNDLE_FILES, Group, signed
from helpers import change_initializer

import tremap_brevitas as tm
from tremap_brevitas.bundle.manifest import Manifest, file_digest
from tremap_brevitas.onnx_files import load_onnx
from tremap_brevitas.placement import write_memory_image

# ------------------------------------------------------------------ damage is found and named


@pytest.mark.parametrize("name", BUNDLE_FILES)
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
    assert "not checked, since the manifest does not list it: old.onnx" in str(report)
    shutil.move(folder / "model.qcdq.onnx", folder / "x")
    shutil.move(folder / "model.qonnx.onnx", folder / "model.qcdq.onnx")
    shutil.move(folder / "x", folder / "model.qonnx.onnx")
    text = str(tm.verify_bundle(folder, chips))
    assert "model.qcdq.onnx: has the content of model.qonnx.onnx" in text
    assert "model.qonnx.onnx: has the content of model.qcdq.onnx" in text


def test_files_of_another_bundle(copied, tmp_path):
    folder, chips = copied
    other = Group(seed=1).export(tmp_path / "group_1")
    for name in BUNDLE_FILES:
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
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in it, so it is not a bundle"):
        tm.verify_bundle(folder, chips)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        tm.verify_bundle(folder / "none", chips)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", "a\\b"])
def test_names_cannot_leave_the_folder(copied, name):
    folder, chips = copied
    manifest = Manifest.read(folder)
    for changes in ({"files": {**manifest.files, name: "0"}}, {"image": name}):
        dataclasses.replace(manifest, **changes).write(folder)
        assert "is not directly in the folder" in tm.verify_bundle(folder, chips).problems[0]


# ------------------------------------------------------------------ forgeries that the digests do not give away


def test_one_flipped_bit_in_the_image(copied, group):
    folder, chips = copied
    words = group.image.words()
    words[100] ^= 1 << 7
    forged = tm.MemoryImage.from_words(group.placement, words)
    write_memory_image(forged, folder / "weights_as_written.mem", format="readmemh", fault_map=None)
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
    fields[4:7] = ["True", "0", "0"]
    path.write_text("\n".join([lines[0], ",".join(fields), *lines[2:]]) + "\n")
    signed(folder)
    assert "chips.csv: says of chip 'chip-0': bit-exact; its certificate says: " in str(tm.verify_bundle(folder, chips))
    path.write_text(text.replace("chip-1,", "chip-1,x,", 1))
    signed(folder)
    assert "chips.csv:3: " in str(tm.verify_bundle(folder, chips))
    path.write_text(text.replace("digest", "hash", 1))
    signed(folder)
    assert "chips.csv:1: not a table of chips: its columns are chip,hash,faults" in str(tm.verify_bundle(folder, chips))
    path.write_text(text.replace("weights_as_written.mem", "other.mem", 1))
    signed(folder)
    assert "is to get 'other.mem', which is not a file of the bundle" in str(tm.verify_bundle(folder, chips))


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
