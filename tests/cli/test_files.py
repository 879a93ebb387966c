"""What the command reads and writes: pipes and standard output, folders that are there already, names of all kinds."""

import io
import json
import os
import subprocess
import sys
import threading

from cli.test_maps import MEMORY, SIZE, chips, folder, tremap  # noqa: F401 (fixtures)
from click.testing import CliRunner
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import tremap_brevitas as tm
from tremap_brevitas.cli import main
from tremap_brevitas.drawing import plain
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.formats import write_csv_map, write_fault_map


def contents(path):
    return {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()}


def test_generate_leaves_no_chip_of_an_earlier_fleet(tmp_path):
    out = tmp_path / "chips"
    arguments = ["map", "generate", *SIZE, "--rate", 0.01, "--out", out]
    tremap(*arguments, "--chips", 5)
    before = contents(out)
    assert "is not empty; --overwrite" in tremap(*arguments, "--chips", 2, "--seed", 1, code=1).stderr
    assert contents(out) == before
    mine = tm.FaultMap(MEMORY, [1], [1], "mine").save(out / "chip-9.npz").read_bytes()
    (out / "chip-4.npz").write_bytes(b"changed")
    result = tremap(*arguments, "--chips", 2, "--seed", 1, "--overwrite")
    assert f"left as it was in {out}: chip-4.npz, chip-9.npz" in result.stderr
    after = contents(out)
    assert sorted(after) == [".tremap.json", "chip-0.npz", "chip-1.npz", "chip-4.npz", "chip-9.npz"]
    assert (after["chip-9.npz"], after["chip-4.npz"]) == (mine, b"changed")
    assert after["chip-0.npz"] != before["chip-0.npz"]
    assert "chip-4.npz: tremap map generate did not write it" in tremap(*arguments, "--chips", 5, "--overwrite", code=1).stderr
    assert contents(out) == after


def test_only_what_this_command_wrote_is_replaced(tmp_path, folder, chips):  # noqa: F811
    before = contents(folder)
    arguments = ["map", "generate", *SIZE, "--rate", 0.01, "--chips", 5, "--overwrite", "--out", folder]
    assert "tremap map generate did not write it" in tremap(*arguments, code=1).stderr
    for record in ("{", "[]", '{"command": "tremap map convert", "files": {"chip-0.npz": []}}'):
        (folder / ".tremap.json").write_text(record)
        tremap(*arguments, code=1)
    outside = tmp_path / "outside.npz"
    outside.write_bytes(b"mine")
    digest = "f8007b3de08d7d7e6da4cf9a3a2d22c4b4a6b7a3c8e9e5b0e3d0dd6f4f3c2c1b"
    (folder / ".tremap.json").write_text(
        json.dumps({"command": "tremap map generate", "files": {"../outside.npz": [digest], str(outside): [digest]}})
    )
    tremap(*arguments, code=1)
    assert outside.read_bytes() == b"mine"
    (folder / ".tremap.json").unlink()
    assert contents(folder) == before


def test_convert_replaces_nothing_unasked(tmp_path, folder, chips):  # noqa: F811
    out = tmp_path / "a.csv"
    one = ["map", "convert", folder / "chip-0.npz", "--to", "csv", "--out"]
    tremap(*one, out)
    before = out.read_bytes()
    assert "a.csv exists already; --overwrite replaces it" in tremap(*one, out, code=1).stderr
    tremap("map", "convert", folder / "chip-1.npz", "--to", "csv", "--out", out, "--overwrite")
    assert out.read_bytes() != before
    assert "is an input" in tremap(*one[:-1], "--overwrite", "--out", folder / "chip-0.npz", code=2).stderr
    many = ["map", "convert", folder, "--to", "tremap", "--out"]
    before = contents(folder)
    for target in (folder, tmp_path / "chips" / ".." / "chips"):
        assert "is an input" in tremap(*many, target, "--overwrite", code=2).stderr
    assert contents(folder) == before
    tremap(*many, tmp_path / "copy")
    assert "is not empty" in tremap(*many, tmp_path / "copy", code=1).stderr
    (folder / "chip-3.npz").unlink()
    tremap(*many, tmp_path / "copy", "--overwrite")
    assert len(list((tmp_path / "copy").glob("*.npz"))) == 4
    pair = [*one[:-3], "--to", "readback", "--out", tmp_path / "x.hex"]
    (tmp_path / "x-zeros.hex").write_text("mine")
    assert "x-zeros.hex exists already" in tremap(*pair, code=1).stderr
    assert not (tmp_path / "x-ones.hex").exists()


def test_no_output_is_an_input(folder, tmp_path, chips):  # noqa: F811
    before = contents(folder)
    path = folder / "chip-0.npz"
    link = tmp_path / "link.npz"
    link.symlink_to(path)
    for arguments in (
        ["map", "merge", folder, "--on-conflict", "free", "--out", path],
        ["map", "merge", folder, "--on-conflict", "free", "--out", link],
        ["map", "repair", path, "--out", path],
        ["map", "repair", path, "--out", path, "--overwrite"],
        ["map", "repair", path, "--out", tmp_path / "a", "--list", path],
        ["map", "repair", path, "--out", tmp_path / "a", "--list", tmp_path / "a"],
        ["map", "plot", path, "--out", path],
        ["map", "generate", *SIZE, "--kind", "like", "--like", folder, "--out", folder, "--overwrite"],
    ):
        tremap(*arguments, code=2)
    assert contents(folder) == before
    assert not (tmp_path / "a").exists()


