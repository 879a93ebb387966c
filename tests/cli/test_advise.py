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


def test_voltages(tmp_path):
    sram = tmp_path / "sram.csv"
    sram.write_text("voltage,rate\n1.0,0\n0.6,1e-4\n0.5,1e-3\n0.3,0.5\n")
    asked = ("advise", "--voltages", sram, "--bits", 8, "--chips", 50)
    lines = tremap(*asked).stdout.splitlines()
    cells = {line.split()[0]: line for line in lines if line[:1].isdigit() and "chips" not in line}
    assert "nothing: no cell is stuck" in cells["1"]
    assert "as they lie" in cells["0.6"]
    assert "64 %" in cells["0.6"]
    assert "nearest" in cells["0.5"]
    assert "none" in cells["0.3"]
    assert "note, at 0.3 V: more stuck cells" in "\n".join(lines)
    named = next(line for line in lines if line.startswith("rows of 'nearest' at 0.5 V: docs/preparations.csv, lines "))
    with ROWS.open(newline="", encoding="utf-8") as file:
        rows = ["", "", *csv.DictReader(file)]
    assert {rows[int(line)]["preparation"] for line in named.rpartition("lines ")[2].split(", ")} == {"nearest"}
    assert lines[-1].startswith("lowest voltage: ")
    assert "nearest 0.5 V (energy 0.25)" in lines[-1]
    assert "as they lie 0.6 V (energy 0.36)" in lines[-1]
    found = json.loads(tremap(*asked, "--json").stdout)
    assert [point["best"] for point in found["voltages"]] == [None, "as they lie", "nearest", None]
    assert (found["lowest"]["nearest"], found["voltages"][0]["needs_nothing"]) == (0.5, True)
    energy = tmp_path / "energy.csv"
    energy.write_text("voltage,energy\n1.0,8\n0.3,4\n")
    assert "energy of the memory: as given, 1 at 1 V" in tremap(*asked, "--energy", energy).stdout
    assert json.loads(tremap(*asked, "--energy", energy, "--json").stdout)["voltages"][3]["energy"] == 0.5


def test_voltages_that_make_no_sense(tmp_path):
    sram = tmp_path / "sram.csv"
    sram.write_text("voltage,rate\n1.0,0\n0.5,much\n")
    asked = ("--bits", 8, "--chips", 1)
    assert "sram.csv:3: rate is 'much', not a number" in tremap("advise", "--voltages", sram, *asked, code=1).stderr
    assert "give either --rate or --voltages" in tremap("advise", *asked, code=2).stderr
    assert "give either" in tremap("advise", "--voltages", sram, "--rate", "1e-3", *asked, code=2).stderr
    assert "--energy goes with --voltages" in tremap("advise", "--rate", "1e-3", "--energy", sram, *asked, code=2).stderr
    sram.write_text("voltage,rate\n0.5,0.4\n")
    assert "no preparation is shown to allow a stuck cell" in tremap("advise", "--voltages", sram, *asked).stdout
    sram.write_text("voltage,rate\n0.5,0\n")
    assert "lowest voltage: 0.5 V, with nothing done" in tremap("advise", "--voltages", sram, *asked).stdout
