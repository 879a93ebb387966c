"""The layers of a placed model during compensation: set up each problem and write its solution."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placed.faults import codes_of
from tremap_brevitas.placed.slots import WeightSlot, matching_slots
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.prepare.compensation.layer import LayerProblem, Solution
from tremap_brevitas.prepare.compensation.problem import clashes_of, problem_of
from tremap_brevitas.prepare.compensation.report import CompensatedLayer


class Layers:
    """The layers of a placed model under a fault map, which this class sets.

    Attributes:
        net: The placed model.
        slots: Its weights by layer.
        codes: Their healthy codes.
        written: The faults that are set in each layer.
        kept: Reasons of layers that keep their nearest codes because their float weight is also that of another layer.
        members: Members of the map, if it has conflicts.
    """

    def __init__(self, net: PlacedState, fault_map: FaultMap) -> None:
        self.net, self.fault_map = net, fault_map
        self.begin = time.perf_counter()
        self.slots = {n: e for n, e in matching_slots(net.model, net.placement).items() if not e.is_bias}
        self.kept = {name: f"its weight is also that of layer {other!r}" for name, other in self._tied()}
        self.members: tuple[FaultMap, ...] = fault_map.members if len(fault_map.conflicts) else ()
        net.clear_faults_()
        self.codes = {name: codes_of(entry).wanted for name, entry in self.slots.items()}
        net.set_faults_(fault_map)
        self.stuck = {bits.layer.name: bits for bits in net.placement.stuck_bits(fault_map)}
        self.member_stuck = [{b.layer.name: b for b in net.placement.stuck_bits(m)} for m in self.members]
        self.written = self.faults()

    def faults(self) -> dict[str, Any]:
        """Return the faults that are set in each layer now."""
        return {name: entry.proxy.fault_slot(entry.slot) for name, entry in self.slots.items()}

    def problem(self, entry: WeightSlot, read: NDArray[np.int32]) -> LayerProblem:
        """Set up the problem of a layer that reads these codes."""
        name, store = entry.name, self.net.rule.store
        placed = self.net.placement.layer(name)
        return problem_of(entry, placed, healthy=self.codes[name], read=read, stuck=self.stuck.get(name), store=store)

    def solve_(
        self,
        entry: WeightSlot,
        problem: LayerProblem,
        read: NDArray[np.int32],
        target: Tensor,
        second: Tensor,
        mean: Tensor | None,
        tries: Sequence[float],
        sweeps: int,
    ) -> tuple[CompensatedLayer, Solution | None]:
        """Choose a layer's codes and write them; the solution is None if the quantizer would change its scale."""
        name = entry.name
        placed = self.net.placement.layer(name)
        clashes, limit = clashes_of(problem, placed, [m.get(name) for m in self.member_stuck]) if self.members else (None, "")
        solution = problem.solve(target, second, mean=mean, factors=tries, sweeps=sweeps, clashes=clashes)
        reason = self._write(entry, solution)
        if reason:
            return CompensatedLayer(name, solution.before, solution.before, 0, 0, reason), None
        changed = int((solution.codes.cpu() != torch.from_numpy(read)).sum())
        flipped = int((solution.factor < 0).sum())
        return CompensatedLayer(name, solution.before, solution.after, changed, flipped, limit=limit), solution

    def float_bias(self, entry: WeightSlot) -> Tensor | None:
        """Return a layer's float bias; None if it has none or the bias is stored in the memory."""
        bias: Tensor | None = getattr(entry.module, "bias", None)
        return None if f"{entry.name}.bias" in {layer.name for layer in self.net.placement.layers} else bias

    def _tied(self) -> Iterator[tuple[str, str]]:
        """Yield each placed layer whose weight is that of another module, placed or not, with the other's name."""
        modules = self.net.model.named_modules()
        weights = {name: w for name, m in modules if isinstance(w := getattr(m, "weight", None), Tensor)}
        for name in self.slots:
            own = weights[name]
            # A transposed weight, or a part of one, begins there too.
            others = (n for n, weight in weights.items() if n != name and weight.data_ptr() == own.data_ptr())
            if other := next(others, None):
                yield name, other

    def biases(self) -> list[CompensatedLayer]:
        """Name the biases that are stored in the memory and read wrongly."""
        entries = [e for e in matching_slots(self.net.model, self.net.placement).values() if e.is_bias]
        wrong = [e.name for e in entries if not np.array_equal((codes := codes_of(e)).wanted, codes.read_back)]
        return [CompensatedLayer(name, 0.0, 0.0, 0, 0, "a bias in the memory keeps its nearest codes") for name in wrong]

    def _write(self, entry: WeightSlot, solution: Solution) -> str:
        """Write a layer's weights; if that changes the scale, restore the weights and return the reason."""
        module: Any = entry.module
        before, quantized = entry.parameter.clone(), module.quant_weight()
        entry.parameter.copy_(solution.weight)
        entry.proxy._cached_weight = None
        now = module.quant_weight()
        same_scale = torch.equal(now.scale, quantized.scale) and torch.equal(now.zero_point, quantized.zero_point)
        if same_scale and np.array_equal(codes_of(entry).read_back, solution.codes.cpu().numpy()):
            return ""
        entry.parameter.copy_(before)
        entry.proxy._cached_weight = None
        return "its quantizer would change the scale"


def quantizes_outputs(module: Any) -> bool:
    """Check whether a layer quantizes its outputs, so that a factor would change the result."""
    quantizer = getattr(module, "output_quant", None)
    return quantizer is not None and quantizer.is_quant_enabled