def test_a_merged_map_keeps_its_members_or_says_what_is_lost(tmp_path, folder, chips):  # noqa: F811
    merged = tm.merge(chips, on_conflict="majority")
    merged.save(tmp_path / "m.npz")
    result = tremap("map", "convert", tmp_path / "m.npz", "--to", "csv", "--out", tmp_path / "m.csv")
    said = f"5 members and {len(merged.conflicts)} conflicts (majority) of a merged map"
    assert f"not written, since csv has no place for it: {said}" in result.stderr
    loaded = tm.read_fault_map(tmp_path / "m.csv")
    assert loaded.digest == merged.digest
    assert type(loaded) is tm.FaultMap
    result = tremap("map", "convert", folder, "--to", "log", "--out", tmp_path / "logs")
    assert "metadata seed (5 maps)" in result.stderr
    array = ArrayGeometry(MEMORY, column_mux=4)
    geometry = ["--geometry", array.save(tmp_path / "array.json")]
    tremap("map", "convert", tmp_path / "m.npz", *geometry, "--as", "physical", "--to", "tremap", "--out", tmp_path / "p.npz")
    physical = tm.MergedFaultMap.load(tmp_path / "p.npz")
    assert physical == tm.merge([array.to_physical(chip) for chip in chips], on_conflict="majority")


def test_read_backs_in_a_folder_are_pairs(tmp_path, folder, chips):  # noqa: F811
    tremap("map", "convert", folder, "--to", "readback", "--out", tmp_path / "rb")
    options = ["--format", "readback", *SIZE, "--to", "tremap", "--out"]
    for number, paths in enumerate(([tmp_path / "rb"], sorted((tmp_path / "rb").glob("*.hex")))):
        tremap("map", "convert", *paths, *options, tmp_path / f"{number}")
        loaded = [tm.FaultMap.load(tmp_path / f"{number}" / f"{chip.chip}.npz") for chip in chips]
        assert [(m.digest, m.chip) for m in loaded] == [(c.digest, c.chip) for c in chips]
    tremap("map", "convert", tmp_path / "rb" / "chip-2-zeros.hex", *options, tmp_path / "zeros.npz")
    only = tm.FaultMap.load(tmp_path / "zeros.npz")
    assert only.cells.tolist() == chips[2].cells[chips[2].stuck_at == 1].tolist()


def test_no_chip_of_a_folder_is_lost_without_a_word(tmp_path, folder, chips):  # noqa: F811
    merge = ["map", "merge", folder, "--on-conflict", "free", "--out", tmp_path / "m.npz"]

    def refused(name, message):
        assert message in tremap(*merge, code=1).stderr
        assert not (tmp_path / "m.npz").exists()
        (folder / name).rmdir() if (folder / name).is_dir() else (folder / name).unlink()

    (folder / "chip-7.npz").symlink_to("nowhere.npz")
    refused("chip-7.npz", "chip-7.npz: a link to nowhere.npz, which does not exist")
    (folder / "loop.npz").symlink_to("loop.npz")
    refused("loop.npz", "loop.npz")
    os.mkfifo(folder / "pipe")
    refused("pipe", "pipe: neither a file nor a folder")
    (folder / "inner").mkdir()
    refused("inner", "inner: a folder inside a folder")
    for name in ("sa0-chip.npz", "sa1-chip.npz"):  # not a pair of matrices, whatever they are called
        tm.FaultMap(MEMORY, [1], [1], name).save(folder / name)
    tremap(*merge)
    assert len(tm.MergedFaultMap.load(tmp_path / "m.npz").members) == 7


def test_names_with_any_digits_and_bytes(tmp_path, folder, chips):  # noqa: F811
    """A raised 2 is a digit to str, and none to int; a file's name need not be UTF-8."""
    out = tmp_path / "out"
    for name in ("²1.npz", "1²", "٣.npz", os.fsdecode(b"A7-\xff.csv")):
        write_csv_map(tm.FaultMap(MEMORY, [5], [1], ""), folder / name)
    result = tremap("map", "convert", folder, "--to", "log", "--out", out)
    assert result.stdout == f"9 maps written to {out}\n"
    assert os.fsdecode(b"A7-\xff.log") in os.listdir(out)
    (folder / os.fsdecode(b"bad-\xff.npz")).write_bytes(b"no")
    result = tremap("map", "info", folder, code=1)
    assert r"bad-\xff.npz: " in result.stderr
    assert r"A7-\xff" not in result.stderr
    for name in (".hidden", "a\nb", "a\x1b[2J", "x" * 300):
        tm.FaultMap(MEMORY, [5], [1], name).save(tmp_path / "one.npz")
        paths = [tmp_path / "one.npz", folder / "chip-0.npz"]
        result = tremap("map", "convert", *paths, "--to", "csv", "--out", tmp_path / "b", code=1)
        assert "one.npz" in result.stderr
        assert [p.name for p in (tmp_path / "b").glob("*.csv")] == ["chip-0.csv"]
        for path in (tmp_path / "b").iterdir():
            path.unlink()


