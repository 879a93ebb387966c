"""The example scripts run; what was finished before a kill is not lost."""

import csv
import json
import os
import re
import time
from pathlib import Path

import forked
import pytest
from examples.test_cifar10 import write_data_set
from helpers import needs_program

EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}  # this checkout, whatever is installed


def run(script, *arguments):
    done = forked.run(EXAMPLES / script, *arguments, environment=HERE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(path):
    with path.open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if "seconds" not in k} for row in csv.DictReader(file)]


@pytest.mark.slow(15)
def test_no_training(tmp_path):
    out = run("03_no_training.py", "--chips", 2, "--rates", 0.1, "--images", 256, "--out", tmp_path)
    mean = {}
    for row in rows(tmp_path / "fleet.csv"):
        mean.setdefault(row["method"], []).append(float(row["accuracy"]))
    mean = {method: sum(values) / len(values) for method, values in mean.items()}
    assert mean["0.1: compensated"] > mean["0.1: nearest"] > mean["0.1: as they are"]
    assert mean["0.1: compensated"] > 0.96
    assert mean["0.1: shared moments"] > 0.96
    assert f"{tmp_path}/group: 7 files unchanged, 9744 codes equal in image and ONNX" in out


@pytest.mark.slow(35)
def test_the_main_job(tmp_path):
    out = run("01_digits_fleet.py", "--chips", 3, "--steps", 60, "--out", tmp_path)
    methods = list(dict.fromkeys(r["method"] for r in rows(tmp_path / "fleet.csv")))
    assert methods[:2] == ["untreated", "nearest codes, no training"]
    assert len(methods) == 11
    mean = {m: [float(r["accuracy"]) for r in rows(tmp_path / "fleet.csv") if r["method"] == m] for m in methods}
    mean = {m: sum(v) / len(v) for m, v in mean.items()}
    assert mean["untreated"] < 0.93
    assert mean["merged, read by members, nearest"] > 0.94
    assert mean["merged, read by members, nearest"] > mean["untreated"] + 0.05
    assert "points in 60/180 = 1/3 of its steps: merged, read by members, nearest" in out
    assert f"{tmp_path}/group_0: 7 files unchanged, 9744 codes equal in image and ONNX" in out
    assert f"The bundle lies in {tmp_path}/group_0/" in out
    assert "   0 of 3 chips exact as they lie" in out
    assert out.splitlines()[-1] == "   3 of 3 chips exact in another order"
    assert (tmp_path / "fleet.png").read_bytes().startswith(b"\x89PNG")
    flows(
        tmp_path,
        {
            r["chip"]: float(r["accuracy"])
            for r in rows(tmp_path / "fleet.csv")
            if r["method"] == "merged, read by members, nearest"
        },
    )


def flows(folder, accuracy):
    """The commands of the flows' READMEs, on what the quick start left."""
    chips = sorted((folder / "chips").glob("*.npz"))
    out = run("../export/onnxruntime/fleet.py", folder)
    assert out.count("597 of 597") == 3
    for chip, value in accuracy.items():  # as the evaluation found it
        assert re.search(rf"{chip} +{value:.4f} +{value:.4f}", out)
    folding = EXAMPLES.parent / "export" / "finn" / "digits_folding.json"
    out = run("../export/finn/memories.py", folder / "group_0", "--folding", folding, "--out", folder / "finn")
    assert out.count("folded weights, INT8, equal to the codes") == 4
    assert out.count("sums of every chip lie in") == 3
    memories = [f"{name}={folder / 'finn' / name}.as_written.dat" for name in json.loads(folding.read_text())]
    given = ("--folding", folding, "--dat", *memories, "--allow", "elsewhere")  # the quick start's layout is the linear one
    assert run("../export/finn/check.py", folder / "group_0", *given).count(": elsewhere (") == 4
    needs_program("iverilog")
    assert run("../export/rtl/simulate.py", folder / "group_0", *chips).count("as its certificate says") == 3
    needs_program("g++")
    assert "64 of 64 outputs equal PyTorch's; 0 predictions differ" in run(
        "../export/hls4ml/c_simulation.py", folder / "group_0"
    )


@pytest.mark.slow(20)
def test_a_run_on_cifar10_that_is_killed_goes_on_and_ends_in_the_same_table(tmp_path):
    data = write_data_set(tmp_path / "data", records=30)
    options = ["--data", data, "--depth", 8, "--qat-steps", 4, "--steps", 8, "--chips", 2, "--batch", 20]
    options += ["--checkpoint-every", 2, "--fault-rate", 0.02]
    run("02_cifar10_resnet.py", *options, "--out", tmp_path / "whole")
    killed = 0
    for milestone in (
        "checkpoint-merged-read-by-members-nearest.pt",
        "checkpoint-per-chip-chip-0.pt",
    ):
        process = forked.start(EXAMPLES / "02_cifar10_resnet.py", *options, "--out", tmp_path / "killed", environment=HERE)
        while process.is_alive() and not (tmp_path / "killed" / milestone).exists():
            time.sleep(0.005)
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
    assert killed >= 1
    out = run("02_cifar10_resnet.py", *options, "--out", tmp_path / "killed")
    assert "   untreated …" not in out  # finished before, and not done again
    assert rows(tmp_path / "killed" / "fleet.csv") == rows(tmp_path / "whole" / "fleet.csv")
    assert list((tmp_path / "killed").glob("checkpoint*")) == []
    again = [EXAMPLES / "02_cifar10_resnet.py", *options, "--out", tmp_path / "killed"]
    other = forked.run(*again, "--seed", 9, environment=HERE)
    assert other.returncode != 0
    assert "holds a run with other options: {'seed': ('0', '9')}" in other.stderr
    write_data_set(data, records=31)
    other = forked.run(*again, environment=HERE)
    assert other.returncode != 0
    assert "holds a run with other options: {'data': (" in other.stderr
