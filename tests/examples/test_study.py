"""The study in small: every kind of row runs, and the page shows what its rows yielded."""

import csv
import dataclasses
import re
import runpy
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from examples.test_cifar10 import write_data_set
from networks import ResNet
from study_bench import small_workbench

from benchmarks.study import grouping, job, methods, prediction, report, results, rows, tables, workbench, worker
from tremap_brevitas.cluster import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def few_chips(monkeypatch):
    """The page's table of groups is made of maps alone: of a dozen chips here, and not of 300, which takes ten seconds."""
    monkeypatch.setattr(grouping, "CHIPS", 12)


@pytest.fixture(scope="module")
def bench():
    with small_workbench(images=600, test_images=40) as (bench, patch):
        patch.setattr(workbench, "BN_BATCHES", 1)
        patch.setattr(job, "MAX_MEMBERS", 2)
        yield bench


def test_rows_are_distinct_and_none_is_left_out():
    every = rows.all_rows()
    assert len({row.name for row in every}) == len(every)
    assert {row for table in rows.TABLES.values() for row in table()} == set(every)
    for row in every:
        assert row.network in rows.NETWORKS


@pytest.mark.parametrize(("can", "expected"), [({}, False), ({"amx_bf16": True}, True), ({"avx512_bf16": False}, False)])
def test_bfloat16_only_where_the_processor_has_it(monkeypatch, can, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    assert workbench.has_bfloat16() == expected


def test_a_method_is_registered_once_and_rows_name_registered_ones():
    for field, known in (("method", methods.METHODS), ("entry", methods.ENTRIES)):
        assert {getattr(row, field) for row in rows.all_rows()} == set(known)
        with pytest.raises(ValueError, match=f"{field} must be one of .*{re.escape(list(known)[-1])}, got 'prayer'"):
            rows.Row(**{field: "prayer"})
    with pytest.raises(ValueError, match="there is a method 'merged' already: retrain"):
        methods.method(methods.MERGED, "group")(lambda task: 0.0)
    with pytest.raises(ValueError, match="there is an entry 'by step' already: by_step"):
        methods.entry(methods.BY_STEP)(lambda task: None)


@pytest.mark.slow(25)
def test_every_kind_of_row_and_the_page(bench, few_chips, tmp_path):
    """One row of each kind, with two steps; then the page is filled from them."""
    kinds, kept = {}, 0
    for row in rows.all_rows():
        kind = (row.method, row.store, row.entry, row.pattern, row.reuse, row.steps > 0, row.unseen > 0, row.teacher)
        kinds.setdefault(kind, row)
    assert len(kinds) > 20
    for row in kinds.values():
        short = dataclasses.replace(row, network="resnet20", steps=min(row.steps, 2), unseen=min(row.unseen, 1))
        if row.entry == "on recovery":
            short = dataclasses.replace(short, steps=20)  # it needs a few to measure the loss
        outcome = job.run(short, bench)
        accuracies = [c["accuracy"] for c in outcome["chips"]]
        kept += len(accuracies)
        assert accuracies
        assert all(0 <= a <= 1 for a in accuracies)
        if row.method == "per chip":
            assert [c["bit_exact"] for c in outcome["chips"]] == [True]
            assert accuracies == [outcome["nominal"]]
        with RunFolder(tmp_path / "rows") as folder:
            folder.put(row.name, outcome)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "study_retraining.md", tmp_path / "docs")
    with RunFolder(tmp_path / "baselines") as folder:
        folder.put("resnet20", {"steps": 2, "bfloat16": 0.1, "float32": 0.125, "weights": "d"})
    results.collect(tmp_path, tmp_path / "docs")
    report.write_report(tmp_path / "docs")
    with (tmp_path / "docs" / "study_chips.csv").open(newline="") as file:
        chips = list(csv.DictReader(file))
    assert len(chips) == kept
    page = (tmp_path / "docs" / "study_retraining.md").read_text()
    assert f"{len(kinds)} of {len(rows.all_rows())} rows are finished." in page
    for name in tables.TABLES:
        body = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", page, re.S).group(1)
        assert body.count("\n|") >= 1 or body.lower().startswith("not run"), name


