"""Measure where the time goes: in the quick start, in a training step of ResNet-20, and in the rows of a study.

python -m benchmarks.where_time_goes
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import csv
import io
import pstats
import runpy
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from networks import ResNet
from torch import nn
from torch.profiler import ProfilerActivity, profile

import tremap_brevitas as tm
from benchmarks.measure import machine

ROOT = Path(__file__).parents[1]
BATCH = 128
STEPS = 10
# File and name of a function, and what the table calls it; an indented one is a part of another.
QUICK_START = [
    ("networks.py", "forward", "forward passes, training and evaluation"),
    ("weight_proxy.py", "forward", "— of it weight quantizers, faults included"),
    ("_tensor.py", "backward", "backward passes"),
    ("optimizer.py", "wrapper", "optimizer"),
    ("faults.py", "locate_stuck_bits", "setting faults: locating cells"),
    ("faults.py", "faults_by_layer", "setting faults: masks and patterns, ramps included"),
    ("image_reads.py", "faults_of", "setting faults: what another member reads"),
    ("certificate.py", "certificate", "certificates"),
    ("bundle.py", "export_bundle", "export of the bundle"),
    ("manager.py", "export", "— of it Brevitas' and torch's ONNX exporters"),
    ("verify.py", "verify_bundle", "check of the bundle"),
    ("pictures.py", "plot_reports", "picture, matplotlib's import included"),
]
# Operators of a step, by what they belong to; the others are quantizers, gradients' sums, views.
OPERATORS = {
    "convolutions": ("aten::mkldnn_convolution", "aten::convolution_backward"),
    "batch normalization": ("aten::native_batch_norm", "aten::native_batch_norm_backward"),
    "stuck bits (nearest codes from the table)": ("aten::index_select", "aten::nan_to_num"),
}


def quick_start() -> None:
    """Profile examples/01_digits_fleet.py as it stands."""
    profiler = cProfile.Profile()
    before = sys.argv
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        sys.argv = ["01_digits_fleet.py", "--out", folder]
        with profiler:
            runpy.run_path(str(ROOT / "examples" / "01_digits_fleet.py"), run_name="__main__")
    sys.argv = before
    stats: Any = pstats.Stats(profiler)
    print(f"| quick start, {stats.total_tt:.1f} s under the profiler | calls | seconds | share |\n| --- | --- | --- | --- |")
    for file, name, what in QUICK_START:
        # Where several functions have the name, the outermost has the most time.
        mine = [entry for (path, _, function), entry in stats.stats.items() if (Path(path).name, function) == (file, name)]
        if mine:
            calls, seconds = max(((entry[1], entry[3]) for entry in mine), key=lambda pair: pair[1])
            print(f"| {what} | {calls} | {seconds:.2f} | {100 * seconds / stats.total_tt:.0f} % |")
    print(flush=True)


def training_step() -> None:
    """Print the operators of a training step with faults."""
    torch.manual_seed(0)
    model: Any = tm.make_faulty(ResNet(20))
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
    model(images)
    model.load_state_dict(model.state_dict())
    memory = tm.Memory(words=67_200, word_bits=32)
    (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=6e-3, seed=0)
    tm.place(model, memory).set_faults_(chip)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> None:
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            step()
    own = Counter({event.key: event.self_cpu_time_total / 1e3 / STEPS for event in profiled.key_averages()})
    total = sum(own.values())
    print(f"| ResNet-20, training step with faults, {total:.0f} ms | ms | share |\n| --- | --- | --- |")
    named = 0.0
    for what, operators in OPERATORS.items():
        ms = sum(own[operator] for operator in operators)
        named += ms
        print(f"| {what} | {ms:.1f} | {100 * ms / total:.1f} % |")
    print(f"| all others: quantizers, ReLU, sums, copies | {total - named:.1f} | {100 * (1 - named / total):.1f} % |")
    largest = ", ".join(f"{key} {ms:.0f}" for key, ms in own.most_common(8))
    print(f"\nThe largest operators, ms: {largest}.\n", flush=True)


def study(table: Path) -> None:
    """Print the time that all rows of the study took, from its table."""
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    spent = {part: sum(float(row[part]) for row in rows) for part in ("seconds", "evaluation_seconds")}
    total = sum(spent.values())
    print(f"| study, {len(rows)} rows | hours of one core | share |\n| --- | --- | --- |")
    for part, what in (("seconds", "training"), ("evaluation_seconds", "evaluation on the chips, certificates included")):
        print(f"| {what} | {spent[part] / 3600:.1f} | {100 * spent[part] / total:.0f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    print(f"{machine()}\n")
    quick_start()
    training_step()
    study(ROOT / "docs" / "study_runs.csv")


if __name__ == "__main__":
    main()
