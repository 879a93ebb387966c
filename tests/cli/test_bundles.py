"""``tremap verify`` and ``tremap layout`` on a real bundle."""

import json
import subprocess
import sys

import pytest
from cli.test_maps import tremap
from groups import Group

import tremap_brevitas as tm
from tremap_brevitas.faults.formats import write_fault_map


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    group = Group("linear")
    folder = tmp_path_factory.mktemp("cli") / "group_0"
    group.export(folder)
    (folder.parent / "chips").mkdir()
    for chip in group.chips:
        write_fault_map(chip, folder.parent / "chips" / f"{chip.chip}.log", format="log")
    exact = tm.FaultMap(group.placement.memory, [0], [group.image.words()[0] & 1], "exact")
    exact.save(folder.parent / "exact.npz")
    return group, folder


def test_logs_need_no_geometry(bundle):
    group, folder = bundle
    out = tremap("verify", folder, folder.parent / "chips").stdout
    assert f"{folder}: 7 files unchanged, 2368 codes equal in image and ONNX" in out
    assert "0 of 4 chips compute exactly the network that was trained" in out
    answer = json.loads(tremap("verify", folder, folder.parent / "chips", "--json").stdout)
    assert answer["ok"]
    expected = [tm.placement.certificate(group.image, chip).weights_that_differ for chip in group.chips]
    assert [entry["weights_that_differ"] for entry in answer["chips"]] == expected


def test_exit_codes(bundle, tmp_path):
    group, folder = bundle
    exact = folder.parent / "exact.npz"
    assert "1 of 1 chip computes exactly" in tremap("verify", folder, exact, "--exact").stdout
    tremap("verify", folder, exact, folder.parent / "chips", "--exact", code=1)
    (tmp_path / "bad.log").write_text("address,expected,read\nzz,0,1\n")
    result = tremap("verify", folder, tmp_path / "bad.log", exact, code=1)
    assert "bad.log:2: address 'zz' is not a number of base 16" in result.stderr
    assert "1 of 1 chip computes" in result.stdout
    small = tm.FaultMap(tm.Memory(words=2, word_bits=2), [0], [0], "small").save(tmp_path / "small.npz")
    assert "is of a memory of 2 words × 2 bits" in tremap("verify", folder, small, code=1).stderr
    assert "no manifest.json in it" in tremap("verify", tmp_path, code=1).stderr
    assert "no such folder" in tremap("verify", tmp_path / "none", code=1).stderr
    copy = group.export(tmp_path / "b")
    (copy / "chips.csv").write_text("")
    assert "chips.csv: damaged or replaced" in tremap("verify", copy, code=1).stdout
    (copy / "manifest.json").write_text("{}")
    assert "not a tremap bundle's manifest" in tremap("verify", copy, code=1).stdout


def test_a_geometry_that_is_not_the_bundles_is_a_wrong_call(bundle):
    _, folder = bundle
    result = tremap("verify", folder, folder.parent / "chips", "--words", 3, "--word-bits", 8, code=2)
    assert "--words and --word-bits say 3 words × 8 bits, the bundle has" in result.stderr


def test_layout(bundle):
    group, folder = bundle
    assert tremap("layout", folder).stdout == f"{group.placement}\n"
    assert "  31 … 24  0.weight[0,7], twos_complement" in tremap("layout", folder, 1).stdout
    assert tremap("layout", folder, "--cell", 39).stdout == "cell 39, bit 7 of word 1: bit 7 of 0.weight[0,4]\n"
    assert "word 99999 is outside the memory" in tremap("layout", folder, 99999, code=1).stderr


def test_the_installed_command_loads_no_torch():
    code = "import sys; from tremap_brevitas.cli import main; assert not {'torch', 'brevitas', 'onnx'} & set(sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