@pytest.mark.slow(10)
def test_the_command_goes_on_where_it_was_stopped(few_chips, tmp_path, monkeypatch):
    """From files to the page; a row that is there is not run again, and other options are refused."""
    write_data_set(tmp_path / "data", records=30)
    torch.manual_seed(0)
    weights = {key: value for key, value in ResNet(20).state_dict().items() if "quant" not in key}
    torch.save(weights, tmp_path / "resnet20_cifar10_float.pt")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "study_retraining.md", tmp_path / "docs")
    monkeypatch.setattr(workbench, "BATCH", 8)
    monkeypatch.setattr(workbench.tm, "compiled", lambda model, **_: model)
    monkeypatch.setattr(workbench, "COLLECT", 2)
    monkeypatch.setattr(job, "MAX_MEMBERS", 2)
    monkeypatch.setitem(worker.BASELINES, "resnet20", 2)
    first, second = rows.Row(steps=2), rows.Row(steps=0, method="none")
    monkeypatch.setattr(rows, "TABLES", {"headline": lambda: [first], "large group": lambda: [first, second]})
    ran = []
    monkeypatch.setattr(job, "run", lambda row, bench, run=job.run: ran.append(row) or run(row, bench))

    def study(*options):
        folders = {"data": tmp_path / "data", "weights": tmp_path, "out": tmp_path / "out", "docs": tmp_path / "docs"}
        given = [text for name, folder in folders.items() for text in (f"--{name}", str(folder))]
        monkeypatch.setattr("sys.argv", ["study", *given, *options])
        runpy.run_module("benchmarks.study", run_name="__main__")

    threads = torch.get_num_threads()
    try:
        study("--test-images", "20", "--tables", "headline")
        assert ran == [first]
        study("--test-images", "20")
        assert ran == [first, second]
        with pytest.raises(ValueError, match="holds a run with test_images=20, but here it is 10"):
            study("--test-images", "10")
        page = (tmp_path / "docs" / "study_retraining.md").read_text()
        study("--from-csv")
        again = (tmp_path / "docs" / "study_retraining.md").read_text()
        seconds = re.compile(r"<!-- grouping -->.*<!-- /grouping -->", re.S)
        assert seconds.sub("", again) == seconds.sub("", page)
        # What is read counts, not where it lies.
        torch.save({key: value + 1 for key, value in weights.items()}, tmp_path / "resnet20_cifar10_float.pt")
        with pytest.raises(SystemExit, match="resnet20 began with weights of digest [0-9a-f]{64}, but .*_float.pt has"):
            study("--test-images", "20")
        write_data_set(tmp_path / "data", records=31)
        with pytest.raises(ValueError, match="holds a run with data='[0-9a-f]{64}', but here it is '[0-9a-f]{64}'"):
            study("--test-images", "20")
        assert ran == [first, second]
    finally:
        torch.set_num_threads(threads)
    kept = results.Results(tmp_path / "docs")
    assert kept.runs.method.tolist() == ["merged", "none"]
    (baseline,) = kept.baselines.itertuples()
    assert baseline.steps == 2
    assert baseline.float32 == baseline.bfloat16 == kept.runs.nominal[1]
    assert f"| resnet20 | 2 | {100 * baseline.float32:.2f} |" in page
    assert "2 of 2 rows are finished." in page


def figure(values, **options):
    """From ``{(seed, chip): value}``."""
    index = pd.MultiIndex.from_tuples(values, names=["seed", "chip"])
    return results.Figure(pd.Series(values.values(), index=index, dtype=float), **options)


def test_figures_over_chips_and_seeds():
    value = figure({(0, "a"): 0.8, (0, "b"): 0.6, (1, "a"): 0.9})
    assert value.by_seed.tolist() == pytest.approx([0.7, 0.9])
    assert str(value) == "80.00 ± 14.14 [2 + 1]"
    assert str(figure({(0, "a"): 0.8, (1, "a"): 0.9})) == "85.00 ± 7.07 [2 × 1]"
    assert str(figure({(0, "a"): 0.8, (0, "b"): 0.9})) == "85.00 [1 × 2]"
    assert str(figure({(0, "a"): 0.8, (1, "a"): 0.8})) == "80.00 [2 × 1]"
    assert str(results.Figure(pd.Series([0.5], index=pd.Index([0], name="seed")))) == "50.00"
    with pytest.raises(AssertionError, match="two results for one chip"):
        results.Figure(pd.Series([0.5, 0.6], index=pd.Index([0, 0], name="seed")))


def test_chips_are_compared_with_themselves():
    """A preparation evaluated on the two easy chips gains nothing over one that was evaluated on a hard one too."""
    single = figure({(0, "a"): 0.9, (0, "b"): 0.88, (0, "hard"): 0.5, (1, "a"): 0.9})
    other = figure({(0, "b"): 0.87, (0, "a"): 0.9, (0, "never"): 0.1})
    assert other.mean < single.mean
    difference = other - single
    assert sorted(difference.values.index) == [(0, "a"), (0, "b")]
    assert str(difference) == "-0.50 [1 × 2]"
    assert single.on(other).values.min() == 0.88
    assert str(single - single) == "+0.00 [3 + 1]"
    assert not figure({(5, "a"): 1.0}) - single


@pytest.fixture(scope="module")
def published():
    return results.Results(ROOT / "docs")


def test_the_page_is_what_its_files_say(published):
    """Every table of docs/study_retraining.md again from the CSV files that are published."""
    page = (ROOT / "docs" / "study_retraining.md").read_text()
    for name, table in tables.TABLES.items():
        body = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.S).group(1)
        if name != "grouping":  # made of maps, not of files; it has seconds
            assert body == table(published), name
    assert f"{len(published.runs)} of {len(rows.all_rows())} rows are finished." in page


def test_differences_of_the_page_in_plain_python(published):
    """The teacher's row, from the two files with the csv module alone."""
    with (ROOT / "docs" / "study_runs.csv").open(newline="") as file:
        runs = {r["run"]: r for r in csv.DictReader(file)}
    usual = {"network": "resnet32", "method": "per chip", "steps": "200", "store": "nearest", "recalibrated": "False"}
    accuracy = {"True": {}, "False": {}}
    with (ROOT / "docs" / "study_chips.csv").open(newline="") as file:
        for chip in csv.DictReader(file):
            run = runs[chip["run"]]
            if all(run[key] == value for key, value in usual.items()):
                accuracy[run["teacher"]][run["seed"], chip["chip"]] = float(chip["accuracy"])
    assert len(accuracy["True"]) == 2
    difference = sum(a - accuracy["False"][key] for key, a in accuracy["True"].items()) / 2
    assert str(published.per_chip(network="resnet32", teacher=True) - published.per_chip(network="resnet32")) == (
        f"{100 * difference:+.2f} [1 × 2]"
    )


def test_no_case_is_predicted_twice(published):
    cases = prediction.new_cases(published)
    count = cases.groupby("kind").size()
    assert count["new chip at 0.006; no training"] == 24  # 3 seeds, the first 8 of 20 chips
    assert count["new chip at 0.02; no training"] == 45  # 3 seeds, 5 members and 10 others
    assert not cases.duplicated(["kind", "error", "accuracy"]).any()
