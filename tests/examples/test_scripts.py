"""The example scripts run; what was finished before a kill is not lost."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from examples.test_cifar10 import write_data_set

EXAMPLES = Path(__file__).parents[2] / "examples"


def command(script, *arguments):
    return [sys.executable, str(EXAMPLES / script), *map(str, arguments)]


def run(script, *arguments):
    done = subprocess.run(command(script, *arguments), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(path):
    with path.open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_the_main_job(tmp_path):
    out = run("01_digits_fleet.py", "--chips", 3, "--steps", 60, "--out", tmp_path)
    methods = list(dict.fromkeys(r["method"] for r in rows(tmp_path / "fleet.csv")))
    assert methods[:2] == ["untreated", "nearest codes, no training"]
    assert len(methods) == 9
    mean = {m: [float(r["accuracy"]) for r in rows(tmp_path / "fleet.csv") if r["method"] == m] for m in methods}
    mean = {m: sum(v) / len(v) for m, v in mean.items()}
    assert mean["untreated"] < 0.93
    assert mean["merged, ramp, nearest"] > 0.94
    assert mean["merged, ramp, nearest"] > mean["untreated"] + 0.05
    assert "points in 60/180 = 1/3 of its steps: merged, ramp, nearest" in out
    assert "group.qcdq.onnx: holds the network (4 layers exact" in out
    assert (tmp_path / "weights.mem").read_text(encoding="ascii").startswith("// words as written")
    assert (tmp_path / "fleet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_run_on_cifar10_that_is_killed_goes_on_and_ends_in_the_same_table(tmp_path):
    data = write_data_set(tmp_path / "data", records=60)
    options = ["--data", data, "--depth", 8, "--qat-steps", 4, "--steps", 12, "--chips", 2, "--batch", 20]
    options += ["--checkpoint-every", 2, "--fault-rate", 0.02]
    run("02_cifar10_resnet.py", *options, "--out", tmp_path / "whole")
    killed = 0
    for milestone in ("checkpoint-merged-ramp-nearest.pt", "report-merged-ramp-nearest.json", "checkpoint-per-chip-chip-0.pt"):
        process = subprocess.Popen(
            command("02_cifar10_resnet.py", *options, "--out", tmp_path / "killed"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not (tmp_path / "killed" / milestone).exists():
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 2
    out = run("02_cifar10_resnet.py", *options, "--out", tmp_path / "killed")
    assert "   untreated …" not in out  # finished before, and not done again
    assert rows(tmp_path / "killed" / "fleet.csv") == rows(tmp_path / "whole" / "fleet.csv")
    assert list((tmp_path / "killed").glob("checkpoint*")) == []
    other = subprocess.run(
        command("02_cifar10_resnet.py", *options, "--out", tmp_path / "killed", "--seed", 9), capture_output=True, text=True
    )
    assert other.returncode != 0
    assert "holds a run with other options: {'seed': ('0', '9')}" in other.stderr
