"""Measure the accuracy of one chip, in this process or another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.placed.elsewhere import Elsewhere
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.certificate import LayerDifference, with_differences

Evaluate = Callable[[nn.Module], float]
"""A user's function that takes a model, in evaluation mode, and returns its accuracy.

Every function of the package that needs an accuracy takes one of these.
"""

OnChip = Callable[[nn.Module], AbstractContextManager[None]]
"""A function that changes a model, which computes as one chip does, during its measurement, and then undoes the change."""


class Evaluator:
    """Measures the accuracy of a chip from its code differences. Can be pickled if ``make`` and ``accuracy`` can.

    Args:
        net: The network.
        image: Its codes.
        evaluate: The function that measures it.
        make: Makes a network of the same layers in another process; None to measure ``net`` itself, in this process.
        on_chip: Changes the network on each chip during the measurement.
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
        self._network: Callable[[], PlacedState] = (lambda: net) if make is None else Elsewhere(net, make)

    def __call__(self, differences: Sequence[LayerDifference]) -> float:
        """Return the accuracy on a chip whose certificate lists these differences."""
        codes = with_differences(self.image.codes, differences)
        return measure_with_codes(self._network(), codes, self.evaluate, on_chip=self.on_chip)


def measure_with_codes(
    net: PlacedState, codes: Mapping[str, NDArray[Any]], evaluate: Evaluate, *, on_chip: OnChip | None = None
) -> float:
    """Return the accuracy of a network that computes with these codes."""
    with evaluation_mode(net.model), net.using_codes(codes), nullcontext() if on_chip is None else on_chip(net.model):
        return float(evaluate(net.model))
