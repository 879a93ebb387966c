"""``tremap patch`` on a real bundle: files in, files out, and what is said."""

import json
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from cli.test_maps import tremap
from groups import Group, signed

import tremap_brevitas as tm
from tremap_brevitas import planning
from tremap_brevitas.faults.formats import write_fault_map
from tremap_brevitas.onnx_files import load_onnx, onnx_metadata, onnx_weights
from tremap_brevitas.patching import patch
from tremap_brevitas.placement import read_memory_image


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """(group, its bundle with moments, a chip that was exact before three more cells got stuck)."""
    group = Group("linear")
    inputs = torch.randn(300, 64, generator=torch.Generator().manual_seed(1)).relu()
    folder = group.export(tmp_path_factory.mktemp("patch") / "group_0", moments=inputs.split(100))
    old = group.exact_chip(range(5, 2000, 7))
    new = [group.placement.cell("0", 5, bit=6), group.placement.cell("0", 70, bit=5), group.placement.cell("2", 40, bit=6)]
    stored = {c: group.image.words()[c // 32] >> c % 32 & 1 for c in new}
    stuck = dict(zip(old.cells.tolist(), old.stuck_at.tolist(), strict=True)) | {c: 1 - bit for c, bit in stored.items()}
    chip = tm.FaultMap(old.memory, list(stuck), list(stuck.values()), "A7")
    return group, folder, chip


@pytest.fixture
def chip_file(bundle, tmp_path):
    return bundle[2].save(tmp_path / "A7.npz")


GOLDEN = """\
layer      channels    weights that differ    as written    nearest codes    patched  note
0                 2                2 -> 40        0.0221           0.0095     0.0077
2                 1                1 -> 13        0.0573           0.0054     0.0045
chip 'A7': weights that differ 3 -> 53; relative error of the outputs, all layers together: 0.0614 as written, \
0.0109 with the nearest codes, 0.0089 patched
{out}
"""


def test_the_chips_own_image(bundle, chip_file, tmp_path):
    group, folder, chip = bundle
    out = tmp_path / "A7.mem"
    assert tremap("patch", folder, chip_file, "--out", out).stdout == GOLDEN.format(out=out)
    words = read_memory_image(out, format="readmemh", word_bits=32)
    image = tm.MemoryImage.from_words(group.placement, words)
    assert tm.placement.certificate(image, chip).bit_exact
    changed = [i for i, (a, b) in enumerate(zip(words, group.image.words(), strict=True)) if a != b]
    rows = {i // 16 if i < 512 else 32 + (i - 512) // 8 for i in changed}  # words of 4 codes: 64 and 32 inputs
    assert rows == {0, 1, 33}
    assert "words as written" in out.read_text().splitlines()[0]


@pytest.mark.parametrize("form", ["qcdq", "qonnx"])
def test_its_onnx_file_holds_what_it_reads(bundle, chip_file, tmp_path, form):
    group, folder, chip = bundle
    out, onnx = tmp_path / "A7.mem", tmp_path / "A7.onnx"
    tremap("patch", folder, chip_file, "--out", out, "--onnx", onnx, "--form", form)
    image = patch(group.image, tm.Bundle.load(folder).moments(), chip).image
    weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(onnx))}
    about = onnx_metadata(onnx)
    assert about["read_by"] == {"chip": "A7", "digest": chip.digest, "image": image.digest}
    for layer, initializer in about["layers"].items():
        assert np.array_equal(weights[initializer], image.codes[layer])
    if form == "qcdq":
        report = tm.verify_onnx(onnx, image, inputs=group.x.numpy(), outputs=group.outputs(image.codes))
        assert report.ok, report


def test_json_logs_and_standard_output(bundle, tmp_path):
    _, folder, chip = bundle
    write_fault_map(chip, tmp_path / "A7.log", format="log")
    result = tremap("patch", folder, tmp_path / "A7.log", "--out", tmp_path / "a.mem", "--json", "--sweeps", 3)
    said = json.loads(result.stdout)
    assert said["weights_that_differ"][0] == 3
    assert said["error"] < said["error_nearest"] < said["error_as_written"]
    assert [layer["layer"] for layer in said["layers"]] == ["0", "2"]
    result = tremap("patch", folder, tmp_path / "A7.log", "--out", "-")
    assert result.stdout.startswith("// words as written")
    assert "weights that differ 3 ->" in result.stderr
    assert "both write to standard output" in tremap(
        "patch", folder, tmp_path / "A7.log", "--out", "-", "--json", code=2
    ).stderr  # fmt: skip


def test_what_is_refused(bundle, chip_file, tmp_path):
    group, folder, _ = bundle
    out = tmp_path / "own.mem"

    def said(*arguments, code=1):
        result = tremap("patch", *arguments, "--out", out, code=code)
        assert not out.exists()
        assert len(result.stderr.strip().splitlines()) == 1 or code == 2
        return result.stderr

    plain = group.export(tmp_path / "plain")
    assert f"{plain}: has no moments of its layers' inputs; export it with moments=" in said(plain, chip_file)
    member = group.merged.members[0].save(tmp_path / "member.npz")
    exact = group.exact_chip(range(5, 900, 7)).save(tmp_path / "exact.npz")
    for path in (exact, tm.FaultMap(group.placement.memory, [], [], "none").save(tmp_path / "none.npz")):
        assert "reads every code of the image correctly: there is nothing to patch" in said(folder, path)
    other = tm.FaultMap(tm.Memory(words=2, word_bits=2), [0], [0], "small").save(tmp_path / "small.npz")
    assert "2 words × 2 bits" in said(folder, other)
    assert "no manifest.json in it" in said(tmp_path, member)
    assert "does not exist" in said(tmp_path / "no", member, code=2)
    assert "--words and --word-bits say 3 words × 8 bits" in said(folder, member, "--words", 3, "--word-bits", 8, code=2)
    result = tremap("patch", folder, chip_file, "--out", folder / "moments.npz", code=2)
    assert "is an input, and cannot be an output as well" in result.stderr
    tremap("verify", folder)


def test_a_damaged_or_foreign_file_of_moments(bundle, chip_file, tmp_path):
    group, folder, _ = bundle
    copy = shutil.copytree(folder, tmp_path / "copy")
    data = (copy / "moments.npz").read_bytes()
    middle = len(data) // 2
    (copy / "moments.npz").write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    result = tremap("patch", copy, chip_file, "--out", tmp_path / "own.mem", code=1)
    assert "moments.npz: damaged or replaced: SHA-256 is" in result.stderr
    (copy / "moments.npz").write_bytes(data[:middle])
    signed(copy)  # a manifest that agrees
    assert "moments.npz: not a tremap input moments file, or damaged" in tremap("verify", copy, code=1).stdout
    other = Group("linear", seed=1)
    foreign = other.export(tmp_path / "other", moments=[torch.randn(9, 64)])
    shutil.copy(foreign / "moments.npz", copy / "moments.npz")
    signed(copy)
    result = tremap("patch", copy, chip_file, "--out", tmp_path / "own.mem", code=1)
    assert "moments.npz: belongs to an image of digest" in result.stderr
    with pytest.raises(ValueError, match="moments belong to an image of digest"):
        group.export(tmp_path / "b", moments=tm.Bundle.load(foreign).moments())
    assert not (tmp_path / "b").exists()


def test_sums_beyond_the_accumulators_are_named(bundle, chip_file, tmp_path):
    group, folder, chip = bundle
    image = patch(group.image, tm.Bundle.load(folder).moments(), chip).image
    inputs = (0, 255)  # of layer 2: unsigned activations of 8 bits
    sums = [sorted((c * inputs[0], c * inputs[1])) for c in image.codes["2"].astype(int).reshape(-1).tolist()]
    rows = np.array(sums).reshape(10, 32, 2).sum(1)
    said = {"2": (int(rows[:, 0].min()) + 1, int(rows[:, 1].max()))}
    copy = shutil.copytree(folder, tmp_path / "narrow")
    signed(copy, accumulators=said)
    text = tremap("patch", copy, chip_file, "--out", tmp_path / "a.mem").stdout
    match = re.search(r"layer '2': sums from (-\d+) to (\d+), the bundle says (-\d+) to (\d+)", text)
    assert match is not None
    low, high, *before = map(int, match.groups())
    assert tuple(before) == said["2"]
    assert low <= rows[:, 0].min()  # the trained codes count as well
    assert high >= rows[:, 1].max()
    assert json.loads(tremap("patch", copy, chip_file, "--out", tmp_path / "b.mem", "--json").stdout)[
        "beyond_accumulators"
    ] == {"2": [low, high]}


def test_formats_without_comments_need_a_telling_name(bundle, chip_file, tmp_path):
    group, folder, chip = bundle
    moments = tm.Bundle.load(folder).moments()
    raw = group.export(tmp_path / "raw", memory_format="raw", moments=moments)
    result = tremap("patch", raw, chip_file, "--out", tmp_path / "own.bin", code=2)
    assert "raw has no comments, so the name must contain as_written" in result.stderr
    own = tmp_path / "own_as_written.bin"
    tremap("patch", raw, chip_file, "--out", own)
    words = read_memory_image(own, format="raw", word_bits=32)
    assert tm.MemoryImage.from_words(group.placement, words).digest == patch(group.image, moments, chip).image.digest


def test_neither_torch_nor_brevitas_is_loaded(bundle, chip_file, tmp_path):
    _, folder, _ = bundle
    program = """
        import sys
        sys.modules["torch"] = sys.modules["brevitas"] = None
        from tremap_brevitas.cli import main
        main(sys.argv[1:], standalone_mode=False)
    """
    arguments = ["patch", folder, chip_file, "--out", tmp_path / "A7.mem", "--onnx", tmp_path / "A7.onnx"]
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == GOLDEN.format(out=tmp_path / "A7.mem")


def test_assign_by_errors_of_outputs(bundle, chip_file, tmp_path):
    group, folder, chip = bundle
    report = group.net.evaluate(group.chips, lambda model: 0.9, progress=False)
    full = group.export(tmp_path / "full", report=report, moments=tm.Bundle.load(folder).moments())
    points = [planning.Point(0.0, 0.9), planning.Point(1.0, 0.5)]
    curve = planning.ResilienceCurve(points, error_of="outputs").save(tmp_path / "curve.json")
    result = tremap("assign", chip_file, "--bundle", full, "--curve", curve, "--goal", 0.8, "--json")
    (row,) = json.loads(result.stdout)
    proof = tm.placement.certificate(group.image, chip, deployment="chip_image")
    assert row["error"] == pytest.approx(planning.output_error(proof, tm.Bundle.load(full).moments()))
    assert row["verdict"] == "good enough"
    result = tremap("assign", chip_file, "--bundle", full, "--curve", curve, "--goal", 0.8, "--deployment", "patched", "--json")
    assert json.loads(result.stdout)[0]["error"] < row["error"]
    bare = group.export(tmp_path / "bare", report=report)
    result = tremap("assign", chip_file, "--bundle", bare, "--curve", curve, "--goal", 0.8, code=1)
    assert f"{bare}: has no moments of its layers' inputs" in result.stderr
