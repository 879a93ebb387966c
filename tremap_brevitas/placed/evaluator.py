"""Measuring one chip, here or on another machine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.certificate import LayerDifference, with_differences

Evaluate = Callable[[nn.Module], float]
"""A user's function that measures a model: takes it, in evaluation mode, and returns its accuracy.

Every function of the package that needs an accuracy takes such a one.
"""

OnChip = Callable[[nn.Module], AbstractContextManager[None]]
"""What is done to a model that computes as a chip does, while it is measured, and undone afterwards."""

_networks: dict[str, PlacedState] = {}  # the one that this process has built, by its evaluator's token


class Evaluator:
    """Takes what a chip reads differently, returns the accuracy. Can be pickled if ``make`` and ``accuracy`` can.

    Args:
        net: The network.
        image: Its codes.
        evaluate: Measures it.
        make: Makes a network of the same layers elsewhere; None to measure ``net`` itself, in this process.
        on_chip: What is done to the network on each chip while it is measured.
    """

    def __init__(
        self,
        net: PlacedState,
        image: MemoryImage,
        evaluate: Evaluate,
        *,
        make: Callable[[], nn.Module] | None,
        on_chip: OnChip | None = None,
    ) -> None:
        self.evaluate, self.image, self.on_chip = evaluate, image, on_chip
        self._network: Callable[[], PlacedState] = (lambda: net) if make is None else _Elsewhere(net, make)

    def __call__(self, differences: Sequence[LayerDifference]) -> float:
        """Accuracy on a chip whose certificate says these."""
        codes = with_differences(self.image.codes, differences)
        return measured(self._network(), codes, self.evaluate, on_chip=self.on_chip)


class _Elsewhere:
    """Builds the network in whichever process asks for it: once a process, not once a chip."""

    def __init__(self, net: PlacedState, make: Callable[[], nn.Module]) -> None:
        self.make, self.placement = make, net.placement
        self.state = {key: value.cpu() for key, value in net.model.state_dict().items()}
        # Copies of one evaluator share a network; an id would not do, since another evaluator may get it later.
        self.token = uuid.uuid4().hex

    def __call__(self) -> PlacedState:
        if self.token not in _networks:
            network = self.make()
            network.load_state_dict(self.state)
            _networks.clear()
            _networks[self.token] = PlacedState(network, self.placement)
        return _networks[self.token]


def measured(
    net: PlacedState, codes: Mapping[str, NDArray[Any]], evaluate: Evaluate, *, on_chip: OnChip | None = None
) -> float:
    """Accuracy of a network that computes with these codes."""
    with evaluation_mode(net.model), net.using_codes(codes), nullcontext() if on_chip is None else on_chip(net.model):
        return float(evaluate(net.model))
