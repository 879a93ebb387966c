"""Accuracy of every chip of a fleet, without running the network more often than needed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import nn
from tqdm import tqdm

from tremap_brevitas.cluster.engine import Engine
from tremap_brevitas.cluster.jobs import run_jobs
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_same_memory
from tremap_brevitas.placed.evaluator import Evaluate, Evaluator, measure_with_codes
from tremap_brevitas.placed.identity import network_digest
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.placement.certificate import Deployment, certificate
from tremap_brevitas.report.fleet_report import FleetReport

EXACT = "bit-exact chips"  # the one job that serves all of them


def evaluate_fleet(
    net: PlacedState,
    chips: Iterable[FaultMap],
    evaluate: Evaluate,
    *,
    deployment: Deployment = "group_image",
    name: str = "",
    steps: int = 0,
    seconds: float = 0.0,
    progress: bool = True,
    engine: Engine | None = None,
    make: Callable[[], nn.Module] | None = None,
    folder: str | os.PathLike[str] | None = None,
    evaluation: str | None = None,
    batchnorm: Iterable[Any] | None = None,
) -> FleetReport:
    """Measure the accuracy of a network on every chip of a fleet; see ``PlacedModel.evaluate``."""
    if folder is not None and not evaluation:
        raise ValueError(
            f"a run folder ({folder}) keeps figures for later runs: give evaluation, a name for what they are measured on, "
            f"such as the name or digest of the test set"
        )
    if engine is not None and make is None:
        raise ValueError("an engine runs chips in other processes: give make, which builds the network there")
    chips = list(chips)
    check_same_memory(chips)
    image = net.memory_image()
    on_chip = None
    if batchnorm is not None:
        from tremap_brevitas.prepare.batchnorm import BatchNormOnChip

        on_chip = BatchNormOnChip(net.model, batchnorm)
    begin = time.perf_counter()
    fleet = tqdm(chips, desc="certificates", unit="chip", leave=False, disable=not progress)
    certificates = [certificate(image, fault_map, deployment=deployment) for fault_map in fleet]
    nominal = measure_with_codes(net, image.codes, evaluate)
    to_run = {
        f"{index}: {fault_map.chip} {fault_map.digest[:16]}": proof.differences
        for index, (fault_map, proof) in enumerate(zip(chips, certificates, strict=True))
        if not proof.bit_exact
    }
    if on_chip is not None and any(proof.bit_exact for proof in certificates):
        to_run[EXACT] = ()  # one figure for all of them: they read the same codes
    measurements = run_jobs(
        Evaluator(net, image, evaluate, make=make, on_chip=on_chip),
        to_run,
        engine=engine,
        folder=folder,
        options={
            "network": network_digest(net.model),
            "image": image.digest,
            "deployment": deployment,
            "nominal": nominal,
            "evaluation": evaluation,
            "batchnorm": None if on_chip is None else on_chip.digest,
        },
        progress=(name or "chips") if progress else None,
    )
    exact = measurements.pop(EXACT, nominal)
    accuracies = iter(measurements.values())
    results = [replace(proof.result, accuracy=exact if proof.bit_exact else next(accuracies)) for proof in certificates]
    return FleetReport(
        name=name,
        nominal=nominal,
        chips=tuple(results),
        steps=steps,
        seconds=seconds,
        evaluation_seconds=time.perf_counter() - begin,
        batchnorm=on_chip is not None,
    )
