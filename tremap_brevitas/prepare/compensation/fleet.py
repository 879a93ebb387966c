"""Every chip of a fleet compensated from the same network, an image a chip."""

from __future__ import annotations

import base64
import copy
import io
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.cluster.engine import Engine
from tremap_brevitas.cluster.jobs import run_jobs
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_same_memory
from tremap_brevitas.placed.identity import network_digest
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.prepare.compensation.report import CompensatedLayer, CompensationReport
from tremap_brevitas.prepare.compensation.shared import Moments


@dataclass(frozen=True, eq=False)
class PreparedChip:
    """One chip's network, as it differs from the healthy one.

    Attributes:
        chip: The chip's map.
        codes: Codes that the network computes with, by layer; read-only.
        state: Entries of the state dict that differ from the healthy network's: weights, BatchNorms, biases; read-only.
        report: What compensation did.
        accuracy: What ``evaluate`` gave; None without it.
    """

    chip: FaultMap
    codes: Mapping[str, NDArray[np.int32]]
    state: Mapping[str, NDArray[Any]]
    report: CompensationReport
    accuracy: float | None

    def __post_init__(self) -> None:
        for name in ("codes", "state"):
            arrays = {key: np.array(value) for key, value in getattr(self, name).items()}
            for array in arrays.values():
                array.flags.writeable = False
            object.__setattr__(self, name, MappingProxyType(arrays))

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedChip, (self.chip, dict(self.codes), dict(self.state), self.report, self.accuracy)


@dataclass(frozen=True, eq=False)
class PreparedFleet:
    """A fleet's chips, each compensated by itself.

    Attributes:
        chips: In the order in which they were given.
        network: Digest of the healthy network.
        seconds: How long it took.
    """

    chips: tuple[PreparedChip, ...]
    network: str
    seconds: float

    def apply_(self, net: PlacedModel, index: int) -> None:
        """Make a healthy network that of a chip, whose faults are set.

        Args:
            net: The network that the fleet was prepared from, or its twin.
            index: Number of the chip.

        Raises:
            ValueError: If it is another network.
        """
        found = network_digest(net.model)
        if found != self.network:
            raise ValueError(f"prepared from the network with digest {self.network[:16]}, this one has {found[:16]}")
        chip = self.chips[index]
        net.set_faults_(chip.chip)
        with torch.no_grad():
            for key, value in net.model.state_dict().items():
                if key in chip.state:
                    value.copy_(torch.from_numpy(chip.state[key].copy()))


def prepare_fleet(
    net: PlacedModel,
    chips: Iterable[FaultMap],
    moments: Moments,
    *,
    factors: bool = True,
    signs: bool = True,
    sweeps: int = 1,
    evaluate: Callable[[nn.Module], float] | None = None,
    evaluation: str | None = None,
    engine: Engine | None = None,
    make: Callable[[], nn.Module] | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> PreparedFleet:
    """Compensate every chip of a fleet from the same network, which is left as it was.

    Args:
        net: The placed healthy network.
        chips: Their maps.
        moments: What ``net.moments`` gives; shared by all chips.
        factors: As for ``compensate_``.
        signs: Likewise.
        sweeps: Likewise.
        evaluate: Accuracy of a model, for each chip; None for none.
        evaluation: With a folder and ``evaluate``, says on what is measured, such as the digest of the test set.
        engine: Where the chips are worked on; None for this process.
        make: With an engine, builds the network there; must be picklable.
        folder: Run folder, which survives a kill; None keeps nothing.
        progress: Whether to show a bar.

    Raises:
        JobError: If a chip fails; finished chips are in the folder.
        ValueError: If an engine lacks ``make``, a folder lacks ``evaluation``, or the moments are of another network.
    """
    begin = time.perf_counter()
    chips = list(chips)
    check_same_memory(chips)
    if engine is not None and make is None:
        raise ValueError("an engine runs chips in other processes: give make, which builds the network there")
    if folder is not None and evaluate is not None and not evaluation:
        raise ValueError(f"a run folder ({folder}) keeps figures for later runs: give evaluation, which says what they are of")
    digest = network_digest(net.model)
    if digest != moments.network:
        raise ValueError(f"the moments are of a network with digest {moments.network[:16]}, this one has {digest[:16]}")
    options: dict[str, Any] = {"factors": factors, "signs": signs, "sweeps": sweeps}
    work = _Work(net, moments, options, evaluate, make)
    known = {**options, "network": digest, "placement": net.placement.digest, "rule": repr(net.rule), "evaluation": evaluation}
    known["moments"] = moments.digest
    jobs = {f"{index}: {chip.chip} {chip.digest[:16]}": chip for index, chip in enumerate(chips)}
    title = "compensating chips" if progress else None
    results = run_jobs(work, jobs, engine=engine, folder=folder, options=known, progress=title)
    ready = tuple(_unpacked(chip, result) for chip, result in zip(chips, results.values(), strict=True))
    return PreparedFleet(ready, digest, time.perf_counter() - begin)


class _Work:
    """Compensates one chip; goes to other processes as a state dict and what builds the model."""

    def __init__(self, net: PlacedModel, moments: Moments, options: Any, evaluate: Any, make: Any) -> None:
        self.net: PlacedModel | None = net
        self.moments, self.options, self.evaluate, self.make = moments, options, evaluate, make

    def __getstate__(self) -> dict[str, Any]:
        assert self.net is not None
        # As arrays: tensors would go to a spawned process as open files of shared memory, not by value.
        state = {key: value.cpu().numpy() for key, value in self.net.model.state_dict().items()}
        return {**self.__dict__, "net": None, "parts": (state, self.net.placement, self.net.rule)}

    def __call__(self, chip: FaultMap) -> dict[str, Any]:
        if self.net is None:
            state, placement, rule = self.__dict__["parts"]
            model = self.make()
            model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
            self.net = PlacedModel(model.eval(), placement, rule=rule)
        net = copy.deepcopy(self.net)
        before = self.net.model.state_dict()
        report = net.compensate_(moments=self.moments, fault_map=chip, progress=False, **self.options)
        differs = {k: v.cpu().numpy() for k, v in net.model.state_dict().items() if not torch.equal(v, before[k])}
        arrays = {f"state/{key}": value for key, value in differs.items()}
        arrays |= {f"codes/{key}": value for key, value in net.memory_image().codes.items()}
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)
        accuracy = None if self.evaluate is None else float(self.evaluate(net.model))
        # In the record itself, whose digest covers it: either all of a chip is there or nothing.
        return {"arrays": base64.b64encode(packed.getvalue()).decode(), "report": asdict(report), "accuracy": accuracy}


def _unpacked(chip: FaultMap, result: Mapping[str, Any]) -> PreparedChip:
    with np.load(io.BytesIO(base64.b64decode(result["arrays"]))) as file:
        arrays = dict(file)
    codes, state = ({k.removeprefix(kind): v for k, v in arrays.items() if k.startswith(kind)} for kind in ("codes/", "state/"))
    report = dict(result["report"])
    layers = tuple(CompensatedLayer(**layer) for layer in report.pop("layers"))
    return PreparedChip(chip, codes, state, CompensationReport(layers, **report), result["accuracy"])
