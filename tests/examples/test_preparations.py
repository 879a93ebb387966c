"""The study of preparations in small: every one runs, and page, README and the command have the figures of the rows."""

import csv
import re
import statistics
from pathlib import Path

import pandas as pd
import pytest
from study_bench import small_workbench

from benchmarks import group_attempts
from benchmarks.preparations import __main__ as command
from benchmarks.preparations import cases, methods, networks_page, page, rows, supply_page, table, work
from benchmarks.preparations import statistics as figures
from benchmarks.preparations.cases import Case
from benchmarks.preparations.methods import METHODS
from tremap_brevitas.planning.evidence import ROWS, measurements

DOCS = Path(__file__).parents[2] / "docs"
CSV = DOCS / "preparations.csv"


@pytest.fixture(scope="module")
def bench():
    with small_workbench(images=40, test_images=20) as (bench, _):
        yield bench


def test_every_case_has_a_preparation_and_a_cost():
    every = list(cases.cases(("resnet20", "resnet20-4bit", "resnet32")))
    assert {case.preparation for case in every} == set(METHODS) == set(cases.COSTS)
    assert len({case.name for case in every}) == len(every)
    trained = [case.cost.steps > 0 for case in every]
    assert trained == sorted(trained)  # what takes long comes last


@pytest.fixture
def run(bench, monkeypatch):
    """Runs a case on noise, with the network as good as trained."""
    monkeypatch.setattr(methods, "IMAGES", 8)
    monkeypatch.setattr(work, "workbench_of", lambda setup, network: bench)
    monkeypatch.setattr(work, "_clean", lambda *_: 0.5)
    monkeypatch.setattr(bench, "train", lambda strategy, **_: strategy.step())
    return lambda case: rows.rows_of(case, work.Work(None)(case))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_preparation_makes_a_row(run, name):
    (row,) = run(Case("resnet20", 2e-2, name, 0))
    assert 0 <= row.accuracy <= 1
    assert row.stuck == pytest.approx(2e-2, rel=1e-3)
    (nearest,) = run(Case("resnet20", 2e-2, cases.NEAREST, 0))
    fewer = {cases.ORDER, cases.COMPENSATED, cases.SHARED, cases.PLAINLY, cases.ORDER_COMPENSATED, cases.BOTH}
    fewer |= {cases.LARGE_STEPS, cases.SILENCED_ORDER}
    assert (row.wrong < nearest.wrong) == (name in fewer) or name in (cases.GPTQ, cases.QRONOS, cases.SIGNS)


@pytest.mark.slow
def test_a_group_has_a_row_for_the_union_and_for_each_chip(run, tmp_path):
    made = rows.merged([], run(Case("resnet20", 6e-3, cases.NEAREST, 0, 3, None)))
    assert [(row.written, row.chip) for row in made] == [("union", "all"), *(("one image", str(chip)) for chip in range(3))]
    rows.write(made, tmp_path / "rows.csv")
    assert rows.read(tmp_path / "rows.csv") == made


def test_the_table_beside_other_methods_pairs_chips():
    every = [row for row in rows.read(CSV) if row.network == "resnet20" and row.rate == 1e-1 and row.written == rows.OWN]
    points = {(row.preparation, row.seed): 100 * (row.accuracy - row.clean) for row in every}
    accuracy = statistics.fmean(100 * row.accuracy for row in every if row.preparation == cases.NEAREST)
    mean = statistics.fmean(value for (name, _), value in points.items() if name == cases.NEAREST)
    apart = [points[cases.NEAREST, seed] - points[cases.RETRAINED, seed] for seed in cases.SEEDS]
    half = 4.3026527 * statistics.stdev(apart) / 3**0.5  # Student's 97.5 % point, two degrees
    printed = next(line for line in table.table(CSV).splitlines() if line.startswith("| nearest  "))  # of the first network
    assert f"{accuracy:.2f} ({mean:+.2f}; {statistics.fmean(apart):+.2f} ± {half:.2f})" in printed


def test_a_group_is_compared_with_retraining_of_its_own_chips():
    every = [row for row in rows.read(CSV) if (row.network, row.rate) == ("resnet20", 6e-3)]
    alone = {}
    for row in sorted((row for row in every if row.written == rows.OWN), key=lambda row: -row.chips):
        if row.preparation == cases.RETRAINED:
            alone[row.seed, row.chip] = 100 * (row.accuracy - row.clean)  # a chip is the same in any group
    apart = {}
    for row in every:
        if (row.preparation, row.chips, row.written) == (cases.COMPENSATED, 20, "one image") and (row.seed, row.chip) in alone:
            apart.setdefault(row.seed, []).append(100 * (row.accuracy - row.clean) - alone[row.seed, row.chip])
    means = [statistics.fmean(values) for values in apart.values()]
    (printed,) = (
        line for line in table.table(CSV).splitlines() if re.match(r"\| ResNet-20, 8 bits *\| 20 *\| compensated; one", line)
    )
    assert f"| {statistics.fmean(means):+.2f} ± {4.3026527 * statistics.stdev(means) / 3**0.5:.2f} " in printed


