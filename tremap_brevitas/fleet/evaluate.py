"""How well every chip of a fleet does, running only what must be run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from torch import nn

from tremap_brevitas.cluster.engine import Engine
from tremap_brevitas.cluster.jobs import run_jobs
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_same_memory
from tremap_brevitas.fleet.certify import Deployment, certificate
from tremap_brevitas.fleet.identity import network_digest
from tremap_brevitas.fleet.judge import Judge, measured
from tremap_brevitas.fleet.report import ChipResult, FleetReport
from tremap_brevitas.model import memory_image
from tremap_brevitas.placement import Placement


def evaluate_fleet(
    model: nn.Module,
    placement: Placement,
    chips: Iterable[FaultMap],
    accuracy: Callable[[nn.Module], float],
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
) -> FleetReport:
    """Find the accuracy of a network on every chip of a fleet, each with its own faults.

    What is deployed are the codes that the model computes with now: after merged retraining, those under the
    merged map; with no faults set, the healthy codes. A chip's certificate says which of them it reads differently; a chip
    that is bit-exact has the network's own accuracy, and is not run.

    Args:
        model: The model, with the faults set under which it was trained, or none.
        placement: Where its codes lie.
        chips: Every chip's own fault map.
        accuracy: Measures the model, which is in evaluation mode: takes it, returns a number, the larger the better.
        deployment: ``"group_image"``: one memory image for all chips. ``"chip_image"``: one a chip, in which every code is the
            nearest that the chip can hold.
        name: Heading of the report.
        steps: Optimizer steps that the preparation took; for the report.
        seconds: Seconds that the preparation took; for the report.
        progress: Whether to show a progress bar on standard error.
        engine: Where chips are run, such as a ``RayEngine``; None for this process. ``accuracy`` must be picklable then.
        make: For an engine of other processes: makes a network of the same layers there, such as
            ``lambda: tm.make_faulty(Net())``. A Brevitas model cannot be pickled; its state is sent instead.
        folder: Run folder that keeps the accuracy of every chip that was run; a run that was stopped goes on from it. It knows
            the network by all its parameters and buffers, its layers and its nominal accuracy.
        evaluation: What ``accuracy`` measures, in words or as a digest: test images and labels, how many, how they are
            prepared. Needed with ``folder``, since none of that can be seen from here: figures are taken from the folder only
            if it says the same.

    Raises:
        ValueError: If there is no chip, maps, placement and model do not match, an engine is given without ``make``, a folder
            without ``evaluation``, or the folder holds the run of another network, deployment or evaluation.
    """
    if folder is not None and not evaluation:
        raise ValueError(
            f"a run folder ({folder}) keeps figures for later runs: give evaluation, which says on what they are measured, "
            f"such as the name or digest of the test set"
        )
    if engine is not None and make is None:
        raise ValueError("an engine runs chips in other processes: give make, which builds the network there")
    chips = list(chips)
    check_same_memory(chips)
    image = memory_image(model, placement)
    begin = time.perf_counter()
    certificates = [certificate(image, chip, deployment=deployment) for chip in chips]
    nominal = measured(model, placement, image.codes, accuracy)
    to_run = {
        f"{index}: {chip.chip} {chip.digest[:16]}": found.differences
        for index, (chip, found) in enumerate(zip(chips, certificates, strict=True))
        if not found.bit_exact
    }
    accuracies = iter(
        run_jobs(
            Judge(model, image, accuracy, make=make),
            to_run,
            engine=engine,
            folder=folder,
            options={
                "network": network_digest(model),
                "image": image.digest,
                "deployment": deployment,
                "nominal": nominal,
                "evaluation": evaluation,
            },
            progress=(name or "chips") if progress else None,
        ).values()
    )
    results = [
        ChipResult(
            chip=found.chip,
            accuracy=nominal if found.bit_exact else next(accuracies),
            bit_exact=found.bit_exact,
            weights_that_differ=found.weights_that_differ,
            worst_error=found.worst_error,
        )
        for found in certificates
    ]
    return FleetReport(
        name=name,
        nominal=nominal,
        chips=tuple(results),
        steps=steps,
        seconds=seconds,
        evaluation_seconds=time.perf_counter() - begin,
    )
