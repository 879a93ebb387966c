"""How well every chip of a fleet does, running only what must be run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from torch import nn
from tqdm import tqdm

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_same_memory
from tremap_brevitas.fleet.certify import Deployment, certificate
from tremap_brevitas.fleet.report import ChipResult, FleetReport
from tremap_brevitas.model import memory_image, using_codes
from tremap_brevitas.model.modes import evaluation_mode
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

    Raises:
        ValueError: If there is no chip, or maps, placement and model do not match.
    """
    chips = list(chips)
    check_same_memory(chips)
    image = memory_image(model, placement)
    begin = time.perf_counter()
    certificates = [certificate(image, chip, deployment=deployment) for chip in chips]
    results = []
    with evaluation_mode(model):
        with using_codes(model, placement, image.codes):  # as every chip is run below
            nominal = float(accuracy(model))
        for found in tqdm(certificates, desc=name or "chips", unit="chip", disable=not progress, leave=False):
            measured = nominal
            if not found.bit_exact:
                with using_codes(model, placement, found.read()):
                    measured = float(accuracy(model))
            results.append(
                ChipResult(
                    chip=found.chip,
                    accuracy=measured,
                    bit_exact=found.bit_exact,
                    weights_that_differ=found.weights_that_differ,
                    worst_error=found.worst_error,
                )
            )
    return FleetReport(
        name=name,
        nominal=nominal,
        chips=tuple(results),
        steps=steps,
        seconds=seconds,
        evaluation_seconds=time.perf_counter() - begin,
    )
