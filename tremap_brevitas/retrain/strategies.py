"""Which faults are live at which step. One small interface, used from the user's own training loop.

Every strategy sets its first faults when it is made and has ``step(loss=None)``, to be called after each optimizer
step like a learning-rate scheduler, ``state_dict()`` and ``load_state_dict()``. Per-chip retraining is
``AllAtOnce`` with a chip's own map; merged retraining is ``AllAtOnce`` or ``Ramp`` with a merged one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_same_memory
from tremap_brevitas.model.faults import apply_sites_, check_options, set_faults_, sites_of
from tremap_brevitas.model.slots import checked_slots
from tremap_brevitas.placement import LayerSites, Placement
from tremap_brevitas.proxy.weight_faults import Gradient, Store


class AllAtOnce:
    """One map, whole, from the first step on.

    Args:
        model: The model to train.
        placement: Where its codes lie.
        fault_map: A chip's own map (per-chip retraining) or a merged one.
        store: Rule by which codes are stored.
        gradient: See [set_faults_][tremap_brevitas.set_faults_].
    """

    def __init__(
        self,
        model: nn.Module,
        placement: Placement,
        fault_map: FaultMap,
        *,
        store: Store = "nearest",
        gradient: Gradient = "identity",
    ) -> None:
        self.fault_map = fault_map
        self.steps = 0
        self._identity = identity(placement, [fault_map], fault_map, store, gradient)
        set_faults_(model, placement, fault_map, store=store, gradient=gradient)

    def step(self, loss: float | None = None) -> None:
        """Count a step; the faults stay as they are."""
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to go on later."""
        return {"of": self._identity, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: If it was saved with another fault map, placement, store rule or gradient.
        """
        check_identity(state["of"], self._identity)
        self.steps = state["steps"]


class RandomMember:
    """At every step the map of another chip, drawn at random from a group.

    Args:
        model: The model to train.
        placement: Where its codes lie.
        chips: Maps of the group; each step draws one, all equally likely.
        seed: Seed of the draws.
        store: Rule by which codes are stored.
        gradient: See [set_faults_][tremap_brevitas.set_faults_].

    Raises:
        ValueError: If the group is empty, or its maps are of another memory.
    """

    def __init__(
        self,
        model: nn.Module,
        placement: Placement,
        chips: Sequence[FaultMap],
        *,
        seed: int,
        store: Store = "nearest",
        gradient: Gradient = "identity",
    ) -> None:
        check_same_memory(chips)
        check_options(store, gradient)
        self.model, self.chips, self.seed = model, tuple(chips), seed
        self.steps = 0
        self._identity = {**identity(placement, self.chips, None, store, gradient), "seed": seed}
        self._options: Any = {"store": store, "gradient": gradient}
        self._slots = checked_slots(model, placement)
        self._sites: list[list[tuple[LayerSites, NDArray[np.uint8]]]] = [
            [(s, chip.stuck_at[s.source]) for s in sites_of(placement, chip)] for chip in self.chips
        ]
        self._set()

    @property
    def fault_map(self) -> FaultMap:
        """The map that is live."""
        return self.chips[self._drawn()]

    def step(self, loss: float | None = None) -> None:
        """Draw the next chip."""
        self.steps += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to go on later."""
        return {"of": self._identity, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, with the same chip live as when it was saved.

        Raises:
            ValueError: If it was saved with other chips, placement, store rule, gradient or seed.
        """
        check_identity(state["of"], self._identity)
        self.steps = state["steps"]
        self._set()

    def _drawn(self) -> int:
        # Draw number n depends on seed and n alone: going on after a stop needs no generator state.
        return int(np.random.default_rng([self.seed, self.steps]).integers(len(self.chips)))

    def _set(self) -> None:
        apply_sites_(self._slots, self._sites[self._drawn()], **self._options)


def identity(
    placement: Placement, members: Sequence[FaultMap], fault_map: FaultMap | None, store: Store, gradient: Gradient
) -> dict[str, Any]:
    """What a saved state belongs to, as JSON can hold it."""
    return {
        "fault map": None if fault_map is None else fault_map.digest,
        "chips": [m.digest for m in members],
        "placement": placement.digest,
        "store": store,
        "gradient": gradient,
    }


def check_identity(saved: dict[str, Any], own: dict[str, Any]) -> None:
    """Check that a saved state belongs to the strategy at hand.

    Raises:
        ValueError: If it does not.
    """
    for name, value in own.items():
        if saved.get(name) != value:
            raise ValueError(f"the state was saved with another {name}: {saved.get(name)!r}, but here it is {value!r}")
