"""Train under faults that are introduced gradually."""

from __future__ import annotations

from operator import index
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap, MergedFaultMap
from tremap_brevitas.placed.faults import faults_by_layer, sites_of
from tremap_brevitas.placed.live import Live
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.placement import LayerSites
from tremap_brevitas.prepare.strategy import LiveSlots, Strategy, as_seed, check_net, check_state, identity, saved_count

Order = Literal["random", "by_chip"]


class Ramp(Strategy):
    """Trains under a fault map whose cells become live one after the other.

    The cells have a fixed order; after step ``n`` the first ``round(n / over_steps * cells)`` of them are live. The live faults
    are nested: what is stuck stays stuck. From step ``over_steps`` on the whole map is live.

    A ramp keeps a network with plain codes from collapsing (TRE-Map); with nearest codes the faults may as well enter all at
    once, see ``docs/study_retraining.md``.

    Args:
        net: The placed model to train.
        fault_map: The map, usually a merged one.
        over_steps: Steps to the whole map, at least 1.
        order: ``"random"``: a seeded shuffle. ``"by_chip"``: the first member's cells, then those that the second adds, and so
            on, as in TRE-Map; within a chip the order is shuffled too.
        seed: Seed of the shuffle.
        rule: How codes are stored; None for the rule that the model was placed with.

    Raises:
        TypeError: If ``over_steps`` or ``seed`` is not an integer.
        ValueError: If ``over_steps`` is below 1, ``order`` is unknown, or ``"by_chip"`` and the map is not merged; or map,
            placement and model do not match.

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
        over_steps: int,
        order: Order = "random",
        seed: int = 0,
        rule: Rule | None = None,
    ) -> None:
        self.net, self.rule = check_net(net), net.rule_or_default(rule)
        self.over_steps, self.order, self.seed = _positive("over_steps", over_steps), order, as_seed(seed)
        self._fault_map = fault_map
        self._slots = LiveSlots(net)
        sites = sites_of(net.placement, fault_map)
        rank = np.empty(len(fault_map), dtype=np.int64)
        self._entry = _entry_order(fault_map, order, self.seed)
        rank[self._entry] = np.arange(len(fault_map))
        # Every layer's bits by the rank of their cells: the live ones are then a prefix.
        self._layers = [_by_rank(s, fault_map, rank[s.source]) for s in sites]
        self._identity = identity(self, fault_map.members, fault_map, order=order, seed=self.seed, over_steps=self.over_steps)
        self._live = -1
        self._set()

    @property
    def fault_map(self) -> FaultMap:
        """The whole map, of which a fraction is live."""
        return self._fault_map

    @property
    def fraction(self) -> float:
        """Fraction of the map's cells that are live."""
        return min(1.0, self.steps / self.over_steps)

    @property
    def live_cells(self) -> int:
        """Number of cells that are live."""
        return self._live

    @property
    def done(self) -> bool:
        """Whether the whole map is live."""
        return self.steps >= self.over_steps

    def step(self, loss: float | None = None) -> None:
        """Count an optimizer step and make the next cells live."""
        self._steps += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save: numbers and strings, which JSON and ``torch.save`` can store."""
        return {"of": self._identity, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state, with the same cells live as when it was saved.

        Raises:
            TypeError: If it is not such a state.
            ValueError: If it was saved by another strategy, or with another fault map, placement, store rule, gradient, order,
                seed or number of steps.
        """
        check_state(state, self._identity)
        self._steps = saved_count(state, "steps")
        self._live = -1
        self._set()

    def _set(self) -> None:
        live = round(self.fraction * len(self.fault_map))
        if live == self._live and not self._slots.stale:
            return
        self._live = live
        sites = [_first(layer, stuck, int(np.searchsorted(ranks, live))) for layer, stuck, ranks in self._layers]
        live_map = Live(self.net.placement, self.rule, lambda: self._live_part(live))
        self.net.apply_(faults_by_layer(sites, self.rule), live_map, slots=self._slots())

    def _live_part(self, live: int) -> FaultMap:
        """Return the map of the cells that are live."""
        whole = self._fault_map
        if live == len(whole):
            return whole
        entered = np.sort(self._entry[:live])
        return FaultMap(whole.memory, whole.cells[entered], whole.stuck_at[entered], whole.chip, whole.metadata)


_Ranked = tuple[LayerSites, NDArray[np.uint8], NDArray[np.int64]]


def _entry_order(fault_map: FaultMap, order: Order, seed: int) -> NDArray[np.int64]:
    """Return indices of the map's cells in the order in which they become live."""
    if order not in get_args(Order):
        raise ValueError(f"order must be one of {', '.join(get_args(Order))}, got {order!r}")
    shuffled = np.random.default_rng(seed).permutation(len(fault_map))
    if order == "random":
        return shuffled
    if not isinstance(fault_map, MergedFaultMap):
        raise ValueError("order='by_chip' needs a merged fault map; this one has no members")
    key = np.full(len(fault_map), len(fault_map.members))
    for member in reversed(range(len(fault_map.members))):
        key[np.isin(fault_map.cells, fault_map.members[member].cells, assume_unique=True)] = member
    return shuffled[np.argsort(key[shuffled], kind="stable")]


def _by_rank(sites: LayerSites, fault_map: FaultMap, rank: NDArray[np.int64]) -> _Ranked:
    by_rank = np.argsort(rank, kind="stable")
    ranked = LayerSites(sites.layer, sites.weight[by_rank], sites.bit[by_rank], sites.source[by_rank])
    return ranked, fault_map.stuck_at[ranked.source], rank[by_rank]


def _first(sites: LayerSites, stuck: NDArray[np.uint8], count: int) -> tuple[LayerSites, NDArray[np.uint8]]:
    return LayerSites(sites.layer, sites.weight[:count], sites.bit[:count], sites.source[:count]), stuck[:count]


def _positive(name: str, value: int) -> int:
    try:
        count = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return count
