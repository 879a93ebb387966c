"""Rebuild a network in another process."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from torch import nn

from tremap_brevitas.placed.state import PlacedState

_networks: dict[str, PlacedState] = {}  # the network built in this process, by the token of its Elsewhere object


class Elsewhere:
    """Builds a network in a worker process: once per process, not once per job.

    A Brevitas model cannot be pickled; its state can.

    Args:
        net: The network.
        make: Makes a model of the same layers; must be picklable.
    """

    def __init__(self, net: PlacedState, make: Callable[[], nn.Module]) -> None:
        self.make, self.placement, self.rule = make, net.placement, net.rule_or_default(None)
        self.state = {key: value.cpu() for key, value in net.model.state_dict().items()}
        # Copies of one object share a network. An id() would not do, since another object may get the same id later.
        self.token = uuid.uuid4().hex

    def __call__(self) -> PlacedState:
        """Return the network in a healthy memory; do not modify it, since later jobs get the same one."""
        if self.token not in _networks:
            model = self.make()
            model.load_state_dict(self.state)
            _networks.clear()
            _networks[self.token] = PlacedState(model, self.placement, rule=self.rule)
        return _networks[self.token]
