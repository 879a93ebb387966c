"""Faults that enter gradually."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tremap_brevitas.faults import FaultMap, MergedFaultMap
from tremap_brevitas.placed.faults import faults_by_layer, sites_of
from tremap_brevitas.placed.live import Live
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.placement import LayerSites
from tremap_brevitas.prepare.collapse import CollapseDetector, CollapseError, as_loss
from tremap_brevitas.prepare.schedule import ByStep, RampState, Schedule, described
from tremap_brevitas.prepare.strategy import LiveSlots, Strategy, as_seed, check_net, check_state, identity

Order = Literal["random", "by_chip", "lsb_first"]


class Ramp(Strategy):
    """A fault map whose cells enter one after the other while the model trains.

    The cells have a fixed order; at fraction ``f`` the first ``round(f * cells)`` of them are live. The live faults are
    nested: what is stuck stays stuck. After the last rise the whole map is live.

    Args:
        net: The placed model to train.
        fault_map: The map, usually a merged one.
        over_steps: Short for ``schedule=ByStep(over_steps)``.
        schedule: When the fraction rises: ``ByStep``, ``ByEpoch``, ``OnRecovery`` or your own.
        order: ``"random"``: a seeded shuffle. ``"by_chip"``: the first member's cells, then those that the second adds, and so
            on. ``"lsb_first"``: cells that hold low bits before those that hold high ones.
        seed: Seed of the shuffle; within a chip or a bit the order is shuffled too.
        rule: How codes are stored; None for the rule that the model was placed with.
        collapse: Notices a collapse; ``step`` must then be given the loss.

    Raises:
        ValueError: If neither or both of ``over_steps`` and ``schedule`` are given, ``order`` is ``"by_chip"`` and the map is
            not merged, or map, placement and model do not match.

    Examples:
        >>> import torch
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(8, 8, bias=False)), tm.Memory(words=16, word_bits=32)
        >>> chips = tm.random_fault_maps(memory, chips=5, fault_rate=0.02, seed=0)
        >>> ramp = tm.Ramp(tm.place(fc, memory), tm.merge(chips, on_conflict="majority"), over_steps=4)
        >>> optimizer = torch.optim.SGD(fc.parameters(), lr=0.1)
        >>> for _ in range(4):
        ...     loss = fc(torch.ones(1, 8)).square().sum()
        ...     loss.backward()
        ...     optimizer.step()
        ...     ramp.step()
        ...     print(f"{ramp.fraction:.2f} {ramp.live_cells}")
        0.25 12
        0.50 24
        0.75 35
        1.00 47
    """

    def __init__(
        self,
        net: PlacedModel,
        fault_map: FaultMap,
        *,
        over_steps: int | None = None,
        schedule: Schedule | None = None,
        order: Order = "random",
        seed: int = 0,
        rule: Rule | None = None,
        collapse: CollapseDetector | None = None,
    ) -> None:
        if (over_steps is None) == (schedule is None):
            raise ValueError("give over_steps or schedule, and not both")
        self.net, self.rule = check_net(net), net.chosen(rule)
        self.schedule: Schedule = ByStep(over_steps) if over_steps is not None else schedule  # type: ignore[assignment]
        self.order, self.seed, self.collapse = order, as_seed(seed), collapse
        self._fault_map = fault_map
        self._slots = LiveSlots(net)
        sites = sites_of(net.placement, fault_map)
        rank = np.empty(len(fault_map), dtype=np.int64)
        self._entry = _entry_order(fault_map, sites, order, self.seed)
        rank[self._entry] = np.arange(len(fault_map))
        # Every layer's bits by the rank of their cells: the live ones are then a prefix.
        self._layers = [_by_rank(s, fault_map, rank[s.source]) for s in sites]
        members = fault_map.members
        self._identity = identity(
            self,
            members,
            fault_map,
            order=order,
            seed=self.seed,
            schedule=described(self.schedule),
            **{"collapse detection": collapse is not None},
        )
        self._live = -1
        self._state = RampState(reference=getattr(self.schedule, "reference", None))
        self._rise(self.schedule.fraction(self._state))

    @property
    def fault_map(self) -> FaultMap:
        """The whole map, of which a share is live."""
        return self._fault_map

    @property
    def fraction(self) -> float:
        """Share of the map that is live."""
        return self._state.fraction

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self._state.step

    @property
    def live_cells(self) -> int:
        """Number of cells that are live."""
        return self._live

    @property
    def done(self) -> bool:
        """Whether the whole map is live."""
        return self.fraction >= 1

    def step(self, loss: float | Tensor | None = None) -> None:
        """Count an optimizer step and let in the faults that are due.

        Args:
            loss: Loss of the step; needed by ``OnRecovery`` and by collapse detection.

        Raises:
            TypeError: If the loss is no number.
            ValueError: If the loss is needed and not given.
            CollapseError: If training has collapsed, or the schedule needs a loss that is not finite. The faults stay as they
                were.
        """
        loss = None if loss is None else as_loss(loss)  # a tensor would keep its graph
        if loss is None and (self.schedule.needs_loss or self.collapse is not None):
            needed = "its schedule" if self.schedule.needs_loss else "collapse detection"
            raise ValueError(f"Ramp.step() needs the loss: {needed} goes by it")
        if self.collapse is not None and loss is not None:
            self.collapse.update(loss, what=f"training with {100 * self.fraction:.0f} % of the faults")
        state = replace(self._state, step=self._state.step + 1)
        if self.schedule.needs_loss and loss is not None and not math.isfinite(loss):
            raise CollapseError(
                f"training with {100 * self.fraction:.0f} % of the faults collapsed at step {state.step}: the loss, which the "
                f"schedule goes by, is {loss}",
                step=state.step,
                loss=loss,
                limit=math.inf,
            )
        window = getattr(self.schedule, "window", None)
        if loss is not None and window is not None:
            seen = state.step - state.stage_step
            past = state.loss if state.loss is not None else loss
            mean = past + (loss - past) / min(seen, window)
            reference = state.reference
            if reference is None and state.step >= window:
                reference = mean
            state = replace(state, loss=mean, reference=reference)
        self._state = state
        self._rise(self.schedule.fraction(state))

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to go on later: plain numbers and strings, which JSON and ``torch.save`` can hold."""
        return {
            "of": self._identity,
            "state": asdict(self._state),
            "collapse": None if self.collapse is None else self.collapse.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; the same cells are live as when it was saved.

        Raises:
            TypeError: If it is no such state.
            ValueError: If it was saved by another strategy, or with another fault map, placement, store rule, gradient, order,
                seed or schedule, or with other settings of collapse detection.
        """
        check_state(state, self._identity)
        loaded = RampState.loaded(state.get("state"))
        if self.collapse is not None:
            self.collapse.load_state_dict(state.get("collapse"))  # type: ignore[arg-type]
        self._state = loaded
        self._live = -1
        self._rise(self._state.fraction)

    def _rise(self, fraction: float) -> None:
        if math.isnan(fraction):
            raise ValueError(f"the schedule {self.schedule!r} says that nan of the faults are live at step {self.steps}")
        fraction = min(1.0, max(self._state.fraction, fraction))
        if fraction > self._state.fraction:
            self._state = replace(self._state, fraction=fraction, stage_step=self._state.step, loss=None)
        live = round(fraction * len(self.fault_map))
        if live == self._live and not self._slots.stale:
            return
        self._live = live
        sites = [_first(layer, stuck, int(np.searchsorted(ranks, live))) for layer, stuck, ranks in self._layers]
        live_map = Live(self.net.placement, self.rule, lambda: self._live_part(live))
        self.net.apply_(faults_by_layer(sites, self.rule), live_map, slots=self._slots())

    def _live_part(self, live: int) -> FaultMap:
        """The map of the cells that have entered."""
        whole = self._fault_map
        if live == len(whole):
            return whole
        entered = np.sort(self._entry[:live])
        return FaultMap(whole.memory, whole.cells[entered], whole.stuck_at[entered], whole.chip, whole.metadata)


_Ranked = tuple[LayerSites, NDArray[np.uint8], NDArray[np.int64]]


def _entry_order(fault_map: FaultMap, sites: list[LayerSites], order: Order, seed: int) -> NDArray[np.int64]:
    """Return indices of the map's cells in the order in which they enter."""
    shuffled = np.random.default_rng(seed).permutation(len(fault_map))
    if order == "random":
        return shuffled
    if order == "by_chip":
        if not isinstance(fault_map, MergedFaultMap):
            raise ValueError("order='by_chip' needs a merged fault map; this one has no members")
        key = np.full(len(fault_map), len(fault_map.members))
        for index in reversed(range(len(fault_map.members))):
            key[np.isin(fault_map.cells, fault_map.members[index].cells, assume_unique=True)] = index
    elif order == "lsb_first":
        # A cell of a reused memory can hold several bits: the highest counts. Cells without a weight come first.
        key = np.full(len(fault_map), -1)
        for layer in sites:
            np.maximum.at(key, layer.source, layer.bit)
    else:
        raise ValueError(f"order must be one of {', '.join(get_args(Order))}, got {order!r}")
    return shuffled[np.argsort(key[shuffled], kind="stable")]


def _by_rank(sites: LayerSites, fault_map: FaultMap, rank: NDArray[np.int64]) -> _Ranked:
    by_rank = np.argsort(rank, kind="stable")
    ranked = LayerSites(sites.layer, sites.weight[by_rank], sites.bit[by_rank], sites.source[by_rank])
    return ranked, fault_map.stuck_at[ranked.source], rank[by_rank]


def _first(sites: LayerSites, stuck: NDArray[np.uint8], count: int) -> tuple[LayerSites, NDArray[np.uint8]]:
    return LayerSites(sites.layer, sites.weight[:count], sites.bit[:count], sites.source[:count]), stuck[:count]
