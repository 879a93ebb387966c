"""Measure what a bundle costs: writing it, and certifying chips against it, for a network of ResNet-18's size.

    python -m benchmarks.bundle

Prints Markdown tables. Brevitas' own two exports of the same model are the yardstick.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import brevitas.export as bex
import brevitas.nn as qnn
import torch
from networks import FullRangeWeight
from torch import nn

import tremap_brevitas as tm
from benchmarks.measure import interleaved, machine


def network() -> nn.Module:
    """Return the layers of ResNet-18, 11.7 million weights, one after the other; inputs are 16×16 pixels to be quick."""
    widths = [(3, 64, 7), *[(64, 64, 3)] * 4, (64, 128, 3), *[(128, 128, 3)] * 3, (128, 256, 3), *[(256, 256, 3)] * 3]
    widths += [(256, 512, 3), *[(512, 512, 3)] * 3, (64, 128, 1), (128, 256, 1), (256, 512, 1)]
    body: list[nn.Module] = []
    for inputs, outputs, kernel in widths[:-3]:
        stride = 2 if outputs != inputs else 1
        body += [
            qnn.QuantConv2d(
                inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False, weight_quant=FullRangeWeight
            ),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    for inputs, outputs, _ in reversed(widths[-3:]):  # the shortcuts' weights, as a chain of their own
        body.append(qnn.QuantConv2d(outputs, inputs, 1, bias=False, weight_quant=FullRangeWeight))
    head = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        qnn.QuantLinear(64, 512, bias=False, weight_quant=FullRangeWeight),
        qnn.QuantLinear(512, 1000, bias=True, weight_quant=FullRangeWeight),
    ]
    return nn.Sequential(*body, *head)


def timed(action: Callable[[], object]) -> float:
    """Return the milliseconds that a call takes."""
    begin = time.perf_counter()
    action()
    return 1e3 * (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times that each way is measured (default %(default)s)")
    parser.add_argument("--chips", type=int, default=100, help="chips to certify (default %(default)s)")
    options = parser.parse_args()
    torch.manual_seed(0)
    x = torch.randn(1, 3, 16, 16)
    memory = tm.Memory(words=3_000_000, word_bits=32)
    net = tm.place(tm.make_faulty(network()).eval(), memory)
    chips = tm.random_fault_maps(memory, chips=5, fault_rate=6e-3, seed=0)
    net.set_faults_(tm.merge(chips, on_conflict="majority"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ways: dict[str, Callable[[], object]] = {
            "Brevitas' QONNX and QCDQ": lambda: (
                bex.export_qonnx(net.model, args=x, export_path=str(root / "a.onnx"), dynamo=True),
                bex.export_onnx_qcdq(net.model, args=x, export_path=str(root / "b.onnx"), dynamo=True, opset_version=18),
            ),
            "export": lambda: net.export(root / "bundle", x, overwrite=True),
        }
        taken = interleaved(ways, options.rounds, warm_up=1)
        taken["load and check a bundle"] = [timed(lambda: tm.Bundle.load(root / "bundle")) for _ in range(options.rounds)]
        bundle = tm.Bundle.load(root / "bundle")
    print(f"Output of `python -m benchmarks.bundle` ({machine()}), medians of {options.rounds}:\n")
    print(f"| {net.placement.weights / 1e6:.1f} million weights, 5 chips at 6e-3 | seconds | times the first |")
    print("| --- | --- | --- |")
    first = statistics.median(next(iter(taken.values())))
    for name, spent in taken.items():
        median = statistics.median(spent)
        print(f"| {name} | {median / 1e3:.2f} | {median / first:.2f} |")
    fleets = {
        "6e-3, members of the group": chips,
        "6e-3, never seen": tm.random_fault_maps(memory, chips=options.chips, fault_rate=6e-3, seed=1),
        "1e-5, never seen": tm.random_fault_maps(memory, chips=options.chips, fault_rate=1e-5, seed=2),
    }
    print("\n| certifying one chip against it | median ms | most ms | stuck cells | bit-exact |")
    print("| --- | --- | --- | --- | --- |")
    for name, fleet in fleets.items():
        exact = sum(bundle.certificate(chip).bit_exact for chip in fleet)
        spent = [timed(partial(tm.verify_bundle, bundle, [chip])) for chip in fleet]
        print(f"| {name} | {statistics.median(spent):.1f} | {max(spent):.1f} | {len(fleet[0])} | {exact} of {len(fleet)} |")


if __name__ == "__main__":
    main()
