"""Attempts at one image for a group, in small; and the published table has the figures of its rows."""

import csv
import re
import statistics

import pandas as pd
import pytest
from study_bench import small_workbench

from benchmarks import group_attempts
from benchmarks.group_attempts import ALONE, ATTEMPTS, CSV, DOCS, Work, merged, rows_of, table
from benchmarks.preparations import methods


@pytest.mark.slow
def test_every_attempt_measures_every_chip(monkeypatch):
    steps = []
    with small_workbench(images=40, test_images=20) as (bench, _):
        monkeypatch.setattr(methods, "IMAGES", 8)
        monkeypatch.setattr(group_attempts, "workbench_of", lambda setup, network: bench)
        monkeypatch.setattr(bench, "train", lambda strategy, lr, **_: (steps.append(lr), *strategy.passes(), strategy.step()))
        work = Work(None, "resnet8", chips=5)
        results = {(name, 0): work((name, 0)) for name in ATTEMPTS}
        again = work(("compensated", 0))
    trained = [attempt for attempt in ATTEMPTS.values() if attempt.lr]
    assert steps == [attempt.lr for attempt in trained for _ in range(4 if attempt.trained == "each chip" else 1)]
    for (name, _), result in results.items():
        healthy = ATTEMPTS[name].trained == "healthy network"
        assert len(result["chips"]) == (1 if healthy else 4)
        assert all((chip["divergence"] > 0) == (not healthy) for chip in result["chips"])
    assert again["chips"] == results["compensated", 0]["chips"]  # the network is the healthy one again
    untrained = [str(result["chips"]) for (name, _), result in results.items() if not ATTEMPTS[name].lr]
    assert len(set(untrained)) == len(untrained)  # no option is without effect
    assert len(rows_of(results)) == 4 * len(ATTEMPTS) - 3


def test_new_rows_replace_old_ones():
    old = pd.read_csv(CSV)
    line = old.iloc[0]
    new = rows_of(
        {(line.attempt, line.seed): {"seconds": 1.0, "device": "core", "chips": [{"divergence": 9.0, "points": -9.0}]}}
    )
    now = merged(old, new)
    assert len(now) == len(old)
    assert (now.points == -9.0).sum() == 1
    assert list(now.attempt.unique()) == list(old.attempt.unique())


def test_the_table_has_the_figures_of_the_rows():
    with CSV.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["attempt"] == "compensated"]
    groups = {}
    for line in lines:
        groups.setdefault(line["seed"], []).append(float(line["points"]))
    means = [statistics.fmean(points) for points in groups.values()]
    worst = min(float(line["points"]) for line in lines)
    (printed,) = re.findall(r"\| compensated  .*", table(pd.read_csv(CSV)))
    assert f"{statistics.fmean(float(line['divergence']) for line in lines):.4f}" in printed
    assert f"{statistics.fmean(means):+.2f}" in printed
    assert f" {worst:+.2f} " in printed


def test_one_image_is_compared_with_retraining_of_the_same_chips():
    lines = list(csv.DictReader(CSV.open(newline="", encoding="utf-8")))
    points = {(line["attempt"], line["seed"], line["chip"]): float(line["points"]) for line in lines}
    name = "an order before it, three sweeps"
    apart = [
        statistics.fmean(points[name, str(seed), str(c)] - points[ALONE, str(seed), str(c)] for c in range(4))
        for seed in range(3)
    ]
    half = 4.3026527 * statistics.stdev(apart) / 3**0.5  # Student's 97.5 % point, two degrees
    (printed,) = re.findall(rf"\| {name}  .*", table(pd.read_csv(CSV)))
    assert f" {statistics.fmean(apart):+.2f} ± {half:.2f} " in printed


def test_the_page_has_the_table():
    text = (DOCS / "compensation.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"<!-- group attempts -->\n(.*?)\n<!-- /group attempts -->", text, re.S)
    assert body == table(pd.read_csv(CSV))
