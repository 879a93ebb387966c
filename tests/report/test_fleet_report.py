"""Reports: a table, a CSV file that loses nothing, a picture."""

import csv
import dataclasses
import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tremap_brevitas as tm
from tremap_brevitas.report import ChipResult, FleetReport, read_csv

WRONG = ChipResult("b", weights_that_differ=12, worst_error=64, accuracy=0.84)
REPORTS = [
    tm.FleetReport("merged", 0.91, (ChipResult("a", accuracy=0.91), WRONG), 200, 1.5),
    tm.FleetReport("per chip", 0.92, (ChipResult("a", accuracy=0.92), ChipResult("b", accuracy=0.92)), 400, 3.0),
]


def test_reports_as_csv(tmp_path):
    with tm.report.write_csv(REPORTS, tmp_path / "fleet.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["method"], r["chip"], float(r["accuracy"]), r["steps"]) for r in rows] == [
        ("merged", "a", 0.91, "200"),
        ("merged", "b", 0.84, "200"),
        ("per chip", "a", 0.92, "400"),
        ("per chip", "b", 0.92, "400"),
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["fleet.csv"]


def test_reports_as_table_and_joined():
    table = tm.report.comparison(REPORTS, threshold=0.9).splitlines()
    assert table[1].split() == ["merged", "0.9100", "0.8750", "0.8400", "50", "%", "1/2", "200", "1.5"]
    joined = tm.FleetReport.join(REPORTS, name="both")
    assert (joined.steps, joined.seconds, len(joined.chips)) == (600, 4.5, 4)
    with pytest.raises(ValueError, match="no report to join"):
        tm.FleetReport.join([], name="none")


def test_a_report_needs_accuracies(tmp_path):
    with pytest.raises(ValueError, match="chip 'a' has no accuracy; a report needs that of every chip"):
        FleetReport("x", 0.9, (ChipResult("a"),))
    text = tm.report.write_csv(REPORTS, tmp_path / "fleet.csv").read_text()
    (tmp_path / "fleet.csv").write_text(text.replace(",12,64,0.84", ",12,64,"))
    with pytest.raises(ValueError, match=r"fleet.csv:3: chip 'b' has no accuracy"):
        read_csv(tmp_path / "fleet.csv")


def test_no_reports(tmp_path):
    for call in (lambda: tm.report.comparison([], threshold=0.9), lambda: tm.report.write_csv([], tmp_path / "fleet.csv")):
        with pytest.raises(ValueError, match="no report"):
            call()
    assert list(tmp_path.iterdir()) == []


names = st.sampled_from(["", "merged", "a, b"])
figures = st.floats(0, 1) | st.floats(0, 1e9)
counts = st.integers(1, 9)
results = st.builds(ChipResult, names, accuracy=figures) | st.builds(
    ChipResult, names, weights_that_differ=counts, worst_error=counts, accuracy=figures
)
fleets = st.builds(
    FleetReport, names, figures, st.lists(results, min_size=1, max_size=3).map(tuple), st.integers(0, 9), figures, figures
)


@given(st.lists(fleets, min_size=1, max_size=4))
def test_what_is_read_is_what_was_written(tmp_path_factory, reports):
    """Unnamed reports, equal ones, chips of one name, every digit."""
    assert read_csv(tm.report.write_csv(reports, tmp_path_factory.getbasetemp() / "fleet.csv")) == reports


HEAD = "method,nominal,steps,seconds,chip,accuracy,bit_exact,weights_that_differ,worst_error\n"


def test_tables_of_earlier_versions(tmp_path):
    path = tmp_path / "fleet.csv"
    path.write_text(HEAD + "a,0.9,5,1.235,x,0.8,no,3,4\na,0.9,5,1.235,y,0.9,True,0,0\nb,0.9,5,1.235,x,0.8,False,3,4\n")
    assert [(r.name, r.seconds, [(c.chip, c.bit_exact) for c in r.chips]) for r in read_csv(path)] == [
        ("a", 1.235, [("x", False), ("y", True)]),
        ("b", 1.235, [("x", False)]),
    ]
    for table in Path(__file__).parents[2].glob("docs/*.csv"):
        if "method,nominal" in table.read_text(encoding="utf-8").partition("\n")[0]:
            assert len({r.name for r in read_csv(table)}) > 5
    path.write_text(HEAD + ",0.9,0,0.0,x,0.8,False,3,4\n,0.9,0,0.0,x,0.9,True,0,0\n")
    with pytest.raises(ValueError, match=r"fleet.csv:3: chip 'x' is there twice for method '': two reports"):
        read_csv(path)


def test_rows_of_one_report_that_contradict(tmp_path):
    text = tm.report.write_csv(REPORTS, tmp_path / "fleet.csv").read_text()
    (tmp_path / "fleet.csv").write_text(text.replace("1,per chip", "0,per chip", 1))
    with pytest.raises(ValueError, match=r"fleet.csv:4: report 0 has per chip, 0.92, .* here, but merged, 0.91, .* above"):
        read_csv(tmp_path / "fleet.csv")


def test_a_chip_without_a_figure(tmp_path):
    """NaN is no accuracy: whatever the order, the worst is not known, and the chip reaches no threshold."""
    accuracies = (0.5, math.nan, 0.9)
    for order in itertools.permutations(accuracies):
        report = FleetReport("x", 0.9, tuple(ChipResult(str(i), accuracy=a) for i, a in enumerate(order)))
        assert math.isnan(report.worst)
        assert math.isnan(report.mean)
        assert report.yield_at(0.5) == 2 / 3
        (again,) = read_csv(tm.report.write_csv([dataclasses.replace(report, nominal=math.nan)], tmp_path / "fleet.csv"))
        assert repr(again.chips) == repr(report.chips)


def test_reports_as_picture(tmp_path):
    tm.report.plot_reports(REPORTS, tmp_path / "fleet.png", threshold=0.9, title="Two chips")
    assert (tmp_path / "fleet.png").read_bytes().startswith(b"\x89PNG")
    tm.report.plot_reports(REPORTS, tmp_path / "fleet.svg")
    assert "<svg" in (tmp_path / "fleet.svg").read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fleet.png", "fleet.svg"]
