"""Ways of letting faults in that the study tried and that are no part of the package: they were no better than a plain ramp.

They run whole, from a row's first step to its last, and save no state.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tremap_brevitas as tm


class Growing(tm.Strategy):
    """A map of which the first cells of some order are live.

    Args:
        net: The placed model to train, which is also told how codes are stored.
        fault_map: The whole map.
        order: Indices of the map's cells in the order in which they enter.
    """

    def __init__(self, net: tm.PlacedModel, fault_map: tm.FaultMap, order: NDArray[np.int64]) -> None:
        self.net, self.rule, self.order = net, net.rule_or_default(None), order
        self._fault_map, self.fraction = fault_map, 0.0
        self.let_in(0.0)

    @property
    def fault_map(self) -> tm.FaultMap:
        """The whole map."""
        return self._fault_map

    @property
    def done(self) -> bool:
        """Whether the whole map is live."""
        return self.fraction >= 1

    def let_in(self, fraction: float) -> None:
        """Set this share of the cells."""
        whole, self.fraction = self._fault_map, fraction
        live = np.sort(self.order[: round(fraction * len(whole))])
        self.net.set_faults_(tm.FaultMap(whole.memory, whole.cells[live], whole.stuck_at[live], whole.chip), rule=self.rule)

    def state_dict(self) -> dict[str, Any]:
        """Refused."""
        raise NotImplementedError("rows of the study run whole")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refused."""
        raise NotImplementedError("rows of the study run whole")


class LsbFirst(Growing):
    """Cells that hold low bits enter before those that hold high ones, linearly over the steps.

    A cell of a reused memory can hold several bits: the highest counts. Cells without a weight come first.
    """

    def __init__(self, net: tm.PlacedModel, fault_map: tm.FaultMap, *, over_steps: int, seed: int) -> None:
        self.over_steps = over_steps
        bit = np.full(len(fault_map), -1)
        for layer in net.placement.sites(fault_map.cells):
            np.maximum.at(bit, layer.source, layer.bit)
        shuffled = np.random.default_rng(seed).permutation(len(fault_map))
        super().__init__(net, fault_map, shuffled[np.argsort(bit[shuffled], kind="stable")])

    def step(self, loss: float | None = None) -> None:
        """Let in what is due."""
        self._steps += 1
        if not self.done:
            self.let_in(min(1.0, self.steps / self.over_steps))


class OnRecovery(Growing):
    """Faults enter by equal stages, in random order, each when the loss is back within a tenth of what it was before any.

    The loss before any fault is the mean of the first ``window`` steps. A stage lasts at least ``window`` steps and at most
    ``patience``.
    """

    def __init__(
        self, net: tm.PlacedModel, fault_map: tm.FaultMap, *, stages: int, window: int, patience: int, seed: int
    ) -> None:
        self.stages, self.window, self.patience = stages, window, patience
        self._stage = self._stage_step = 0
        self._mean = self._healthy = math.nan
        super().__init__(net, fault_map, np.random.default_rng(seed).permutation(len(fault_map)))

    def step(self, loss: float | None = None) -> None:
        """Take note of the loss; begin the next stage if it has recovered."""
        assert loss is not None
        self._steps += 1
        waited = self._steps - self._stage_step
        before = loss if math.isnan(self._mean) else self._mean
        self._mean = before + (loss - before) / min(waited, self.window)
        if self._steps == self.window:
            self._healthy = self._mean
        recovered = self._mean <= self._healthy + 0.1 * abs(self._healthy)
        if waited >= self.window and (recovered or waited >= self.patience) and not self.done:
            self._stage += 1
            self._stage_step, self._mean = self._steps, math.nan
            self.let_in(self._stage / self.stages)
