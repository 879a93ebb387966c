"""What a bundle holds, and that it leaves whole or not at all."""

import csv
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from groups import BUNDLE_FILES, Group, signed
from helpers import expected_codes

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.bundle.read import read_image
from tremap_brevitas.onnx_export.bundle import OnnxExport, certificate
from tremap_brevitas.onnx_files import load_onnx
from tremap_brevitas.placed.slots import matching_slots
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.placement import read_memory_image

# ------------------------------------------------------------------ what is in it


def test_what_is_written(group, exported):
    folder, chips = exported
    assert sorted(p.name for p in folder.iterdir()) == sorted([*BUNDLE_FILES, "manifest.json"])
    report = tm.verify_bundle(folder, chips)
    assert report.ok
    assert not report.bit_exact  # conflicts
    assert report.codes == group.placement.weights
    assert report.output_error == 0.0  # power-of-two scales
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest["files"]) == BUNDLE_FILES
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
    assert [r["member"] for r in rows] == ["True"] * 4 + ["False"] * 2
    assert [r["accuracy"] != "" for r in rows] == [True] * 4 + [False] * 2
    for row, chip in zip(rows, chips, strict=True):
        read = expected_codes(group.image.codes, group.placement, chip, "plain")
        wrong = sum(int((read[n] != group.image.codes[n]).sum()) for n in read)
        assert int(row["weights_that_differ"]) == wrong
        assert row["bit_exact"] == str(wrong == 0)
        assert row["image"] == "weights_as_written.mem"
    assert rows[-1]["bit_exact"] == "True"


def test_certificates_are_the_oracles(group, exported):
    folder, chips = exported
    for proof, chip in zip(tm.verify_bundle(folder, chips).certificates, chips, strict=True):
        read = expected_codes(group.image.codes, group.placement, chip, "plain")
        assert all(np.array_equal(codes, read[name]) for name, codes in proof.read().items())


def test_the_report_reads_well(exported):
    folder, chips = exported
    text = str(tm.verify_bundle(folder, chips[-2:]))
    first, second, bad, good = text.splitlines()
    assert first == f"{folder}: 7 files unchanged, 9744 codes equal in image and ONNX"
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
    process = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == str(tm.verify_bundle(folder, chips))


@pytest.mark.parametrize("memory_format", ["intel_hex", "raw", "coe"])
def test_other_memory_formats_and_a_single_chip(group, tmp_path, memory_format):
    chip = group.chips[0]
    with group.net.using(chip):
        folder = group.export(tmp_path / "one", memory_format=memory_format, onnx_forms=["qonnx"])
    report = tm.verify_bundle(folder, [chip])
    assert report.bit_exact
    assert report.output_error is None  # onnxruntime knows no Quant node
    assert not (folder / "model.qcdq.onnx").exists()


def test_wide_codes_leave_as_qonnx(tmp_path):
    wide = type("Wide", (tq.FaultyInt8WeightPerChannelFloat,), {"bit_width": 12})
    group = Group(quantizer=wide)
    with pytest.raises(ValueError, match="layer 'features.0': QCDQ holds codes of at most 8 bits, but its codes have 12"):
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
    assert "chips.csv: says of chip 'chip-2': " in str(tm.verify_bundle(folder, group.chips))


@pytest.mark.parametrize("live", ["merged", "one_chip"])
@pytest.mark.parametrize("deployment", ["group_image", "chip_image"])
def test_each_thing_is_worked_out_once(group, monkeypatch, tmp_path, live, deployment):
    """And once more by the check at the end, which goes by the files alone."""
    counts = Counter()

    def count(function, told=lambda *arguments: "all"):
        def counted(*arguments, **options):
            counts[function.__name__, told(*arguments)] += 1
            return function(*arguments, **options)

        for name, module in list(sys.modules.items()):
            if name.startswith("tremap_brevitas") and vars(module).get(function.__name__) is function:
                monkeypatch.setattr(module, function.__name__, counted)
        return counted

    monkeypatch.setattr(PlacedState, "memory_image", count(PlacedState.memory_image))
    count(matching_slots)
    count(certificate, lambda image, chip: chip.chip)
    count(OnnxExport)
    count(load_onnx, lambda path: path.name)
    fault_map = group.merged if live == "merged" else group.chips[0]
    chips = group.chips if live == "merged" else group.chips[:1]
    with group.net.using(fault_map):
        counts.clear()
        group.export(tmp_path / "b", deployment=deployment)
    certificates = {("certificate", chip.chip): 2 for chip in chips}
    if live == "merged":
        certificates["certificate", fault_map.chip] = 1
    elif deployment == "chip_image":  # the image for it is another than the one that was trained
        certificates["certificate", fault_map.chip] += 1
    assert counts == {
        ("memory_image", "all"): 1,
        ("matching_slots", "all"): 1,
        ("OnnxExport", "all"): 1,
        **certificates,
        ("load_onnx", "model.qonnx.onnx"): 2,
        ("load_onnx", "model.qcdq.onnx"): 2,
    }


# ------------------------------------------------------------------ whole or not at all


def test_nothing_is_left_when_it_fails(group, tmp_path):
    with pytest.raises(ValueError, match="differs from PyTorch's by .* the tolerance is -1"):
        group.export(tmp_path / "b", tolerance=-1)
    with pytest.raises(FileNotFoundError):
        group.export(tmp_path / "nowhere" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        group.export(tmp_path / "file" / "b")
    with pytest.raises(FileExistsError, match="file exists already, and is not a folder"):
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
            group.net.export_qonnx(locked / "m.onnx", group.x, dynamo=False)
    finally:
        os.seteuid(was)
    assert list(locked.iterdir()) == []


def test_an_existing_bundle_is_kept_or_replaced_whole(group, copied):
    folder, _ = copied
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(FileExistsError, match="group_0 exists already; give overwrite=True"):
        group.export(folder)
    with pytest.raises(ValueError, match="the tolerance is -1"):
        group.export(folder, overwrite=True, tolerance=-1)
    assert sorted(p.name for p in folder.iterdir()) == before
    group.export(folder, overwrite=True, memory_format="raw")
    assert (folder / "weights_as_written.bin").exists()
    assert not (folder / "weights_as_written.mem").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["group_0"]


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; from groups import Group; group = Group(); print('ready'); group.export(sys.argv[1])\n")
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (root / "tests", root / "examples", root)))}
    said, outcomes = tmp_path / "said", []
    for turn, delay in enumerate([0.05, 0.5, 1.0, 60]):
        target = tmp_path / str(turn) / "bundle"
        target.parent.mkdir()
        said.write_text("")
        process = forked.start(script, target, environment=environment, said=str(said))
        while "ready" not in said.read_text() and process.is_alive():
            time.sleep(0.005)
        process.join(delay)
        process.kill()
        process.join()
        assert "ready" in said.read_text()
        outcomes.append(target.exists())
        if target.exists():
            assert tm.verify_bundle(target, []).ok
    assert outcomes[-1]
    assert not outcomes[0]


def test_the_words_in_the_file_are_the_image(group, exported):
    folder, _ = exported
    bundle = tm.Bundle.load(folder)
    assert repr(bundle).startswith(f"Bundle({str(folder)!r}, MemoryImage(9744 codes of 4 layers")
    words = read_memory_image(folder / "weights_as_written.mem", format="readmemh", word_bits=32)
    assert words == group.image.words()
    image = read_image(folder / "weights_as_written.mem", bundle.manifest, group.placement)
    assert image.digest == group.image.digest
