"""The comparison without training in small: every preparation runs, and the table is that of its rows."""

import csv
import re
import statistics
from pathlib import Path

import pytest
from study_bench import small_workbench

from benchmarks.no_training import cases, preparations, table, work
from benchmarks.no_training.cases import Case
from benchmarks.no_training.preparations import PREPARATIONS


@pytest.fixture(scope="module")
def bench():
    with small_workbench(images=40, test_images=20) as (bench, _):
        yield bench


def test_every_case_has_a_preparation():
    every = list(cases.cases(("resnet20", "resnet20-4bit", "resnet32")))
    assert {case.preparation for case in every} == set(PREPARATIONS)
    assert len({case.name for case in every}) == len(every)


@pytest.mark.slow
def test_every_preparation_and_the_table(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(preparations, "IMAGES", 8)
    monkeypatch.setattr(work, "workbench_of", lambda setup, network: bench)
    monkeypatch.setattr(work, "_clean", lambda setup, network: 0.5)
    monkeypatch.setattr(bench, "train", lambda strategy, **_: strategy.step())
    jobs = [Case("resnet20", 2e-2, name, 0) for name in PREPARATIONS if name != cases.BOTH]
    jobs += [Case("resnet20", 6e-3, cases.COMPENSATED, 0, 3, None), Case("resnet20", 6e-3, cases.RETRAINED, 0, 3, 1)]
    results = {case.name: work.Work(None)(case) for case in jobs}
    table.write({case.name: case for case in jobs}, results, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(jobs) + 2 * 3  # a group: the union, then each chip with one image and with its own
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
    printed = table.table(tmp_path / "rows.csv")
    of = {row["preparation"]: float(row["accuracy"]) for row in rows if row["rate"] == "0.02"}
    nearest = 100 * (of[cases.NEAREST] - of[cases.RETRAINED])
    assert f"{nearest:+.2f} [1]" in next(line for line in printed.splitlines() if f"| {cases.NEAREST} " in line)
    one_image = [float(r["accuracy"]) for r in rows if r["written"] == "one image"]
    assert f"{100 * statistics.fmean(one_image):.2f}" in next(x for x in printed.splitlines() if "; one image" in x)


def test_the_page_has_the_published_table():
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "compensation.md").read_text(encoding="utf-8")
    body = re.search(r"<!-- no training -->\n(.*?)\n<!-- /no training -->", page, re.S)
    assert body[1] == table.table(docs / "no_training.csv")
