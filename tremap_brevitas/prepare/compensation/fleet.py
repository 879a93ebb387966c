"""Compensate every chip of a fleet from the same network, with one memory image for each chip."""

from __future__ import annotations

import base64
import copy
import io
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tremap_brevitas.cluster.engine import Engine
from tremap_brevitas.cluster.jobs import run_jobs
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_same_memory
from tremap_brevitas.placed.elsewhere import Elsewhere
from tremap_brevitas.placed.evaluator import Evaluate
from tremap_brevitas.placed.identity import network_digest
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.placement import MemoryImage, Placement
from tremap_brevitas.placement.certificate import certificate
from tremap_brevitas.prepare.compensation.compensate import compensate_
from tremap_brevitas.prepare.compensation.prepared import PreparedChip, PreparedFleet
from tremap_brevitas.prepare.compensation.report import CompensatedLayer, CompensationReport
from tremap_brevitas.prepare.compensation.shared import HealthyMoments
from tremap_brevitas.report.fleet_report import FleetReport

SAMPLES = 65_536  # has no effect here, since no layer is run


def prepare_fleet(
    net: PlacedModel,
    chips: Iterable[FaultMap],
    moments: HealthyMoments,
    *,
    factors: bool = True,
    signs: bool = True,
    sweeps: int = 2,
    evaluate: Evaluate | None = None,
    evaluation: str | None = None,
    name: str = "compensated, shared moments",
    engine: Engine | None = None,
    make: Callable[[], nn.Module] | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> PreparedFleet:
    """Compensate every chip of a fleet from the same network, which is left unchanged.

    Args:
        net: The placed healthy network.
        chips: Every chip's own fault map.
        moments: Result of ``net.moments``, shared by all chips.
        factors: As for ``compensate_``.
        signs: Likewise.
        sweeps: Likewise.
        evaluate: Function that takes the network, in evaluation mode, as each chip runs it, and returns its accuracy; None for
            no report.
        evaluation: Name or digest of the data that ``evaluate`` measures on; needed with ``folder`` and ``evaluate``.
        name: Heading of the report.
        engine: Where the chips are worked on, such as ``LocalCores(4)`` or a ``RayEngine``; None for this process.
        make: With an engine, builds a model of the same layers there, as for ``net.evaluate``; must be picklable, and so must
            ``evaluate``.
        folder: Run folder: an interrupted run resumes from it. None keeps nothing.
        progress: Whether to show a bar.

    Raises:
        JobError: If a chip fails; finished chips are in the folder.
        ValueError: If there is no chip, maps and placement do not match, an engine lacks ``make``, a folder lacks
            ``evaluation``, the moments are of another network, or the folder holds another run.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> net = tm.place(tm.make_faulty(QuantLinear(16, 8, bias=True)), tm.Memory(words=64, word_bits=32))
        >>> chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=0.05, seed=0)
        >>> moments = net.moments([torch.randn(256, 16)], progress=False)
        >>> fleet = prepare_fleet(net, chips, moments, progress=False)
        >>> all(chip.report.error < chip.report.nearest_error for chip in fleet.chips)
        True
        >>> fleet.apply_(net, 2)
        >>> net.fault_map is chips[2]
        True
    """
    chips = list(chips)
    check_same_memory(chips)
    if engine is not None and make is None:
        raise ValueError("an engine runs chips in other processes: give make, which builds the network there")
    if folder is not None and evaluate is not None and not evaluation:
        raise ValueError(
            f"a run folder ({folder}) keeps figures for later runs: give evaluation, a name for what they are measured on"
        )
    digest = network_digest(net.model)
    if digest != moments.network:
        raise ValueError(
            f"the moments belong to a network with digest {moments.network[:16]}, but this network has digest {digest[:16]}"
        )
    begin = time.perf_counter()
    nominal = None if evaluate is None else _accuracy(net, None, evaluate)
    evaluation_seconds = time.perf_counter() - begin
    options: dict[str, Any] = {"factors": factors, "signs": signs, "sweeps": sweeps}
    known = {**options, "network": digest, "placement": net.placement.digest, "rule": repr(net.rule_or_default(None))}
    known |= {"moments": moments.digest, "nominal": nominal, "evaluation": evaluation}
    results = run_jobs(
        _Work(net if make is None else Elsewhere(net, make), moments, options, evaluate),
        {f"{index}: {chip.chip} {chip.digest[:16]}": chip for index, chip in enumerate(chips)},
        engine=engine,
        folder=folder,
        options=known,
        progress=name if progress else None,
    )
    ready = tuple(_unpacked(chip, result) for chip, result in zip(chips, results.values(), strict=True))
    report = None
    if nominal is not None:
        report = FleetReport(
            name=name,
            nominal=nominal,
            chips=tuple(_result(net.placement, chip) for chip in ready),
            seconds=sum(chip.report.seconds for chip in ready),
            evaluation_seconds=evaluation_seconds + sum(result["evaluation_seconds"] for result in results.values()),
        )
    return PreparedFleet(ready, digest, report)


def _accuracy(net: PlacedState, fault_map: FaultMap | None, evaluate: Evaluate) -> float:
    with evaluation_mode(net.model), net.using(fault_map):
        return float(evaluate(net.model))


def _result(placement: Placement, chip: PreparedChip) -> Any:
    return replace(certificate(MemoryImage(placement, chip.codes), chip.fault_map).result, accuracy=chip.accuracy)


class _Work:
    """Compensates one chip. Can be pickled if its network is ``Elsewhere`` and ``evaluate`` can be pickled."""

    def __init__(
        self, net: PlacedState | Elsewhere, moments: HealthyMoments, options: Mapping[str, Any], evaluate: Evaluate | None
    ) -> None:
        self.net, self.moments, self.options, self.evaluate = net, moments, options, evaluate

    def __call__(self, chip: FaultMap) -> dict[str, Any]:
        healthy = self.net() if isinstance(self.net, Elsewhere) else self.net
        net = copy.deepcopy(healthy)
        before = healthy.model.state_dict()
        report = compensate_(
            net, None, chip, moments=self.moments, samples=SAMPLES, forward=None, progress=False, **self.options
        )
        differs = {k: v.cpu().numpy() for k, v in net.model.state_dict().items() if not torch.equal(v, before[k])}
        arrays = {f"state/{key}": value for key, value in differs.items()}
        arrays |= {f"codes/{key}": value for key, value in net.memory_image().codes.items()}
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)
        begin = time.perf_counter()
        accuracy = None if self.evaluate is None else _accuracy(net, chip, self.evaluate)
        # Part of the record, whose digest covers it: a chip is stored completely or not at all.
        return {
            "arrays": base64.b64encode(packed.getvalue()).decode(),
            "report": asdict(report),
            "accuracy": accuracy,
            "evaluation_seconds": time.perf_counter() - begin,
        }


def _unpacked(chip: FaultMap, result: Mapping[str, Any]) -> PreparedChip:
    with np.load(io.BytesIO(base64.b64decode(result["arrays"]))) as file:
        arrays = dict(file)
    codes, state = ({k.removeprefix(kind): v for k, v in arrays.items() if k.startswith(kind)} for kind in ("codes/", "state/"))
    report = dict(result["report"])
    layers = tuple(CompensatedLayer(**layer) for layer in report.pop("layers"))
    return PreparedChip(chip, codes, state, CompensationReport(layers, **report), result["accuracy"])
