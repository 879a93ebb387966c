"""One row of the study: make the maps, prepare the network, evaluate it on every chip with the chip's own faults."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import tremap_brevitas as tm
from benchmarks.study.maps import BANKS, fault_maps, unseen_maps
from benchmarks.study.methods import BATCHNORM, CHIP, METHODS, Task
from benchmarks.study.rows import Row
from benchmarks.study.workbench import WORD_BITS, Workbench
from tremap_brevitas.placement.certificate import Deployment

MAX_MEMBERS = 8  # of a larger group, the first chips are evaluated


def run(row: Row, bench: Workbench) -> dict[str, Any]:
    """Run one row; returns what is kept of it, as JSON can hold it."""
    method = METHODS[row.method]
    bench.reset()
    net = placed(row, bench)
    members = fault_maps(row, net.placement.memory, row.chips, seed=row.seed)
    merged = tm.merge(members, on_conflict=row.on_conflict)
    fault_map = members[row.chip] if method.scope == "one chip" else merged
    task = Task(row, bench, net, fault_map, tuple(members))
    before = net.certificate(fault_map, deployment=CHIP)
    seconds = method.prepare(task)
    if method.scope in ("one chip", "group"):
        net.set_faults_(fault_map)
    else:
        net.clear_faults_()
    result: dict[str, Any] = {
        "faults": len(fault_map),
        "union_rate": fault_map.fault_rate if method.scope == "one chip" else merged.union_rate,
        "conflicts": len(merged.conflicts),
        "rms_before": before.rms_error,
        "relative_before": before.relative_error,
        "seconds": seconds,
        "chips": [],
    }
    begin = time.perf_counter()
    own = [fault_map] if method.scope == "one chip" else members[:MAX_MEMBERS]
    if row.recalibrated and method.scope != "network":
        tm.reestimate_batchnorm_(net.model, bench.some_batches(row.seed))
    if row.method == BATCHNORM or (row.recalibrated and method.scope == "network"):
        result["nominal"], result["chips"] = evaluate_with_batchnorm(task, own)
    else:
        for chips, deployments in ((own, method.deployments(row.store)), (unseen_maps(row, net.placement.memory), (CHIP,))):
            for deployment in deployments if chips else ():
                result["nominal"], results = evaluate(task, chips, deployment, member=chips is own)
                result["chips"] += results
    result["evaluation_seconds"] = time.perf_counter() - begin
    return result


def placed(row: Row, bench: Workbench) -> tm.PlacedModel:
    """The network in a memory that just holds it, or a part of it."""
    words = -(-bench.net.placement.words // (BANKS * row.reuse)) * BANKS
    memory = tm.Memory(words=words, word_bits=WORD_BITS, banks=BANKS)
    return tm.place(bench.model, memory, reuse=row.reuse > 1, rule=tm.Rule(row.store))


def evaluate(
    task: Task, chips: Sequence[tm.FaultMap], deployment: Deployment, *, member: bool
) -> tuple[float, list[dict[str, Any]]]:
    """Accuracy of the network itself, and the results on every chip."""
    report = task.net.evaluate(chips, task.bench.accuracy, deployment=deployment, progress=False)
    image = task.net.memory_image()
    results = []
    for result, chip in zip(report.chips, chips, strict=True):
        errors = tm.placement.certificate(image, chip, deployment=deployment)
        values = {"deployment": deployment, "member": member, "rms": errors.rms_error, "relative": errors.relative_error}
        results.append({**result.row(), **values})
    return report.nominal, results


def evaluate_with_batchnorm(task: Task, chips: Sequence[tm.FaultMap]) -> tuple[float, list[dict[str, Any]]]:
    """Accuracy of the network itself, and the results on every chip, with its own image and BatchNorm statistics."""
    nominal = task.bench.accuracy(task.net.model.eval())  # not by given codes: the published rows have it so
    batches = task.bench.some_batches(task.row.seed)
    report = task.net.evaluate(chips, task.bench.accuracy, deployment=CHIP, batchnorm=batches, progress=False)
    return nominal, [
        {"chip": result.chip, "accuracy": result.accuracy, "deployment": CHIP, "member": True} for result in report.chips
    ]
