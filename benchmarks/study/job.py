"""One row of the study: make the maps, prepare the network, judge it on every chip with the chip's own faults."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from rows import Row
from workbench import BATCH, WORD_BITS, Workbench, augment

import tremap_brevitas as tm
from tremap_brevitas.faults.random.structured import banked_fault_maps
from tremap_brevitas.placement.certificate import Deployment
from tremap_brevitas.prepare import OnRecovery

JUDGED = 8  # of a larger group, the first chips are judged
BANKS = 64  # of the memory; about the size of a block RAM each
BN_BATCHES = 20
FROM_MASTER = ("clean", "random", "random, clean too", "member")  # what is written follows from the float weights and the chip


def run(row: Row, bench: Workbench) -> dict[str, Any]:
    """Run one row; returns what is kept of it, as JSON can hold it."""
    bench.reset()
    net = placed(row, bench)
    chips = maps(row, net.placement.memory, row.chips, seed=row.seed)
    merged = tm.merge(chips, on_conflict=row.on_conflict)
    trained_under = chips[row.chip] if row.method == "per chip" else merged
    before = net.certificate(trained_under, deployment="chip_image")
    strategy = strategy_of(row, net, trained_under, merged)
    seconds = 0.0
    if row.steps and strategy is not None:
        seconds = bench.train(steps=row.steps, lr=row.lr, seed=row.seed, strategy=strategy, title=row.name, teacher=row.teacher)
    if row.method in ("none", "batchnorm", *FROM_MASTER):
        net.clear_faults_()
    else:
        net.set_faults_(trained_under)
    kept: dict[str, Any] = {
        "faults": len(trained_under),
        "union_rate": merged.union_rate if row.method != "per chip" else trained_under.fault_rate,
        "conflicts": len(merged.conflicts),
        "rms_before": before.rms_error,
        "relative_before": before.relative_error,
        "seconds": seconds,
        "chips": [],
    }
    begin = time.perf_counter()
    own = [trained_under] if row.method == "per chip" else chips[:JUDGED]
    if row.recalibrated and row.method not in FROM_MASTER:
        tm.reestimate_batchnorm_(net.model, some_batches(row, bench))
    if row.method == "batchnorm" or (row.recalibrated and row.method in FROM_MASTER):
        kept["nominal"], kept["chips"] = with_batchnorm(row, bench, net, own)
    else:
        for group, deployments in ((own, deployments_of(row)), (unseen(row, net.placement.memory), ("chip_image",))):
            for deployment in deployments if group else ():
                kept["nominal"] = judge(bench, net, group, deployment, kept["chips"], member=group is own)
    kept["evaluation_seconds"] = time.perf_counter() - begin
    return kept


def placed(row: Row, bench: Workbench) -> tm.PlacedModel:
    """The network in a memory that just holds it, or a part of it."""
    words = -(-bench.net.placement.words // (BANKS * row.reuse)) * BANKS
    memory = tm.Memory(words=words, word_bits=WORD_BITS, banks=BANKS)
    return tm.place(bench.model, memory, reuse=row.reuse > 1, rule=tm.Rule(row.store))


def maps(row: Row, memory: tm.Memory, chips: int, *, seed: int) -> list[tm.FaultMap]:
    """The group's fault maps. Clustered: banks differ by as much as they hold, half the faults lie in few columns."""
    if row.pattern == "uniform":
        return tm.random_fault_maps(memory, chips=chips, fault_rate=row.rate, seed=seed)
    mean = row.rate * memory.cells / memory.banks
    return banked_fault_maps(
        memory, chips=chips, fault_rate=row.rate, dispersion=1 + mean, column_share=0.5, column_faults=20, seed=seed
    )


def unseen(row: Row, memory: tm.Memory) -> list[tm.FaultMap]:
    """Chips that took no part in anything."""
    return maps(row, memory, row.unseen, seed=1000 + row.seed) if row.unseen else []


def strategy_of(row: Row, net: tm.PlacedModel, fault_map: tm.FaultMap, merged: tm.MergedFaultMap) -> tm.Strategy | None:
    """Which faults are live at which step."""
    if row.method in ("per chip", "merged"):
        if row.entry == "all at once":
            return tm.AllAtOnce(net, fault_map)
        options: dict[str, Any] = {"seed": row.seed}
        if row.entry == "on recovery":
            options["schedule"] = OnRecovery(stages=5, window=row.steps // 20, patience=row.steps // 10)
        else:
            options["over_steps"] = row.steps // 2
            options["order"] = {"by chip": "by_chip", "lsb first": "lsb_first"}.get(row.entry, "random")
        return tm.Ramp(net, fault_map, **options)
    if row.method == "clean":
        healthy = tm.FaultMap(net.placement.memory, [], [], chip="healthy")  # type: ignore[arg-type]
        return tm.AllAtOnce(net, healthy)
    if row.method == "read by members":
        return tm.ReadByMembers(net, merged, seed=row.seed)
    if row.method == "member":
        return tm.RandomMember(net, merged.members, seed=row.seed)
    if row.method.startswith("random") or row.method == "merged + random":

        def draw(seed: int) -> tm.FaultMap:
            return maps(row, net.placement.memory, 1, seed=seed)[0]

        known = fault_map if row.method == "merged + random" else None
        drawn = tm.RandomMaps(net, draw, seed=row.seed, known=known)
        return tm.CleanAndFaulty(drawn) if row.method == "random, clean too" else drawn
    return None


def deployments_of(row: Row) -> tuple[Deployment, ...]:
    """How the result is written to the group's chips."""
    if row.method == "per chip":
        return ("group_image",)
    if row.method in ("none", *FROM_MASTER):
        return ("chip_image",) if row.store == "nearest" else ("group_image",)
    return ("group_image", "chip_image")


def judge(
    bench: Workbench,
    net: tm.PlacedModel,
    chips: list[tm.FaultMap],
    deployment: Deployment,
    results: list[dict[str, Any]],
    *,
    member: bool,
) -> float:
    """Measure the network on every chip; add the results, return the network's own accuracy."""
    report = net.evaluate(chips, bench.accuracy, deployment=deployment, progress=False)
    image = net.memory_image()
    for result, chip in zip(report.chips, chips, strict=True):
        found = tm.certificate(image, chip, deployment=deployment)
        errors = {"rms": found.rms_error, "relative": found.relative_error}
        results.append({**asdict(result), "deployment": deployment, "member": member, **errors})
    return report.nominal


def some_batches(row: Row, bench: Workbench) -> Iterator[Any]:
    """Training images for BatchNorm."""
    batches = bench.data.batches(BATCH, seed=row.seed, augment=augment)
    return (batches(n) for n in range(BN_BATCHES))


def with_batchnorm(
    row: Row, bench: Workbench, net: tm.PlacedModel, chips: list[tm.FaultMap]
) -> tuple[float, list[dict[str, Any]]]:
    """Every chip with nearest codes and BatchNorm statistics of its own."""
    nominal = bench.accuracy(net.model.eval())
    trained = {key: value.clone() for key, value in net.model.state_dict().items()}
    results: list[dict[str, Any]] = []
    for chip in chips:
        bench.load(trained)
        net.set_faults_(chip)
        tm.reestimate_batchnorm_(net.model, some_batches(row, bench))
        with net.using_codes(net.memory_image().codes), torch.no_grad():
            accuracy = bench.accuracy(net.model.eval())
        results.append({"chip": chip.chip, "accuracy": accuracy, "deployment": "chip_image", "member": True})
    return nominal, results
