"""Every command with every argument replaced by something hostile: one line, exit code 0, 1 or 2, and nothing half-written."""

import os
import shutil

import pytest
from cli.test_maps import MEMORY, SIZE
from click.testing import CliRunner
from groups import Group

import tremap_brevitas as tm
from tremap_brevitas.cli import main
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.formats import write_fault_map
from tremap_brevitas.order import order_chips, save_orders
from tremap_brevitas.planning import Point, ResilienceCurve

HUGE = "9" * 30
# Of these names lie in the folder in which the commands run:
FILES = {
    "empty": b"",
    "zeros": b"\0" * 99,
    "binary": bytes(range(256)) * 3,
    "zip": b"PK\x03\x04 no",
    "gzip": b"\x1f\x8b\x08\x00 no",
    "text": b"address,bit,stuck_at\n",
    "deep.json": b"[" * 100_000,
    "strange.json": b'{"words": 1e999, "word_bits": [1], "points": {}}',
    "²1.npz": b"no",
    os.fsdecode(b"\xff\xfe.npz"): b"no",
    "\x1b[2J=cmd$x$": b"no",
}
OTHERS = ["", ".", "nowhere", "no/where", "folder", "dangling", "loop", "a" * 300, "a\0b", "/proc/x", "-1", HUGE]
OTHERS += ["1e400", "nan"]
HOSTILE = [*FILES, *OTHERS]

