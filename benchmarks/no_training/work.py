"""One case on a worker: make the maps, prepare the network, measure it with the faults set."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

import tremap_brevitas as tm
from benchmarks.no_training.cases import EVALUATED, Case
from benchmarks.no_training.preparations import PREPARATIONS
from benchmarks.study.job import placed
from benchmarks.study.maps import fault_maps
from benchmarks.study.rows import Row
from benchmarks.study.workbench import content_digest, data_files, has_bfloat16
from benchmarks.study.worker import Baseline, Setup, workbench_of


def set_up(options: argparse.Namespace, steps: Mapping[str, int]) -> tuple[Setup, Baseline, dict[str, Any]]:
    """The study's setup and the work of a baseline, on one thread; and what makes one run folder differ from another."""
    torch.set_num_threads(1)
    bfloat16 = has_bfloat16()
    setup = Setup(options.data.resolve(), options.weights.resolve(), options.out.resolve(), options.test_images, bfloat16)
    measured = {
        "test_images": options.test_images,
        "data": content_digest(*data_files(options.data)),
        "arithmetic": "bfloat16" if bfloat16 else "float32",
    }
    return setup, Baseline(setup, dict(steps)), measured


@dataclass(frozen=True)
class Work:
    """Work of a job that runs a case.

    Args:
        setup: What a worker must know.
    """

    setup: Setup

    def __call__(self, case: Case) -> dict[str, Any]:
        """Run it; returns the accuracy of the healthy network, of the prepared one under its map, and of a group's chips."""
        torch.manual_seed(case.seed)
        clean = _clean(self.setup, case.network)
        bench = workbench_of(self.setup, case.network)
        bench.reset()
        row = Row(network=case.network, chips=case.chips, rate=case.rate, seed=case.seed)
        net = placed(row, bench)
        chips = fault_maps(row, net.placement.memory, max(case.chips, 5), seed=case.seed)  # a chip is the same in any group
        fault_map = tm.merge(chips[: case.chips], on_conflict="free") if case.chip is None else chips[case.chip]
        begin = time.perf_counter()
        PREPARATIONS[case.preparation](bench, net, fault_map, case)
        seconds = time.perf_counter() - begin
        net.set_faults_(fault_map)
        result: dict[str, Any] = {"clean": clean, "prepared": bench.accuracy(bench.model.eval()), "seconds": seconds}
        if case.chip is None:
            for deployment in ("group_image", "chip_image"):
                report = net.evaluate(
                    chips[: min(case.chips, EVALUATED)], bench.accuracy, deployment=deployment, progress=False
                )
                result[deployment] = list(report.accuracies)
        return result


@cache
def _clean(setup: Setup, network: str) -> float:
    """Accuracy of the healthy network."""
    bench = workbench_of(setup, network)
    bench.reset()
    return bench.accuracy(bench.model.eval())
