"""The command, as a user calls it: files in, files out, exit codes, and what is said."""

import json
import re

import pytest
from click.testing import CliRunner

import tremap_brevitas as tm
from tremap_brevitas.cli import main
from tremap_brevitas.faults.array.allocate import allocate_repair
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.formats import read_fault_map, write_fault_map

MEMORY = tm.Memory(words=64, word_bits=16, banks=4)
SIZE = ["--words", "64", "--word-bits", "16", "--banks", "4"]


def tremap(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="tremap")
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def chips():
    return tm.random_fault_maps(MEMORY, chips=5, fault_rate=0.03, seed=1)


@pytest.fixture
def folder(chips, tmp_path):
    path = tmp_path / "chips"
    path.mkdir()
    for chip in chips:
        chip.save(path / f"{chip.chip}.npz")
    return path


def test_from_a_folder_of_logs_to_a_merged_map(tmp_path, chips):
    logs = tmp_path / "logs"
    logs.mkdir()
    for chip in chips:
        write_fault_map(chip, logs / f"{chip.chip}.log", format="log")
    out = tremap("map", "convert", logs, *SIZE, "--to", "tremap", "--out", tmp_path / "maps").stdout
    assert out == f"5 maps written to {tmp_path}/maps\n"
    for chip in chips:
        loaded = tm.FaultMap.load(tmp_path / "maps" / f"{chip.chip}.npz")
        assert (loaded.digest, loaded.chip, loaded.memory.banks) == (chip.digest, chip.chip, 4)
    out = tremap("map", "merge", tmp_path / "maps", "--on-conflict", "majority", "--out", tmp_path / "m.npz", "--json").stdout
    merged = tm.merge(chips, on_conflict="majority")
    assert json.loads(out)["digest"] == merged.digest
    assert tm.MergedFaultMap.load(tmp_path / "m.npz").digest == merged.digest
    assert "5 chips" in tremap("map", "merge", tmp_path / "maps", "--on-conflict", "free", "--out", tmp_path / "f.npz").stdout
    assert (
        "conflicts, the first at cell"
        in tremap("map", "merge", tmp_path / "maps", "--on-conflict", "error", "--out", tmp_path / "e.npz", code=1).stderr
    )
    assert not (tmp_path / "e.npz").exists()


@pytest.mark.parametrize("to", ["csv", "log", "readback", "neuralfuse"])
def test_every_format_there_and_back(tmp_path, folder, chips, to):
    tremap("map", "convert", folder / "chip-3.npz", "--to", to, "--out", tmp_path / "x.txt")
    options = ["--format", to, *SIZE]
    source = tmp_path / "x.txt"
    if to == "readback":
        source = tmp_path / "x-ones.txt"
        options += ["--option", f"other={tmp_path / 'x-zeros.txt'}"]
    if to == "neuralfuse":
        source = tmp_path / "x-sa0.txt"
    tremap("map", "convert", source, *options, "--to", "tremap", "--chip", "again", "--out", tmp_path / "x.npz")
    loaded = tm.FaultMap.load(tmp_path / "x.npz")
    assert (loaded.digest, loaded.chip) == (chips[3].digest, "again")


def test_info(tmp_path, folder, chips):
    out = tremap("map", "info", folder / "chip-0.npz").stdout
    assert f"chip 'chip-0': {MEMORY}, digest {chips[0].digest}" in out
    out = tremap("map", "info", folder).stdout
    assert [line.split()[0] for line in out.splitlines()[1:6]] == [c.chip for c in chips]
    assert "5 chips together" in out
    tm.FaultMap(tm.Memory(words=3, word_bits=3), [1], [0], "other").save(tmp_path / "other.npz")
    assert "chips of different memories" in tremap("map", "info", folder, tmp_path / "other.npz").stdout
    answer = json.loads(tremap("map", "info", folder, "--json").stdout)
    assert [entry["faults"] for entry in answer] == [len(c) for c in chips]
    merged = tm.merge(chips, on_conflict="sa0")
    merged.save(folder / "z-merged.npz")
    assert json.loads(tremap("map", "info", folder, "--json").stdout)[5]["faults"] == len(merged)


def test_a_bad_file_is_named_and_the_rest_go_on(tmp_path, folder):
    (folder / "chip-1.npz").write_bytes(b"PK\x03\x04 no")
    (folder / "chip-7.log").write_text("address,expected,read\n99,0,1\n")
    result = tremap("map", "info", folder, *SIZE, code=1)
    assert len(result.stdout.splitlines()) > 4
    assert f"tremap: {folder}/chip-1.npz: not a tremap fault map file, or damaged" in result.stderr
    assert f"tremap: {folder}/chip-7.log:2: address 99 is word 153, outside the memory of 64 words" in result.stderr
    assert "2 bad files" in result.stderr
    result = tremap("map", "info", folder, *SIZE, "--strict", code=1)
    assert result.stdout == ""
    assert "chip-1.npz" in result.stderr
    result = tremap("map", "merge", folder, "--on-conflict", "free", "--out", tmp_path / "m.npz", code=1)  # always strict
    assert "chip-1.npz" in result.stderr
    assert not (tmp_path / "m.npz").exists()
    result = tremap("map", "convert", folder, *SIZE, "--to", "csv", "--out", tmp_path / "csv", code=1)
    assert "4 maps written" in result.stdout
    assert len(list((tmp_path / "csv").glob("*.csv"))) == 4


