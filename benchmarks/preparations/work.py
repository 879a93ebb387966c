"""One case on a worker: make the maps, prepare the network, measure it with the faults set."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch

import tremap_brevitas as tm
from benchmarks.preparations.cases import AS_THEY_LIE, EVALUATED, NEAREST, ORDER, Case
from benchmarks.preparations.elsewhere import DIGITS
from benchmarks.preparations.maps import chips_of, memory_of
from benchmarks.preparations.methods import METHODS
from benchmarks.study.job import placed
from benchmarks.study.rows import Row
from benchmarks.study.workbench import content_digest, data_files, has_bfloat16
from benchmarks.study.worker import Baseline, Setup, workbench_of

EXACT_IF_READ = (AS_THEY_LIE, NEAREST, ORDER)  # these change no code: what is read right is the healthy network


def set_up(
    options: argparse.Namespace, steps: Mapping[str, int], *, device: str = "cpu"
) -> tuple[Setup, Baseline, dict[str, Any]]:
    """The study's setup and the work of a baseline, on one thread; and what makes one run folder differ from another."""
    torch.set_num_threads(1)
    bfloat16 = device == "cpu" and has_bfloat16()
    data, weights, out = (folder.resolve() for folder in (options.data, options.weights, options.out))
    setup = Setup(data, weights, out, options.test_images, bfloat16, device)
    measured = {
        "test_images": options.test_images,
        "data": content_digest(*data_files(options.data)),
        "arithmetic": "bfloat16" if bfloat16 else "float32",
    }
    if device != "cpu":
        measured["device"] = device
    return setup, Baseline(setup, dict(steps)), measured


@dataclass(frozen=True)
class Work:
    """Work of a job that runs a case.

    Args:
        setup: What a worker must know; None for the small networks, which need neither data nor weights.
        measured: Read-backs of a board, for cases of its maps.
    """

    setup: Setup | None
    measured: tuple[Path, ...] = ()

    def __call__(self, case: Case) -> dict[str, Any]:
        """Run it; returns the accuracy of the healthy network, of the prepared one under its map, and of a group's chips."""
        torch.manual_seed(case.seed)
        clean = _clean(self.setup, case.network, case.seed if case.network in DIGITS else None)
        bench = _bench(self.setup, case.network, case.seed)
        bench.reset()
        store: Any = "plain" if case.preparation == AS_THEY_LIE else "nearest"
        row = Row(network=case.network, chips=case.chips, rate=case.rate, seed=case.seed, store=store)
        memory = memory_of(case)
        net = placed(row, bench) if memory is None else tm.place(bench.model, memory, rule=tm.Rule(store))
        # A chip is the same in any group.
        chips = chips_of(case, net.placement.memory, max(case.chips, 5), measured=self.measured)
        fault_map = tm.merge(chips[: case.chips], on_conflict="free") if case.chip is None else chips[case.chip]
        result: dict[str, Any] = {"clean": clean, "stuck": _stuck(fault_map)}
        if case.chip is not None and net.certificate(fault_map).bit_exact:
            return {**result, "prepared": clean, "wrong": 0, "seconds": 0.0, "core_seconds": 0.0}
        begin, core = time.perf_counter(), time.process_time()
        METHODS[case.preparation](bench, net, fault_map, case)
        result.update(seconds=time.perf_counter() - begin, core_seconds=time.process_time() - core)
        if case.chip is None:
            net.set_faults_(fault_map)  # after ReadByMembers a member's reading is set
            report = net.evaluate(chips[: min(case.chips, EVALUATED)], bench.accuracy, progress=False)
            return {**result, "prepared": report.nominal, "group_image": list(report.accuracies)}
        net.set_faults_(fault_map)
        wrong = sum(int((c.read_back != c.wanted).sum()) for c in (net.codes(layer.name) for layer in net.placement.layers))
        return {**result, "prepared": bench.accuracy(bench.model.eval()) if _runs(case, wrong) else clean, "wrong": wrong}


def _runs(case: Case, wrong: int) -> bool:
    """Whether the network must be run: one whose codes are those of the healthy network has its accuracy."""
    return wrong > 0 or case.preparation not in EXACT_IF_READ


def _stuck(fault_map: tm.FaultMap) -> float:
    """Share of the cells that are stuck, or of a group's, stuck on any member."""
    return fault_map.union_rate if isinstance(fault_map, tm.MergedFaultMap) else fault_map.fault_rate


def _bench(setup: Setup | None, network: str, seed: int) -> Any:
    """The network of a case: a ResNet, or a small one of this seed."""
    if network in DIGITS:
        from benchmarks.preparations.networks import digits_bench

        return digits_bench(network, seed)
    return workbench_of(cast(Setup, setup), network)


@cache
def _clean(setup: Setup | None, network: str, seed: int | None) -> float:
    """Accuracy of the healthy network; a ResNet is the same for every seed."""
    bench = _bench(setup, network, seed or 0)
    bench.reset()
    accuracy: float = bench.accuracy(bench.model.eval())
    return accuracy
