"""``tremap advise``: the answer, its figures, its rows."""

import csv
import json
from pathlib import Path

from cli.test_maps import tremap

ROWS = Path(__file__).parents[2] / "docs" / "preparations.csv"


def test_it_answers_with_figures_and_rows():
    out = tremap("advise", "--rate", "1e-3", "--bits", 8, "--chips", 1000).stdout
    assert "nearest: the cheapest that keeps every chip within 0.5 points" in out
    named = next(line for line in out.splitlines() if line.startswith("rows of 'nearest'"))
    with ROWS.open(newline="", encoding="utf-8") as file:
        lines = ["", "", *csv.DictReader(file)]
    for number in named.partition("lines ")[2].split(", "):
        row = lines[int(number)]
        assert (row["network"], row["preparation"], float(row["rate"])) == ("resnet20", "nearest", 1e-3)


def test_json_has_the_same():
    answer = json.loads(tremap("advise", "--rate", "1e-3", "--bits", 8, "--chips", 7, "--json").stdout)
    assert (answer["best"], answer["rate"], answer["chips"], answer["one_image"]) == ("nearest", 1e-3, 7, False)
    best = next(option for option in answer["options"] if option["preparation"] == "nearest")
    assert best["holds"]
    assert best["basis"] == "measured"
    assert best["worst_points"] >= -0.5


def test_it_says_when_it_extrapolates():
    beyond = tremap("advise", "--rate", "0.5", "--bits", 8, "--chips", 1).stdout
    assert "No preparation was measured" in beyond
    assert "note: more stuck cells" in beyond
    assert "note: 2 bits were not measured" in tremap("advise", "--rate", "1e-3", "--bits", 2, "--chips", 1).stdout
    assert "note: between cases" in tremap("advise", "--rate", "2e-3", "--bits", 8, "--chips", 1).stdout


def test_options_are_checked():
    assert "is not in the range" in tremap("advise", "--rate", "0", "--bits", 8, "--chips", 1, code=2).stderr
    assert "is not a finite number" in tremap("advise", "--rate", "nan", "--bits", 8, "--chips", 1, code=2).stderr
    tremap("advise", "--rate", "1e-3", "--bits", 0, "--chips", 1, code=2)
