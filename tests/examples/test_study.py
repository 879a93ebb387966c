"""The study in small: every kind of row runs, and the page shows what its rows yielded."""

import csv
import dataclasses
import re
import runpy
import shutil
from pathlib import Path

import job
import pytest
import report
import results
import rows
import tables
import torch
import workbench
import worker
from examples.test_cifar10 import write_data_set
from networks import ResNet
from training import Data

from tremap_brevitas.cluster import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench():
    """A network that was hardly trained, on images of noise, not compiled: the paths are the study's."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    data = Data(
        torch.randn(600, 3, 32, 32, generator=generator),
        torch.randint(10, (600,), generator=generator),
        torch.randn(40, 3, 32, 32, generator=generator),
        torch.randint(10, (40,), generator=generator),
    )
    network = workbench.new_network("resnet20")
    network(data.test_images[:8])
    state = network.state_dict()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench.tm, "compiled", lambda model, **_: model)
        patch.setattr(workbench, "BATCH", 8)
        patch.setattr(job, "BATCH", 8)
        patch.setattr(job, "BN_BATCHES", 1)
        patch.setattr(job, "JUDGED", 2)
        yield workbench.Workbench("resnet20", state, data)


def test_rows_are_distinct_and_none_is_left_out():
    every = rows.all_rows()
    assert len({row.name for row in every}) == len(every)
    assert {row for table in rows.TABLES.values() for row in table()} == set(every)
    for row in every:
        assert row.network in rows.NETWORKS


@pytest.mark.slow
def test_every_kind_of_row_and_the_page(bench, tmp_path):
    """One row of each kind, with two steps; then the page is filled from them."""
    kinds = {}
    for row in rows.all_rows():
        kind = (row.method, row.store, row.entry, row.pattern, row.reuse, row.steps > 0, row.unseen > 0, row.teacher)
        kinds.setdefault(kind, row)
    assert len(kinds) > 20
    for row in kinds.values():
        short = dataclasses.replace(row, network="resnet20", steps=min(row.steps, 2), unseen=min(row.unseen, 1))
        if row.entry == "on recovery":
            short = dataclasses.replace(short, steps=20)  # it needs a few to measure the loss
        found = job.run(short, bench)
        accuracies = [c["accuracy"] for c in found["chips"]]
        assert accuracies
        assert all(0 <= a <= 1 for a in accuracies)
        if row.method == "per chip":
            assert [c["bit_exact"] for c in found["chips"]] == [True]
            assert accuracies == [found["nominal"]]
        with RunFolder(tmp_path / "rows") as folder:
            folder.put(row.name, found)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "study.md", tmp_path / "docs")
    report.write_report(tmp_path, tmp_path / "docs")
    with (tmp_path / "docs" / "study_chips.csv").open(newline="") as file:
        chips = list(csv.DictReader(file))
    assert len(chips) == sum(len(r.chips) for r in results.finished(tmp_path))
    page = (tmp_path / "docs" / "study.md").read_text()
    assert f"{len(kinds)} of {len(rows.all_rows())} rows are finished." in page
    for name in tables.TABLES:
        body = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", page, re.S).group(1)
        assert body.count("\n|") >= 1 or body.lower().startswith("not run"), name


@pytest.mark.slow
def test_the_command_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    """From files to the page; a row that is there is not run again, and other options are refused."""
    write_data_set(tmp_path / "data", records=30)
    torch.manual_seed(0)
    weights = {key: value for key, value in ResNet(20).state_dict().items() if "quant" not in key}
    torch.save(weights, tmp_path / "resnet20_cifar10_float.pt")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "study.md", tmp_path / "docs")
    for module in (workbench, job):
        monkeypatch.setattr(module, "BATCH", 8)
    monkeypatch.setattr(workbench.tm, "compiled", lambda model, **_: model)
    monkeypatch.setattr(workbench, "COLLECT", 2)
    monkeypatch.setitem(worker.BASELINES, "resnet20", 2)
    first, second = rows.Row(steps=2), rows.Row(steps=0, method="none")
    monkeypatch.setattr(rows, "TABLES", {"headline": lambda: [first], "large group": lambda: [first, second]})
    ran = []
    monkeypatch.setattr(job, "run", lambda row, bench, run=job.run: ran.append(row) or run(row, bench))

    def study(*options):
        folders = {"data": tmp_path / "data", "weights": tmp_path, "out": tmp_path / "out", "docs": tmp_path / "docs"}
        given = [text for name, folder in folders.items() for text in (f"--{name}", str(folder))]
        monkeypatch.setattr("sys.argv", ["study", *given, *options])
        runpy.run_path(str(ROOT / "benchmarks" / "study"), run_name="__main__")

    threads = torch.get_num_threads()
    try:
        study("--test-images", "20", "--tables", "headline")
        assert ran == [first]
        study("--test-images", "20")
        assert ran == [first, second]
        with pytest.raises(ValueError, match="holds a run with test_images=20, but here it is 10"):
            study("--test-images", "10")
    finally:
        torch.set_num_threads(threads)
    found = results.finished(tmp_path / "out")
    assert [r.row for r in found] == [first, second]
    baseline = results.baselines(tmp_path / "out")["resnet20"]
    assert baseline["steps"] == 2
    assert baseline["float32"] == baseline["bfloat16"] == found[1].run["nominal"]
    page = (tmp_path / "docs" / "study.md").read_text()
    assert f"| resnet20 | 2 | {100 * baseline['float32']:.2f} |" in page
    assert "2 of 2 rows are finished." in page


def test_means_over_seeds():
    def result(seed, chip, accuracy, deployment="chip_image"):
        row = rows.Row(seed=seed, chip=chip)
        return results.Result(row, {"nominal": 0.9}, ({"accuracy": accuracy, "deployment": deployment, "member": True},))

    found = [result(0, 0, 0.8), result(0, 1, 0.6), result(1, 0, 0.9), result(1, 0, 0.1, "group_image")]
    assert results.over_seeds(found, "chip_image").values == pytest.approx((0.7, 0.9))
    assert str(results.over_seeds(found, "chip_image")) == "80.00 ± 14.14 (2 seeds)"
    assert results.worst(found) == 0.1
    assert results.having(found, chip=1) == [found[1]]
    assert results.having(found, rate=1.0) == []