def test_a_network_that_is_read_as_wanted_is_not_run(bench, monkeypatch):
    monkeypatch.setattr(work, "workbench_of", lambda setup, network: bench)
    monkeypatch.setattr(work, "_clean", lambda *_: 0.123)
    monkeypatch.setattr(work, "chips_of", lambda case, memory, count, measured: [work.tm.FaultMap(memory, [], [])] * count)
    monkeypatch.setattr(bench, "accuracy", None)  # it would not run
    result = work.Work(None)(Case("resnet20", 1e-6, cases.COMPENSATED, 0))
    assert (result["prepared"], result["wrong"]) == (0.123, 0)


def test_new_rows_replace_old_ones_and_leave_the_others():
    old = rows.read(CSV)
    case = next(row.case for row in old if row.written == rows.OWN)
    result = {"clean": 0.5, "prepared": 0.25, "seconds": 1.0, "core_seconds": 0.5, "stuck": 0.1, "wrong": 3}
    now = rows.merged(old, rows.rows_of(case, result))
    assert len(now) == len(old)
    (changed,) = set(now) - set(old)
    assert (changed.case, changed.accuracy, changed.wrong) == (case, 0.25, 3)


def test_rows_of_old_records_say_what_they_do_not_know():
    (row,) = rows.rows_of(Case("resnet20", 2e-2, cases.RETRAINED, 0), {"clean": 0.5, "prepared": 0.25, "seconds": 1.04})
    assert (row.core_seconds, row.stuck, row.wrong, row.seconds, row.steps, row.labels) == (None, None, None, 1.0, 200, 25_600)


def by_hand(preparation, rate, chips):
    """Mean, worst and number of chips, from the text of the file alone."""
    with CSV.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    written, most = ("own image", 1) if chips == 1 else ("one image", 2)
    points = [
        100 * (float(line["accuracy"]) - float(line["clean"]))
        for line in lines
        if line["network"] == "resnet20" and line["preparation"] == preparation and float(line["rate"]) == rate
        if line["written"] == written and int(line["chips"]) == chips and int(line["chip"]) < most
    ]
    return statistics.fmean(points), min(points), len(points)


@pytest.mark.parametrize(
    ("preparation", "rate", "chips"), [("nearest", 1e-3, 1), ("compensated", 6e-3, 1), ("compensated", 6e-3, 20)]
)
def test_figures_are_those_of_the_rows(preparation, rate, chips):
    row = figures.figures(figures.frame_of(CSV))["resnet20", rate, preparation, chips]
    assert (row.mean, row.worst, row.count) == pytest.approx(by_hand(preparation, rate, chips))


def test_pairs_are_of_the_same_chips():
    frame = figures.frame_of(CSV)
    pairs = figures.paired(frame, "compensated", "nearest", network="resnet20")[6e-3]
    one, other = (
        {
            row.seed: row.accuracy
            for row in rows.read(CSV)
            if (row.case.network, row.preparation, row.rate, row.chips) == ("resnet20", name, 6e-3, 1)
        }
        for name in ("compensated", "nearest")
    )
    apart = [100 * (one[seed] - other[seed]) for seed in one]
    assert pairs.mean == pytest.approx(statistics.fmean(apart))
    assert pairs.half == pytest.approx(4.3026527 * statistics.stdev(apart) / 3**0.5)  # Student's 97.5 % point, two degrees


def test_one_seed_is_no_headline():
    frame = figures.frame_of(CSV)
    alone = figures.figure(frame[frame.seed == 0][:1])
    assert "one seed" in alone.text
    assert "±" not in alone.text


def test_what_ships_is_what_is_published():
    assert ROWS.read_bytes() == CSV.read_bytes()
    assert {one.first.network for one in measurements()} == {row.network for row in rows.read(CSV) if row.written != "union"}


def test_pages_have_the_published_figures():
    filled = {**page.texts(figures.frame_of(CSV), CSV), "no training": table.table(CSV)}
    filled |= {**networks_page.texts(command.OTHERS), **supply_page.texts()}
    filled["group attempts"] = group_attempts.table(pd.read_csv(group_attempts.CSV))
    seen = set()
    for path in command.PAGES:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"<!-- (?!/)(.*?) -->\n", text):
            (body,) = re.findall(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", text, re.S)
            assert body == filled[name], (path.name, name)
            seen.add(name)
    assert seen == set(filled)


@pytest.mark.parametrize("uniform", [True, False])
def test_rows_of_small_networks_alone_make_no_pictures(tmp_path, uniform):
    some = [row for row in rows.read(command.OTHERS) if (row.map == cases.UNIFORM) == uniform and row.network != "resnet20"][:3]
    rows.write(some, tmp_path / "rows.csv")
    command.report(tmp_path / "rows.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_any_number_of_rows_makes_tables_and_pictures(tmp_path, capsys):
    some = [row for row in rows.read(CSV) if row.seed == 0 and row.chips == 1][:3]
    some += [rows.Row(**{**vars(row), "network": "resnet20-4bit"}) for row in some]
    rows.write(some, tmp_path / "rows.csv")
    command.report(tmp_path / "rows.csv")
    assert {path.name for path in tmp_path.glob("*.png")} == {"study_rates.png", "study_cost.png", "study_groups.png"}
    filled = page.texts(figures.frame_of(tmp_path / "rows.csv"), tmp_path / "rows.csv")
    assert "one seed" in filled["rates 4"]
    assert "resnet32: none of its" in filled["not run"]