def test_a_chips_name_in_a_picture(tmp_path):
    names = ["$\\frac$", "$x$", "a$b", "\\$1$2$", "_hidden", "\x1b[2J", "\udcff", "{", "a\nb"]
    paths = [tm.FaultMap(MEMORY, [i], [1], name).save(tmp_path / f"{i}.npz") for i, name in enumerate(names)]
    tremap("map", "plot", *paths, "--out", tmp_path / "p.svg")
    tremap("map", "plot", paths[0], "--out", tmp_path / "q.png")
    figure = Figure()
    shown = [figure.text(0, 0, plain(name)) for name in names]
    FigureCanvasAgg(figure).draw()
    assert [text._preprocess_math(text.get_text())[0] for text in shown[:4]] == names[:4]


def test_standard_input_and_output(tmp_path, folder, chips):  # noqa: F811
    path = folder / "chip-0.npz"
    for source in (path.read_bytes(), write_csv_map(chips[0], tmp_path / "a.csv").read_bytes()):
        result = CliRunner().invoke(main, ["map", "info", "-"], input=io.BytesIO(source))
        assert result.exit_code == 0
        assert chips[0].digest in result.stdout
    (log,) = write_fault_map(chips[0], tmp_path / "a.log", format="log")
    arguments = [*SIZE, "--to", "tremap", "--out", str(tmp_path / "b.npz")]
    result = CliRunner().invoke(main, ["map", "convert", "-", *arguments], input=io.BytesIO(log.read_bytes()))
    assert result.exit_code == 0, result.output
    back = tm.FaultMap.load(tmp_path / "b.npz")
    assert (back.digest, back.chip) == (chips[0].digest, "stdin")
    result = CliRunner().invoke(main, ["map", "info", "-", *SIZE], input="address,expected,read\nzz,0,1\n")
    assert "tremap: -:2: address 'zz'" in result.stderr
    assert "read only once" in tremap("map", "diff", "-", "-", code=2).stderr
    for name in ("-", "/dev/stdout"):
        result = tremap("map", "convert", path, "--to", "csv", "--out", name)
        assert result.stdout == (tmp_path / "a.csv").read_text()
        assert "1 map written to -" in result.stderr
        merge = ["map", "merge", folder, "--on-conflict", "free", "--out", name]
        result = tremap(*merge)
        (tmp_path / "m.npz").write_bytes(result.stdout_bytes)
        assert len(tm.MergedFaultMap.load(tmp_path / "m.npz").members) == 5
        assert (
            "--json and --out -"
            in tremap("map", "merge", folder, "--on-conflict", "free", "--out", name, "--json", code=2).stderr
        )
        assert tremap("map", "plot", path, "--out", name).stdout_bytes.startswith(b"\x89PNG")
        assert "two files" in tremap("map", "convert", path, "--to", "readback", "--out", name, code=2).stderr
    assert (
        "cannot be written to standard output" in tremap("map", "generate", *SIZE, "--rate", 0.1, "--out", "-", code=2).stderr
    )


def test_a_pipe_is_read_once(tmp_path, chips):  # noqa: F811
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = write_csv_map(chips[0], tmp_path / "a.csv").read_bytes()
    writer = threading.Thread(target=lambda: pipe.write_bytes(text))
    writer.start()
    assert chips[0].digest in tremap("map", "info", pipe).stdout
    writer.join()


def test_an_ascii_terminal(folder):  # noqa: F811
    code = "import sys; from tremap_brevitas.cli import main; main(sys.argv[1:])"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", code, "map", "info", str(folder / "chip-0.npz")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"64 words \xd7 16 bits" in done.stdout


def test_where_nothing_can_be_written(tmp_path, folder):  # noqa: F811
    path = folder / "chip-0.npz"
    (tmp_path / "file").write_text("mine")
    for out, message in (
        (tmp_path / "no" / "x", "No such file or directory"),
        (tmp_path / "file" / "x", "Not a directory"),
        (folder, "Is a directory"),
        ("/proc/x", "No such file or directory" if os.geteuid() == 0 else "Permission denied"),
    ):
        for arguments in (
            ["map", "merge", folder, "--on-conflict", "free"],
            ["map", "convert", path, "--to", "csv"],
            ["map", "repair", path],
            ["map", "plot", path],
        ):
            assert message in tremap(*arguments, "--out", out, code=1).stderr
    for arguments in (["map", "generate", *SIZE, "--rate", 0.1], ["group", folder, "--union-rate", 0.1]):
        assert "file: Not a directory" in tremap(*arguments, "--out", tmp_path / "file", code=1).stderr
    assert (tmp_path / "file").read_text() == "mine"