COMMANDS = {
    "info": ["map", "info", "chips", *SIZE],
    "info by format": ["map", "info", "chip.hex", *SIZE, "--format", "readback", "--option", "other=zeros.hex"],
    "convert": ["map", "convert", "chip.npz", "--to", "csv", "--out", "out", "--chip", "A7"],
    "convert many": ["map", "convert", "chips", "--to", "readback", "--out", "out", "--overwrite"],
    "convert arrays": [
        "map",
        "convert",
        "chips",
        "--geometry",
        "geometry.json",
        "--as",
        "physical",
        "--to",
        "log",
        "--out",
        "out",
    ],
    "generate": [
        "map",
        "generate",
        *SIZE,
        "--chips",
        "2",
        "--rate",
        "0.01",
        "--sa1-share",
        "0.5",
        "--seed",
        "1",
        "--out",
        "out",
    ],
    "generate clusters": [
        *["map", "generate", *SIZE, "--kind", "clustered", "--rate", "0.01", "--cluster-size", "3"],
        *["--spread", "1", "2", "--out", "out"],
    ],
    "generate lines": ["map", "generate", *SIZE, "--kind", "lines", "--rows", "1", "--columns", "1", "--out", "out"],
    "generate like": ["map", "generate", *SIZE, "--kind", "like", "--like", "chips", "--out", "out"],
    "merge": ["map", "merge", "chips", "--on-conflict", "free", "--out", "out"],
    "diff": ["map", "diff", "chip.npz", "chips/chip-1.npz"],
    "repair": ["map", "repair", "chip.npz", "--spare-rows", "1", "--spare-columns", "1", "--out", "out", "--list", "list"],
    "repair by list": ["map", "repair", "chip.npz", "--column-mux", "1", "--apply", "repair.csv", "--out", "out"],
    "ecc": ["map", "ecc", "chip.npz", "--data-bits", "3", "--out", "out"],
    "plot": ["map", "plot", "chip.npz", "--geometry", "geometry.json", "--title", "title", "--out", "out"],
    "plot activated": ["map", "plot", "placed", "--kind", "activated", "--bundle", "bundle", "--out", "out"],
    "group": ["group", "chips", "--union-rate", "0.5", "--largest", "2", "--out", "out"],
    "group by goal": [
        *["group", "placed", "--bundle", "bundle", "--curve", "curve.json", "--goal", "0.5", "--steps", "1"],
        *["--margin", "0.1", "--out", "out"],
    ],
    "assign": [
        "assign",
        "placed",
        "--bundle",
        "bundle",
        "--curve",
        "curve.json",
        "--goal",
        "0.5",
        "--margin",
        "0",
        "--out",
        "out",
    ],
    "advise voltages": [
        *["advise", "--voltages", "sram.csv", "--energy", "energy.csv", "--bits", "8", "--chips", "2", "--within", "0.5"],
    ],
    "report": ["report", "fleet.csv", "--threshold", "0.5", "--title", "title", "--yield", "out"],
    "order": [
        *["order", "bundle", "nearly", "--out", "out", "--csv", "list", "--run", "run", "--seed", "1", "--workers", "1"],
        *["--aim", "error", "--images", "images"],
    ],
    "verify in order": ["verify", "bundle", "nearly", "--orders", "orders.npz"],
    "verify": ["verify", "bundle", "placed"],
    "layout": ["layout", "bundle", "1", "--cell", "3"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    group = Group("linear")
    report = group.net.evaluate(group.chips[:1], lambda model: 0.9, progress=False)
    channels = tm.prepare.channel_groups(group.net, group.x)
    group.export(root / "bundle", chips=group.chips[:1], report=report, groups=channels)
    nearly = tm.random_fault_maps(group.placement.memory, chips=2, fault_rate=1e-4, seed=2)
    save_orders(order_chips(group.image, channels.groups, nearly, progress=False), root / "orders.npz")
    tm.report.write_csv([report], root / "fleet.csv")
    for name, maps in (
        ("chips", tm.random_fault_maps(MEMORY, chips=2, fault_rate=0.03, seed=1)),
        ("placed", group.chips[:2]),
        ("nearly", nearly),
    ):
        (root / name).mkdir()
        for chip in maps:
            chip.save(root / name / f"{chip.chip}.npz")
    chip = maps = tm.FaultMap.load(root / "chips" / "chip-0.npz")
    chip.save(root / "chip.npz")
    write_fault_map(chip, root / "chip.hex", format="readback", other=root / "zeros.hex")
    ArrayGeometry(MEMORY, column_mux=2).save(root / "geometry.json")
    ResilienceCurve([Point(0.0, 0.9), Point(1.0, 0.3), Point(1.0, 0.7, steps=100)]).save(root / "curve.json")
    (root / "repair.csv").write_text("bank,kind,index\n0,row,3\n")
    (root / "sram.csv").write_text("voltage,rate\n1.0,0\n0.5,1e-3\n")
    (root / "energy.csv").write_text("voltage,energy\n1.0,2\n0.4,1\n")
    for name, content in FILES.items():
        (root / name).write_bytes(content)
    (root / "folder").mkdir()
    (root / "folder" / "mine").write_text("mine")
    (root / "dangling").symlink_to("gone/chip.npz")
    (root / "loop").symlink_to("loop")
    return root


def tree(root):
    """Every file, and when it was last written."""
    return {p: p.lstat().st_mtime_ns for p in root.rglob("*") if not p.is_dir()}


def run(root, arguments, before):
    """Run, and put everything back."""
    result = CliRunner().invoke(main, arguments)
    said = (arguments, result.output, result.exception)
    assert result.exit_code in (0, 1, 2), said
    assert result.exception is None or isinstance(result.exception, SystemExit), said
    assert "Traceback" not in result.output, said
    assert "\x1b" not in result.output, said
    after = tree(root)
    assert {p: t for p, t in after.items() if p in before} == before, said
    new = {p for p in after if p not in before}
    assert not [p for p in new if p.name.startswith(".") and p.name != ".tremap.json"], said
    if result.exit_code == 2:
        assert not new, said
    for path in new:
        path.unlink()
    for path in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    return result.exit_code


@pytest.mark.parametrize("name", COMMANDS)
def test_hostile_arguments(place, monkeypatch, name):
    monkeypatch.chdir(place)
    arguments = COMMANDS[name]
    before = tree(place)
    assert run(place, arguments, before) == (1 if name == "diff" else 0)
    commands = 2 if arguments[0] == "map" else 1
    codes = set()
    for at in range(commands, len(arguments)):
        if arguments[at].startswith("--"):
            continue
        # Pictures take a while each.
        choice = {"--yield": [*FILES, *OTHERS[:9]], "--title": HOSTILE[10:13]}
        for hostile in choice.get(arguments[at - 1], HOSTILE):
            codes.add(run(place, [*arguments[:at], hostile, *arguments[at + 1 :]], before))
            if arguments[at - 1] == "--option":
                codes.add(run(place, [*arguments[:at], f"other={hostile}", *arguments[at + 1 :]], before))
    assert codes >= {1, 2}
    shutil.rmtree(place / "out", ignore_errors=True)
