"""``tremap group`` and ``tremap assign`` on real bundles."""

import csv
import json
import shlex
import subprocess
import sys

import pytest
from cli.test_maps import MEMORY, SIZE, chips, folder, tremap  # noqa: F401 (fixtures)
from groups import Group

import tremap_brevitas as tm
from tremap_brevitas.faults.formats import write_csv_map
from tremap_brevitas.planning import Point, ResilienceCurve, plan_groups

CURVE = ResilienceCurve(
    [Point(0.0, 0.9), Point(0.3, 0.8), Point(1.0, 0.3), Point(0.3, 0.89, steps=100), Point(1, 0.7, steps=100)]
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Two bundles of one geometry, chips of which one is exact on each, and a curve."""
    root = tmp_path_factory.mktemp("fleet")
    groups = [Group("linear", seed=seed) for seed in (0, 1)]
    for index, group in enumerate(groups):
        report = group.net.evaluate(group.chips, lambda model, i=index: 0.9 + i / 100, progress=False)
        group.export(root / f"group_{index}", chips=group.chips, report=report)
    (root / "chips").mkdir()
    for chip in tm.random_fault_maps(groups[0].placement.memory, chips=6, fault_rate=0.004, seed=9):
        chip.save(root / "chips" / f"{chip.chip}.npz")
    for index, group in enumerate(groups):
        exact = group.exact_chip(range(40 * index, 40 * index + 30))
        tm.FaultMap(exact.memory, exact.cells, exact.stuck_at, f"exact-{index}").save(root / "chips" / f"exact-{index}.npz")
    CURVE.save(root / "curve.json")
    return groups, root


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_groups_by_union_rate(folder, chips, tmp_path):  # noqa: F811
    out = tmp_path / "groups"
    result = tremap("group", folder, "--union-rate", 0.07, "--out", out).stdout
    assert f"5 chips in 3 groups: {out}/" in result
    rows = rows_of(out / "groups.csv")
    assert sorted(name for row in rows for name in row["members"].split()) == sorted(chip.chip for chip in chips)
    for row in rows:
        merged = tm.MergedFaultMap.load(out / f"{row['group']}.npz")
        assert [m.chip for m in merged.members] == row["members"].split()
        assert merged.union_rate <= 0.07
        assert (f"{merged.union_rate:.3e}", str(len(merged.conflicts))) == (row["union_rate"], row["conflicts"])


def test_a_group_that_cannot_be_small_enough_is_named(folder, tmp_path):  # noqa: F811
    answer = json.loads(tremap("group", folder, "--union-rate", 0.01, "--out", tmp_path / "g", "--json").stdout)
    assert [entry["too_much"] for entry in answer] == [True] * 5


def test_groups_by_goal(fleet, tmp_path):
    groups, root = fleet
    options = ["--bundle", root / "group_0", "--curve", root / "curve.json", "--goal", 0.8, "--steps", 100]
    answer = json.loads(tremap("group", root / "chips", *options, "--out", tmp_path / "g", "--json").stdout)
    maps = [tm.read_fault_map(p) for p in sorted((root / "chips").iterdir())]
    planned = plan_groups(maps, groups[0].image, CURVE, goal=0.8, steps=100)
    assert sorted(e["members"] for e in answer) == sorted([m.chip for m in p.merged.members] for p in planned)
    assert {e["steps"] for e in answer} <= set(range(101))
    for one in planned:
        assert one.error == tm.placement.certificate(groups[0].image, one.merged, deployment="chip_image").relative_error
        assert one.accuracy == CURVE.predict(one.error, steps=100)
    stricter = [*options[:-1], 0, "--margin", 0.07, "--out", tmp_path / "h", "--json"]
    stricter = json.loads(tremap("group", root / "chips", *stricter).stdout)
    assert len(stricter) > len(answer)


def test_an_old_result_is_replaced_only_if_it_is_one(folder, tmp_path):  # noqa: F811
    tremap("group", folder, "--union-rate", 0.07, "--out", tmp_path / "g")
    assert "exists already" in tremap("group", folder, "--union-rate", 0.07, "--out", tmp_path / "g", code=1).stderr
    tremap("group", folder, "--union-rate", 0.2, "--out", tmp_path / "g", "--overwrite")
    assert len(rows_of(tmp_path / "g" / "groups.csv")) == 1
    assert sorted(p.name for p in (tmp_path / "g").glob("*.npz")) == ["group_0.npz"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "group_0.npz").write_bytes(b"weeks of work")
    result = tremap("group", folder, "--union-rate", 0.2, "--out", tmp_path / "mine", "--overwrite", code=1)
    assert "exists already, and tremap group did not write it" in result.stderr
    assert (tmp_path / "mine" / "group_0.npz").read_bytes() == b"weeks of work"
    before = sorted(folder.iterdir())
    result = tremap("group", folder, "--union-rate", 0.2, "--out", folder, "--overwrite", code=2)
    assert "is an input, and cannot be an output as well" in result.stderr
    assert sorted(folder.iterdir()) == before


def test_what_a_user_put_among_the_groups_stays(folder, tmp_path):  # noqa: F811
    out = tmp_path / "g"
    tremap("group", folder, "--union-rate", 0.07, "--out", out)
    (out / "group_0_trained").mkdir()
    (out / "group_0_trained" / "model.pt").write_text("weeks")
    (out / "group_2.npz").write_text("mine")
    result = tremap("group", folder, "--union-rate", 0.2, "--out", out, "--overwrite")
    assert "left as it was in" in result.stderr
    assert (out / "group_0_trained" / "model.pt").read_text() == "weeks"
    assert (out / "group_2.npz").read_text() == "mine"
    assert not (out / "group_1.npz").exists()
    before = {p: p.read_bytes() for p in out.iterdir() if p.is_file()}
    result = tremap("group", folder, "--union-rate", 0.07, "--out", out, "--overwrite", code=1)  # has a group 2 again
    assert "group_2.npz: tremap group did not write it, or it was changed since" in result.stderr
    assert before == {p: p.read_bytes() for p in out.iterdir() if p.is_file()}


def test_groups_of_a_version_that_left_no_record_can_be_replaced(folder, tmp_path):  # noqa: F811
    out = tmp_path / "g"
    tremap("group", folder, "--union-rate", 0.07, "--out", out)
    (out / ".tremap.json").unlink()
    (out / "notes.txt").write_text("mine")
    tremap("group", folder, "--union-rate", 0.2, "--out", out, "--overwrite")
    assert sorted(p.name for p in out.iterdir()) == [".tremap.json", "group_0.npz", "groups.csv", "notes.txt"]


def test_names_that_a_table_must_not_take_as_they_are(tmp_path):
    """Blanks would make one member two, a spreadsheet runs what begins with =, a terminal obeys escape sequences."""
    names = ["a b", "c", "=cmd|' /C calc'!A0", "\x1b[2Jd"]
    paths = [tm.FaultMap(MEMORY, [i], [1], name).save(tmp_path / f"{i}.npz") for i, name in enumerate(names)]
    result = tremap("group", *paths, "--union-rate", 0.5, "--out", tmp_path / "g", "--json")
    assert json.loads(result.stdout)[0]["members"] == names
    assert "\x1b" not in result.stdout
    (row,) = rows_of(tmp_path / "g" / "groups.csv")
    assert shlex.split(row["members"]) == ["a b", "c", "=cmd|' /C calc'!A0", "\\x1b[2Jd"]
    result = tremap("group", paths[2], "--union-rate", 0.5, "--out", tmp_path / "h")
    assert rows_of(tmp_path / "h" / "groups.csv")[0]["members"].startswith("'")
    assert "\x1b" not in tremap("map", "info", *paths).stdout


def test_wrong_calls(folder, fleet, tmp_path):  # noqa: F811
    _, root = fleet
    out = ["--out", tmp_path / "g"]
    assert "give --union-rate, or all of" in tremap("group", folder, *out, code=2).stderr
    assert "got --goal" in tremap("group", folder, *out, "--goal", 0.5, code=2).stderr
    assert "give --goal" in tremap("assign", folder, "--bundle", root / "group_0", code=2).stderr
    result = tremap("group", folder, folder, "--union-rate", 0.1, *out, code=1)
    assert "5 names used for several chips, such as 'chip-0'" in result.stderr
    options = ["--bundle", root / "group_0", "--curve", root / "curve.json", "--goal", 0.99, "--steps", 100]
    assert "the goal" in tremap("group", root / "chips", *options, *out, code=1).stderr
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    options = ["--bundle", root / "group_0", "--curve", bad, "--goal", 0.5]
    assert f"{bad}: not a tremap resilience curve" in tremap("assign", root / "chips", *options, code=1).stderr
    assert not (tmp_path / "g").exists()
    nowhere = tmp_path / "no" / "such"
    assert "No such file" in tremap("group", folder, "--union-rate", 0.1, "--out", nowhere, code=1).stderr
    options = ["--bundle", root / "group_0", "--goal", 0.5, "--out", nowhere]
    assert "No such file" in tremap("assign", root / "chips", *options, code=1).stderr


def test_a_new_chip_gets_the_image_that_serves_it(fleet, tmp_path):
    groups, root = fleet
    bundles = ["--bundle", root / "group_0", "--bundle", root / "group_1"]
    goal = ["--goal", 0.85, "--curve", root / "curve.json"]
    rows = {e["chip"]: e for e in json.loads(tremap("assign", root / "chips", *bundles, *goal, "--json").stdout)}
    assert len(rows) == 8
    for index in (0, 1):
        entry = rows[f"exact-{index}"]
        assert (entry["image"], entry["verdict"]) == (str(root / f"group_{index}"), "exact")
        assert entry["accuracy"] == 0.9 + index / 100
    for name in ("chip-0", "chip-5"):
        chip = tm.read_fault_map(root / "chips" / f"{name}.npz")
        image = groups[int(rows[name]["image"][-1])].image
        proof = tm.placement.certificate(image, chip, deployment="chip_image")
        assert {**rows[name], "accuracy": None}.items() >= proof.result.row().items()
        assert rows[name]["verdict"] == ("good enough" if rows[name]["accuracy"] >= 0.85 else "retrain")
    out = tremap("assign", root / "chips", *bundles, *goal, "--out", tmp_path / "lot.csv").stdout
    assert "2 of 8 chips: exact" in out
    assert [row["chip"] for row in rows_of(tmp_path / "lot.csv")] == list(rows)
    unknown = tremap("assign", root / "chips", *bundles, "--goal", 0.85).stdout
    assert "6 of 8 chips: retrain" in unknown
    assert "unknown" in unknown


def test_a_chip_of_another_memory_is_named_and_the_others_go_on(fleet, tmp_path):
    groups, root = fleet
    odd = tm.FaultMap(MEMORY, [0], [0], "odd")
    said = f"is of a memory of {MEMORY}, expected {groups[0].placement.memory}"
    options = ["--bundle", root / "group_0", "--goal", 0.85]
    for path in (odd.save(tmp_path / "odd.npz"), write_csv_map(odd, tmp_path / "odd.csv")):
        result = tremap("assign", path, root / "chips" / "exact-0.npz", *options, code=1)
        assert f"{path}: {said}" in result.stderr
        assert "1 of 1 chip: exact" in result.stdout
        assert said in tremap("verify", root / "group_0", path, code=1).stderr
        activated = ["--kind", "activated", "--bundle", root / "group_0", "--out", tmp_path / "no.png"]
        assert said in tremap("map", "plot", path, *activated, code=1).stderr
        planned = ["--bundle", root / "group_0", "--curve", root / "curve.json", "--goal", 0.8, "--steps", 100]
        assert said in tremap("group", path, *planned, "--out", tmp_path / "no", code=1).stderr
    assert not (tmp_path / "no").exists()
    assert not (tmp_path / "no.png").exists()


def test_a_bundle_without_accuracy_is_refused(fleet, tmp_path):
    groups, root = fleet
    groups[0].export(tmp_path / "silent")
    result = tremap("assign", root / "chips", "--bundle", tmp_path / "silent", "--goal", 0.8, code=1)
    assert "does not say its network's accuracy; export it with report=" in result.stderr


def test_a_report_as_text_and_pictures(fleet, tmp_path):
    groups, _ = fleet
    reports = [
        g.net.evaluate(g.chips, lambda m, i=i: 0.9 + i / 100, name=f"way {i}", progress=False) for i, g in enumerate(groups)
    ]
    table = tm.report.write_csv(reports, tmp_path / "fleet.csv")
    pictures = ["--yield", tmp_path / "y.png", "--accuracy", tmp_path / "a.png"]
    out = tremap("report", table, "--threshold", 0.905, *pictures).stdout
    assert out.startswith(tm.report.comparison(reports, threshold=0.905))
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("y.png", "a.png"))
    answer = json.loads(tremap("report", table, "--threshold", 0.905, "--json").stdout)
    assert [(e["method"], e["yield"]) for e in answer] == [("way 0", 0.0), ("way 1", 1.0)]
    heading = table.read_text().splitlines()[0]
    for text, message in (
        ("a,b\n1,2\n", "t.csv:1: not a table that write_csv makes: its columns are a,b, expected method,"),
        ("", "t.csv:1: not a table that write_csv makes: its columns are , expected method,"),
        (f"{heading}\n", "no chip in it"),
    ):
        (tmp_path / "t.csv").write_text(text)
        assert message in tremap("report", tmp_path / "t.csv", "--threshold", 1, code=1).stderr
    (tmp_path / "t.csv").write_text(table.read_text().replace("False", "maybe", 1))
    assert "t.csv:2: batchnorm is 'maybe'" in tremap("report", tmp_path / "t.csv", "--threshold", 1, code=1).stderr
    (tmp_path / "t.csv").write_text(table.read_text().replace("False", "maybe", 2).replace("maybe", "False", 1))
    assert "t.csv:2: bit_exact is 'maybe'" in tremap("report", tmp_path / "t.csv", "--threshold", 1, code=1).stderr


def test_activated_faults_as_a_picture(fleet, tmp_path):
    _, root = fleet
    options = ["--bundle", root / "group_0", "--out", tmp_path / "e.png"]
    tremap("map", "plot", root / "chips", "--kind", "activated", *options)
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")
    assert (
        "--kind activated needs --bundle, and only it takes one"
        in tremap("map", "plot", root / "chips", *options, code=2).stderr
    )


def test_it_needs_neither_torch_nor_brevitas(fleet):
    _, root = fleet
    code = (
        "import sys; sys.modules['torch'] = sys.modules['brevitas'] = None\n"
        "from tremap_brevitas.cli import main\n"
        f"main(['assign', {str(root / 'chips')!r}, '--bundle', {str(root / 'group_0')!r}, '--goal', '0.5'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 of 8 chips: exact" in done.stdout