def test_two_chips_of_one_name_do_not_overwrite_each_other(tmp_path, folder, chips):
    chips[0].save(folder / "again.npz")
    result = tremap("map", "convert", folder, "--to", "csv", "--out", tmp_path / "csv", code=1)
    assert "would overwrite" in result.stderr
    assert "both call the chip 'chip-0'" in result.stderr


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/b", "a\\b"])
def test_a_chips_name_cannot_lead_out_of_the_folder(tmp_path, folder, chips, name):
    tm.FaultMap(MEMORY, chips[0].cells, chips[0].stuck_at, name).save(folder / "bad.npz")
    result = tremap("map", "convert", folder, "--to", "csv", "--out", tmp_path / "csv", code=1)
    assert "bad.npz: calls its chip" in result.stderr
    assert result.stdout == f"5 maps written to {tmp_path}/csv\n"
    assert len(list((tmp_path / "csv").glob("*.csv"))) == 5
    assert not list(tmp_path.glob("outside*"))


@pytest.mark.parametrize(
    "options",
    [
        ["--rate", 0.01],
        ["--kind", "clustered", "--rate", 0.01, "--cluster-size", 4],
        ["--kind", "lines", "--rows", 1, "--columns", 2],
        ["--kind", "lines", "--columns", 1, "--rate", 0.01],
        ["--kind", "nested", "--rate", 0.02, "--rate", 0.005],
        ["--kind", "like"],
    ],
)
def test_generate(tmp_path, folder, options):
    if "like" in options:
        options = [*options, "--like", folder]
    arguments = ["map", "generate", *SIZE, "--chips", 3, *options, "--seed", 4]
    tremap(*arguments, "--out", tmp_path / "a")
    tremap(*arguments, "--out", tmp_path / "b")
    first, second = ([read_fault_map(p) for p in sorted((tmp_path / n).glob("*.npz"))] for n in "ab")
    assert first == second
    assert len(first) == (6 if "nested" in options else 3)
    if "nested" in options:
        tremap("map", "diff", tmp_path / "a" / "chip-1-0.005.npz", tmp_path / "a" / "chip-1-0.02.npz", code=1)
        result = tremap(
            "map", "diff", tmp_path / "a" / "chip-1-0.005.npz", tmp_path / "a" / "chip-1-0.02.npz", "--json", code=1
        )
        assert json.loads(result.stdout)["first_in_second"] == 1.0


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "like",
            ["--rate", 0.1],
            "--rate does not apply to --kind like, only to --kind uniform or clustered or lines or nested",
        ),
        ("like", ["--sa1-share", 0.5], "--sa1-share does not apply to --kind like"),
        ("uniform", ["--rate", 0.1, "--like", "."], "--like does not apply to --kind uniform, only to --kind like"),
        ("nested", ["--rate", 0.1, "--cluster-size", 10], "--cluster-size does not apply to --kind nested"),
        ("lines", ["--rows", 1, "--spread", 4, 2], "--spread does not apply to --kind lines"),
        ("uniform", ["--rate", 0.1, "--rows", 0], "--rows does not apply to --kind uniform, only to --kind lines"),
    ],
)
def test_no_option_is_passed_over(tmp_path, folder, kind, options, message):
    options = ["--kind", kind, *options, *(["--like", folder] if kind == "like" else [])]
    assert message in tremap("map", "generate", *SIZE, *options, "--out", tmp_path / "x", code=2).stderr
    assert not (tmp_path / "x").exists()


def test_addresses_and_arrays(tmp_path, folder, chips):
    """A tester's map of the array becomes one of addresses, and back."""
    array = ArrayGeometry(MEMORY, column_mux=4, bit_order=[*range(8, 16), *range(8)])
    geometry = ["--geometry", array.save(tmp_path / "array.json")]
    tremap("map", "convert", folder, *geometry, "--as", "physical", "--to", "tremap", "--out", tmp_path / "arrays")
    assert read_fault_map(tmp_path / "arrays" / "chip-2.npz") == array.to_physical(chips[2])
    tremap("map", "convert", tmp_path / "arrays", *geometry, "--as", "logical", "--to", "tremap", "--out", tmp_path / "back")
    assert [read_fault_map(tmp_path / "back" / f"{c.chip}.npz") for c in chips] == chips
    result = tremap("map", "convert", folder, *geometry, "--as", "logical", "--to", "csv", "--out", tmp_path / "no", code=1)
    assert "chip-4.npz" in result.stderr
    assert result.stdout.startswith("0 maps written")
    assert (
        "--geometry and --as together"
        in tremap("map", "convert", folder, *geometry, "--to", "csv", "--out", tmp_path / "no", code=2).stderr
    )
    tremap("map", "plot", folder / "chip-0.npz", *geometry, "--out", tmp_path / "p.svg")
    said = ["map", "repair", folder / "chip-0.npz", "--spare-rows", 1, "--out", tmp_path / "r.npz"]
    tremap(*said, *geometry)
    by_file = read_fault_map(tmp_path / "r.npz")
    assert by_file.digest == allocate_repair(chips[0], spare_rows=1, spare_columns=0, geometry=array).remaining.digest
    assert "leave --column-mux out" in tremap(*said, *geometry, "--column-mux", 2, code=2).stderr
    (tmp_path / "bad.json").write_text('{"words": 64}')
    result = tremap(*said, "--overwrite", "--geometry", tmp_path / "bad.json", code=1)
    assert "bad.json: not the geometry of an array, or damaged (it needs 'word_bits')" in result.stderr


