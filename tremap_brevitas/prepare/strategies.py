"""Retraining strategies: which faults are live at which step of the user's training loop.

Every strategy is a ``Strategy``: it sets its first faults when it is made and has ``step(loss=None)``, to be called after each
optimizer step like a learning-rate scheduler, ``state_dict()`` and ``load_state_dict()``. Per-chip retraining is
``AllAtOnce`` with a chip's own map; merged retraining is ``ReadByMembers``, ``AllAtOnce`` or ``Ramp`` with a merged one; for
chips that have not been measured yet, ``RandomMaps`` draws a new map at every step.

A loop that works with all of them, also with those that need two passes a step, goes over ``passes()``::

    optimizer.zero_grad()
    for share in strategy.passes():
        (share * loss_of(model, batch)).backward()
    optimizer.step()
    strategy.step()
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_same_memory
from tremap_brevitas.faults.merge import overlaid
from tremap_brevitas.placed.faults import Located, faults_by_layer, locate_stuck_bits
from tremap_brevitas.placed.live import Live
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.prepare.strategy import LiveSlots, Strategy, as_seed, check_net, check_state, identity, saved_count


class AllAtOnce(Strategy):
    """Trains under one complete fault map from the first step on.

    Args:
        net: The placed model to train.
        fault_map: A chip's own map (per-chip retraining) or a merged one.
        rule: How codes are stored; None for the rule that the model was placed with.
    """

    def __init__(
        self,
        net: PlacedModel,
        fault_map: FaultMap,
        *,
        rule: Rule | None = None,
    ) -> None:
        self.net, self.rule = check_net(net), net.rule_or_default(rule)
        self._fault_map = fault_map
        self._faults = faults_by_layer(locate_stuck_bits(net.placement, fault_map), self.rule)
        self._identity = identity(self, [fault_map], fault_map)
        self._slots = LiveSlots(net)
        self._set()

    @property
    def fault_map(self) -> FaultMap:
        """The map, live from the first step on."""
        return self._fault_map

    def _set(self) -> None:
        live = Live(self.net.placement, self.rule, lambda: self._fault_map)
        self.net.apply_(self._faults, live, slots=self._slots())

    def step(self, loss: float | None = None) -> None:
        """Count a step; the faults do not change."""
        self._steps += 1
        if self._slots.stale:
            self._set()

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save, from which training can be resumed."""
        return {"of": self._identity, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state.

        Raises:
            TypeError: If it is not such a state.
            ValueError: If it was saved by another strategy, or with another fault map, placement, store rule or gradient.
        """
        check_state(state, self._identity)
        self._steps = saved_count(state, "steps")


class Drawn(Strategy):
    """Base class of strategies that draw new faults at every step.

    The faults depend on the step alone, so that resuming needs no state of a random generator.
    """

    def __init__(
        self,
        net: PlacedModel,
        members: Sequence[FaultMap],
        seed: int,
        rule: Rule | None,
        *,
        fault_map: FaultMap | None = None,
    ) -> None:
        self.net, self.rule, self.seed = check_net(net), net.rule_or_default(rule), as_seed(seed)
        self._identity = identity(self, members, fault_map, seed=self.seed)
        self._slots = LiveSlots(net)
        self._set()

    @abstractmethod
    def _set(self) -> None:
        """Set the faults of the next step in the model."""

    def step(self, loss: float | None = None) -> None:
        """Draw the faults of the next step."""
        self._steps += 1
        try:
            self._set()
        except BaseException:
            self._steps -= 1  # a step that failed can be taken again
            raise

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save, from which training can be resumed."""
        return {"of": self._identity, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state, with the same live faults as when it was saved.

        Raises:
            TypeError: If it is not such a state.
            ValueError: If it was saved by another strategy, or with other chips, placement, store rule, gradient or seed.
        """
        check_state(state, self._identity)
        self._steps = saved_count(state, "steps")
        self._set()

    def _apply(self, fault_map: FaultMap, stuck_bits: Located) -> None:
        live = Live(self.net.placement, self.rule, lambda: fault_map)
        self.net.apply_(faults_by_layer(stuck_bits, self.rule), live, slots=self._slots())

    def _drawn(self, count: int) -> int:
        """Draw a number below ``count`` for the next step."""
        return int(np.random.default_rng([self.seed, self.steps]).integers(count))


class RandomMember(Drawn):
    """Trains at every step under the map of a random chip of a group.

    Args:
        net: The placed model to train.
        chips: Maps of the group; each step draws one, all equally likely.
        seed: Seed of the draws.
        rule: How codes are stored; None for the rule that the model was placed with.

    Raises:
        ValueError: If the group is empty, or its maps are of another memory.
    """

    def __init__(
        self,
        net: PlacedModel,
        chips: Sequence[FaultMap],
        *,
        seed: int,
        rule: Rule | None = None,
    ) -> None:
        check_same_memory(chips)
        self.chips = tuple(chips)
        self._located: dict[int, Located] = {}
        super().__init__(net, self.chips, seed, rule)

    @property
    def fault_map(self) -> FaultMap:
        """The map that is live."""
        return self.chips[self._drawn(len(self.chips))]

    def _set(self) -> None:
        drawn = self._drawn(len(self.chips))
        if drawn not in self._located:
            self._located[drawn] = locate_stuck_bits(self.net.placement, self.chips[drawn])
        self._apply(self.chips[drawn], self._located[drawn])


class RandomMaps(Drawn):
    """Trains under a new random map at every step, for chips that have not been measured yet.

    The idea of RandBET (Stutz et al., MLSys 2021), with stuck cells in place of flipped bits. Put it into
    [CleanAndFaulty][tremap_brevitas.prepare.CleanAndFaulty] and [ClipWeights][tremap_brevitas.prepare.ClipWeights] for the
    other parts of RandBET.

    Args:
        net: The placed model to train.
        draw: Makes a map from a seed, such as ``lambda seed: tm.random_fault_maps(memory, chips=1, fault_rate=6e-3,
            seed=seed)[0]``; the same seed must give the same map.
        seed: Seed from which the seed of each step is drawn.
        known: Map that is always live besides the drawn one: a group's merged map. Where the two contradict each other,
            this one counts.
        rule: How codes are stored; None for the rule that the model was placed with.

    Raises:
        ValueError: If a map is of another memory.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> def draw(seed):
        ...     return tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=seed)[0]
        >>> strategy = tm.prepare.RandomMaps(tm.place(fc, memory), draw, seed=0)
        >>> for _ in range(3):
        ...     print(strategy.fault_map.cells[:3])
        ...     strategy.step()
        [3 5 9]
        [15 30 44]
        [ 1 11 23]
    """

    def __init__(
        self,
        net: PlacedModel,
        draw: Callable[[int], FaultMap],
        *,
        seed: int,
        known: FaultMap | None = None,
        rule: Rule | None = None,
    ) -> None:
        self._draw, self._known = draw, known
        members = [m for m in (known, draw(seed)) if m is not None]  # one drawn map is enough to notice a changed rate
        check_same_memory(members)
        super().__init__(net, members, seed, rule)

    @property
    def fault_map(self) -> FaultMap:
        """The map that is live."""
        drawn = self._draw(self._drawn(2**63))
        return drawn if self._known is None else overlaid(self._known, drawn)

    def _set(self) -> None:
        drawn = self.fault_map
        self._apply(drawn, locate_stuck_bits(self.net.placement, drawn))
