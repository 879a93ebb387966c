"""Measuring one chip, here or on another machine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.fleet.certify import Deployment, certificate
from tremap_brevitas.model import using_codes
from tremap_brevitas.model.modes import evaluation_mode
from tremap_brevitas.placement import MemoryImage, Placement

_networks: dict[str, nn.Module] = {}  # the one that this process has built, by its judge's token


class Judge:
    """Takes a chip, returns the network's accuracy on it. Can be pickled if ``make`` and ``accuracy`` can.

    Args:
        model: The network.
        image: Its codes.
        accuracy: Measures it.
        deployment: How the codes are written to a chip.
        make: Makes a network of the same layers elsewhere; None to measure ``model`` itself, in this process.
    """

    def __init__(
        self,
        model: nn.Module,
        image: MemoryImage,
        accuracy: Callable[[nn.Module], float],
        deployment: Deployment,
        make: Callable[[], nn.Module] | None,
    ) -> None:
        self.model = model if make is None else None
        self.accuracy, self.deployment, self.make = accuracy, deployment, make
        # Copies of one judge share a network; an id would not do, since another judge may get it later.
        self.token = uuid.uuid4().hex
        self.placement: Placement = image.placement
        self.codes: dict[str, NDArray[Any]] = dict(image.codes)
        self.state: Mapping[str, torch.Tensor] = {} if make is None else {k: v.cpu() for k, v in model.state_dict().items()}

    def __call__(self, chip: FaultMap) -> float:
        """Accuracy on one chip."""
        image = MemoryImage(self.placement, self.codes)
        read = certificate(image, chip, deployment=self.deployment).read()
        return self.measured(read)

    def measured(self, codes: Mapping[str, NDArray[np.integer[Any]]]) -> float:
        """Accuracy with these codes."""
        model = self._network()
        with evaluation_mode(model), using_codes(model, self.placement, codes):
            return float(self.accuracy(model))

    def _network(self) -> nn.Module:
        if self.model is not None:
            return self.model
        if self.token not in _networks:  # one network a process, not one a chip
            assert self.make is not None
            network = self.make()
            network.load_state_dict(self.state)
            _networks.clear()
            _networks[self.token] = network
        return _networks[self.token]
