"""Measuring one chip, here or on another machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import nn

from tremap_brevitas.placed.elsewhere import Elsewhere
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.certificate import LayerDifference, with_differences

Evaluate = Callable[[nn.Module], float]
"""A user's function that measures a model: takes it, in evaluation mode, and returns its accuracy.

Every function of the package that needs an accuracy takes such a one.
"""


class Evaluator:
    """Takes what a chip reads differently, returns the accuracy. Can be pickled if ``make`` and ``accuracy`` can.

    Args:
        net: The network.
        image: Its codes.
        evaluate: Measures it.
        make: Makes a network of the same layers elsewhere; None to measure ``net`` itself, in this process.
    """

    def __init__(
        self, net: PlacedState, image: MemoryImage, evaluate: Evaluate, *, make: Callable[[], nn.Module] | None
    ) -> None:
        self.evaluate, self.image = evaluate, image
        self._network: Callable[[], PlacedState] = (lambda: net) if make is None else Elsewhere(net, make)

    def __call__(self, differences: Sequence[LayerDifference]) -> float:
        """Accuracy on a chip whose certificate says these."""
        codes = with_differences(self.image.codes, differences)
        return measured(self._network(), codes, self.evaluate)


def measured(net: PlacedState, codes: Mapping[str, NDArray[Any]], evaluate: Evaluate) -> float:
    """Accuracy of a network that computes with these codes."""
    with evaluation_mode(net.model), net.using_codes(codes):
        return float(evaluate(net.model))
