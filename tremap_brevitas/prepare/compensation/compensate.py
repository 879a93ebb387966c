"""Compensate a whole network, layer by layer in order of execution."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from tremap_brevitas.codes import MAX_TABLE_BIT_WIDTH
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placed.faults import check_fault_map, codes_of, locate_stuck_bits
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.slots import WeightSlot
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.prepare.compensation.absorb import trace_successors
from tremap_brevitas.prepare.compensation.descent import about_the_mean, constant, target_of
from tremap_brevitas.prepare.compensation.from_moments import compensate_from_
from tremap_brevitas.prepare.compensation.layer import Solution
from tremap_brevitas.prepare.compensation.layers import Layers, quantizes_outputs
from tremap_brevitas.prepare.compensation.lockstep import in_lockstep
from tremap_brevitas.prepare.compensation.moments import Sums, has_rows
from tremap_brevitas.prepare.compensation.report import CompensatedLayer, CompensationReport
from tremap_brevitas.prepare.compensation.shared import HealthyMoments, first_of, quantized_input
from tremap_brevitas.prepare.compensation.statistics import follow_
from tremap_brevitas.proxy.image_reads import ImageReads

# First factors of each channel; the one that suits the codes best is fitted afterwards. Large ones spread a channel over
# more codes: finer steps, and a stuck high bit weighs less.
FACTORS = (1.0, 0.71, 1.41, 2.0, 2.83)
DAMPING = 0.01  # share of the mean diagonal added to the moments, for directions in which the inputs hardly vary


@torch.no_grad()
def compensate_(
    net: PlacedState,
    batches: Iterable[Any] | None,
    fault_map: FaultMap | None,
    *,
    moments: HealthyMoments | None = None,
    factors: bool,
    signs: bool,
    sweeps: int,
    samples: int,
    forward: Callable[[nn.Module, Any], Any] | None,
    progress: bool,
) -> CompensationReport:
    """Choose new codes for a network, in place; see ``PlacedModel.compensate_``."""
    if fault_map is None:
        raise ValueError("no fault map is live: give fault_map, or call set_faults_ before")
    check_fault_map(fault_map)
    for name, value in (("sweeps", sweeps), ("samples", samples)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if (batches is None) == (moments is None):
        raise ValueError(f"give either batches or moments, got {'both' if batches is not None else 'neither'}")
    before = {key: value.clone() for key, value in net.model.state_dict().items()}
    live = net.fault_map, net.rule
    try:
        tries = FACTORS if factors else (1.0,)
        if moments is not None:
            with evaluation_mode(net.model):
                return compensate_from_(Layers(net, fault_map), moments, tries, signs, sweeps, progress)
        assert batches is not None
        return _Run(net, batches, fault_map, forward, samples)(tries, signs, sweeps, progress)
    except BaseException:
        for key, value in net.model.state_dict().items():
            value.copy_(before[key])
        if live[0] is None:
            net.clear_faults_()
        else:
            net.set_faults_(live[0], rule=live[1])
        raise


class _Run(Layers):
    """One run of compensation: a network, its healthy copy, and the inputs that both receive."""

    def __init__(
        self,
        net: PlacedState,
        batches: Iterable[Any],
        fault_map: FaultMap,
        forward: Callable[[nn.Module, Any], Any] | None,
        samples: int,
    ) -> None:
        super().__init__(net, fault_map)
        self.forward = forward or (lambda model, batch: model(batch))
        self.batches, self.images = _split([first_of(b) for b in batches], len(self.members))
        self.samples = max(1, samples // len(self.batches))
        pairs = [(m.chip, self._narrow(m)) for m in self.members]
        reads = ImageReads(self._narrow(fault_map), pairs, store=net.rule.store) if pairs else None
        self.reads = [reads.faults_of(i) for i in range(len(reads))] if reads is not None else []
        twin = copy.deepcopy(net)
        twin.clear_faults_()
        self.healthy = twin.model

    def __call__(self, factors: Sequence[float], signs: bool, sweeps: int, progress: bool) -> CompensationReport:
        model, count = self.net.model, len(self.batches)
        modules, twins = dict(model.named_modules()), dict(self.healthy.named_modules())
        reports: dict[str, CompensatedLayer] = {}
        signs_of: dict[str, Tensor] = {}
        with evaluation_mode(model), evaluation_mode(self.healthy):
            trace = trace_successors(self.healthy, lambda: self.forward(self.healthy, self.batches[0][:1]), list(self.slots))
            norms = [n for n, m in model.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
            passes = [
                (network, lambda n=network, b=batch: self.forward(n, b))
                for network in (model, self.healthy)
                for batch in self.batches
            ]
            bar = tqdm(total=len(self.slots), desc="compensating", unit="layer", leave=False, disable=not progress)
            with bar:
                touched = False
                followed: set[str] = set()
                for halt in in_lockstep(passes, [*self.slots, *norms], before=self._read_by_member):
                    name, module = halt.name, modules[halt.name]
                    own, healthy = list(halt.inputs[:count]), list(halt.inputs[count:])
                    if isinstance(module, _BatchNorm):
                        if touched and name not in followed:
                            followed.add(name)
                            follow_(module, twins[name], own, healthy, signs_of.get(name))
                        continue
                    if name in reports:  # a layer that is called again
                        continue
                    entry = self.slots[name]
                    entry.proxy.set_fault_slot(entry.slot, self.written[name])
                    free = name in trace.absorbers and not quantizes_outputs(module)
                    tries = [f * s for s in ((1, -1) if signs and free else (1,)) for f in (factors if free else (1.0,))]
                    read = codes_of(entry).read_back
                    if not touched and np.array_equal(read, self.codes[name]):
                        reports[name] = CompensatedLayer(name, 0.0, 0.0, 0, 0)
                        continue
                    touched = True
                    report, solution = self._layer(entry, own, healthy, read, free, tries, sweeps)
                    limits = [report.limit] if report.limit else []
                    if trace.calls[name] > 1:
                        limits.append(f"called {trace.calls[name]} times: chosen for the inputs of the first call")
                    if name in trace.absorbers and not free and len(factors) + signs > 1:
                        limits.append("its outputs are quantized: no factor or sign")
                    reports[name] = report if report.reason else replace(report, limit="; ".join(limits))
                    if solution is not None and free:
                        signs_of[trace.absorbers[name]] = solution.factor.sign()
                    bar.update()
        for name in self.slots:
            if name not in reports:
                reports[name] = CompensatedLayer(name, 0.0, 0.0, 0, 0, "it was not run as a layer of its own")
        self.net.set_faults_(self.fault_map)
        return CompensationReport((*reports.values(), *self.biases()), self.images, time.perf_counter() - self.begin)

    def _read_by_member(self, index: int, name: str) -> None:
        """Let one forward pass compute a layer with the codes that one member of the group reads."""
        if self.reads and index < len(self.batches) and name in self.slots:
            entry = self.slots[name]
            if self.net.placement.layer(name).bit_width <= MAX_TABLE_BIT_WIDTH:
                entry.proxy.set_fault_slot(entry.slot, self.reads[index % len(self.reads)].get(name))

    def _narrow(self, fault_map: FaultMap) -> list[Any]:
        """Return the stuck bits of layers whose codes each member can read; others are read as the merged map has them."""
        return [
            (sites, stuck)
            for sites, stuck in locate_stuck_bits(self.net.placement, fault_map)
            if sites.layer.bit_width <= MAX_TABLE_BIT_WIDTH
        ]

    def _layer(
        self,
        entry: WeightSlot,
        own: list[Tensor],
        healthy: list[Tensor],
        read: Any,
        followed: bool,
        tries: Sequence[float],
        sweeps: int,
    ) -> tuple[CompensatedLayer, Solution | None]:
        name, module = entry.name, entry.module
        if name in self.kept:
            return CompensatedLayer(name, 0.0, 0.0, 0, 0, self.kept[name]), None
        if not has_rows(module):
            return CompensatedLayer(name, 0.0, 0.0, 0, 0, f"a {type(module).__name__} has no inputs to be weighed"), None
        own, healthy = ([quantized_input(module, x) for x in inputs] for inputs in (own, healthy))
        moments = Sums(samples=self.samples)
        for x, h in zip(own, healthy, strict=True):
            moments.add(module, x, h)
        second, cross, mean, healthy_mean = moments.means()
        if not bool(second.isfinite().all() & cross.isfinite().all()):
            raise ValueError(f"layer {name!r}: its inputs are not all finite")
        problem, bias = self.problem(entry, read), self.float_bias(entry)
        taken_up = followed or bias is not None
        if taken_up:
            cross = about_the_mean(cross, healthy_mean, mean, dead=constant(second, mean))
            second = about_the_mean(second, mean, mean)
        target = target_of(problem.healthy, second, cross, damping=DAMPING)
        report, solution = self.solve_(entry, problem, read, target, second, mean if taken_up else None, tries, sweeps)
        if solution is not None and not followed and bias is not None:
            bias += (_outputs(problem.healthy, healthy_mean) - _outputs(solution.values, mean)).to(bias)
        return report, solution


def _split(batches: list[Any], members: int) -> tuple[list[Any], int]:
    """Split batches so that every member reads at least one; also return the number of inputs."""
    images = sum(len(b) for b in batches)
    if not images:
        raise ValueError("no inputs were given; a few hundred are needed")
    if len(batches) < members <= images and all(isinstance(b, Tensor) for b in batches):
        batches = list(torch.cat(batches).chunk(members))
    return batches, images


def _outputs(matrices: Tensor, mean: Tensor) -> Tensor:
    """Compute the mean of each output channel, without its bias."""
    return torch.einsum("gk,grk->gr", mean, matrices).reshape(-1)
