"""The faults that a model computes with at present."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.placement import Placement


@dataclass(frozen=True, eq=False)
class Live:
    """A marker carried by the faults of every weight, which reveals changes made without the placed model.

    Args:
        placement: Where the codes lie.
        rule: How codes are stored.
        find: Returns the map; a ramp makes it only on request.
        read_by: Chip that reads an image made for its whole group; None if the network reads its own image.
        fixed: Whether the codes are given, and do not depend on the float weights.
        layers: Names of the layers that have faults.
    """

    placement: Placement
    rule: Rule
    find: Callable[[], FaultMap | None] = lambda: None
    read_by: str | None = None
    fixed: bool = False
    layers: frozenset[str] = field(default=frozenset())

    @property
    def fault_map(self) -> FaultMap | None:
        """The stuck cells; None for a healthy memory or given codes."""
        return self.find()

    def __deepcopy__(self, memo: dict[int, Any]) -> Live:
        # A frozen value. The copy of a placed model must find this very record in the copies of its weights' faults.
        return self
