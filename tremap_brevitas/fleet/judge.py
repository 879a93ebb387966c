"""Measuring one chip, here or on another machine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.fleet.certify import LayerDifference, with_differences
from tremap_brevitas.model import using_codes
from tremap_brevitas.model.modes import evaluation_mode
from tremap_brevitas.placement import MemoryImage, Placement

Accuracy = Callable[[nn.Module], float]

_networks: dict[str, nn.Module] = {}  # the one that this process has built, by its judge's token


class Judge:
    """Takes what a chip reads differently, returns the accuracy. Can be pickled if ``make`` and ``accuracy`` can.

    Args:
        model: The network.
        image: Its codes.
        accuracy: Measures it.
        make: Makes a network of the same layers elsewhere; None to measure ``model`` itself, in this process.
    """

    def __init__(
        self, model: nn.Module, image: MemoryImage, accuracy: Accuracy, *, make: Callable[[], nn.Module] | None
    ) -> None:
        self.accuracy, self.image = accuracy, image
        self._network: Callable[[], nn.Module] = (lambda: model) if make is None else _Elsewhere(model, make)

    def __call__(self, differences: Sequence[LayerDifference]) -> float:
        """Accuracy on a chip whose certificate says these."""
        codes = with_differences(self.image.codes, differences)
        return measured(self._network(), self.image.placement, codes, self.accuracy)


class _Elsewhere:
    """Builds the network in whichever process asks for it: once a process, not once a chip."""

    def __init__(self, model: nn.Module, make: Callable[[], nn.Module]) -> None:
        self.make = make
        self.state = {key: value.cpu() for key, value in model.state_dict().items()}
        # Copies of one judge share a network; an id would not do, since another judge may get it later.
        self.token = uuid.uuid4().hex

    def __call__(self) -> nn.Module:
        if self.token not in _networks:
            network = self.make()
            network.load_state_dict(self.state)
            _networks.clear()
            _networks[self.token] = network
        return _networks[self.token]


def measured(model: nn.Module, placement: Placement, codes: Mapping[str, NDArray[Any]], accuracy: Accuracy) -> float:
    """Accuracy of a network that computes with these codes."""
    with evaluation_mode(model), using_codes(model, placement, codes):
        return float(accuracy(model))