def test_diff(tmp_path, folder):
    tremap("map", "diff", folder / "chip-0.npz", folder / "chip-0.npz")
    assert (
        "% of the first's faults are in the second"
        in tremap("map", "diff", folder / "chip-0.npz", folder / "chip-1.npz", code=1).stdout
    )


def test_repair(tmp_path, folder, chips):
    out = tmp_path / "after.npz"
    said = tremap(
        "map",
        "repair",
        folder / "chip-0.npz",
        "--spare-rows",
        2,
        "--spare-columns",
        1,
        "--out",
        out,
        "--list",
        tmp_path / "l.csv",
    ).stdout
    after = tm.FaultMap.load(out)
    assert 0 < len(after) < len(chips[0])
    assert said.startswith(f"{len(chips[0])} stuck cells, 8 rows and 4 columns replaced, {len(after)} stuck cells left")
    tremap("map", "repair", folder / "chip-0.npz", "--apply", tmp_path / "l.csv", "--out", tmp_path / "again.npz")
    assert tm.FaultMap.load(tmp_path / "again.npz").digest == after.digest


def test_ecc(tmp_path):
    (chip,) = tm.random_fault_maps(tm.Memory(words=64, word_bits=39), chips=1, fault_rate=0.02, seed=0)
    chip.save(tmp_path / "A7.npz")
    said = tremap("map", "ecc", tmp_path / "A7.npz", "--data-bits", 32, "--out", tmp_path / "behind.npz").stdout
    behind = tm.FaultMap.load(tmp_path / "behind.npz")
    assert 0 < len(behind) < len(chip)
    assert said.startswith(f"{len(chip)} stuck cells (2.0e-02), {len(behind)} of data left behind the code (")
    assert (
        "give a map and --out together, or neither"
        in tremap("map", "ecc", tmp_path / "A7.npz", "--data-bits", 32, code=2).stderr
    )
    refused = tremap("map", "ecc", tmp_path / "A7.npz", "--data-bits", 38, "--out", tmp_path / "no.npz", code=1)
    assert "to correct one wrong bit takes 6" in refused.stderr


@pytest.mark.parametrize("kind", ["map", "overlap", "growth"])
def test_plot(tmp_path, folder, kind):
    source = folder / "chip-0.npz" if kind == "map" else folder
    tremap("map", "plot", source, "--kind", kind, "--out", tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    if kind == "map":
        tremap("map", "plot", folder, "--kind", "map", "--out", tmp_path / "q.png", code=2)


def test_wrong_calls(tmp_path, folder):
    assert "give --words and --word-bits together" in tremap("map", "info", folder, "--words", 3, code=2).stderr
    assert (
        "64 words cannot be divided into 5"
        in tremap("map", "info", folder, "--words", 64, "--word-bits", 8, "--banks", 5, code=2).stderr
    )
    assert "expected NAME=VALUE" in tremap("map", "info", folder, "--option", "x", code=2).stderr
    assert "needs --rate" in tremap("map", "generate", *SIZE, "--out", tmp_path / "x", code=2).stderr
    lines = ["--kind", "lines", "--out", tmp_path / "x"]
    assert (
        "--rows and --columns are for --kind lines, which needs one of them"
        in tremap("map", "generate", *SIZE, *lines, code=2).stderr
    )
    assert "needs --like" in tremap("map", "generate", *SIZE, "--kind", "like", "--out", tmp_path / "x", code=2).stderr
    (tmp_path / "empty").mkdir()
    assert "no file in" in tremap("map", "info", tmp_path / "empty", code=1).stderr
    assert (
        "names a single map"
        in tremap("map", "convert", folder, "--to", "csv", "--chip", "x", "--out", tmp_path / "y", code=2).stderr
    )


@pytest.mark.parametrize(
    "command", [[], ["map"], ["verify"], ["layout"], ["map", "convert"], ["map", "generate"], ["group"], ["assign"], ["report"]]
)
def test_help_teaches_by_example(command):
    out = tremap(*command, "--help").stdout
    assert "tremap " in out
    if command != ["map"]:
        assert len(re.findall(r"\n +tremap ", out)) >= 2
