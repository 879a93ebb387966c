"""What can be put around a strategy: a clean pass beside the faulty one, and clipped weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tremap_brevitas.model.faults import without_faults
from tremap_brevitas.model.slots import matching_slots
from tremap_brevitas.placement import Placement
from tremap_brevitas.retrain.strategies import Strategy


class _Around:
    """What stands around another strategy: one setting of its own, all else from inside."""

    def __init__(self, faults: Strategy, **setting: float) -> None:
        self.faults = faults
        ((self._name, self._value),) = setting.items()

    def passes(self) -> Iterator[float]:
        """The passes of the strategy inside."""
        return self.faults.passes()

    def step(self, loss: float | None = None) -> None:
        """Note that an optimizer step was taken."""
        self.faults.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to go on later."""
        return {self._name: self._value, "faults": self.faults.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: If it was saved with another setting or another strategy inside.
        """
        saved = state[self._name]
        if saved != self._value:
            raise ValueError(f"the state was saved with {self._name}={saved}, but here it is {self._value}")
        self.faults.load_state_dict(state["faults"])


class CleanAndFaulty(_Around):
    """Averages the gradients of the healthy and of the faulty network, as RandBET does (Stutz et al., MLSys 2021).

    A step costs two passes. Loop over ``passes()`` between ``zero_grad`` and ``step``; during the first pass the model has no
    faults, during the second those of the strategy inside.

    Args:
        model: The model to train.
        faults: The strategy whose faults the second pass has.
        clean: Share of the healthy network's gradient, between 0 and 1.

    Raises:
        ValueError: If ``clean`` is out of range.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> chips = tm.random_fault_maps(memory, chips=2, fault_rate=0.1, seed=0)
        >>> faults = tm.CleanAndFaulty(fc, tm.RandomMember(fc, tm.place(fc, memory), chips, seed=0))
        >>> for share in faults.passes():
        ...     (share * fc(torch.ones(1, 4)).square().sum()).backward()
        ...     print(share, fc.weight_quant.has_faults)
        0.5 False
        0.5 True
        >>> faults.step()
    """

    def __init__(self, model: nn.Module, faults: Strategy, *, clean: float = 0.5) -> None:
        if not 0 < clean < 1:
            raise ValueError(f"clean must lie between 0 and 1, got {clean}")
        super().__init__(faults, clean=clean)
        self.model, self.clean = model, clean

    def passes(self) -> Iterator[float]:
        """A healthy pass, then those of the strategy inside."""
        with without_faults(self.model):
            yield self.clean
        for share in self.faults.passes():
            yield (1 - self.clean) * share


class ClipWeights(_Around):
    """Clips the float weights after every step; what RandBET does to spread information over more weights.

    With smaller extremes the scale shrinks, so that a stuck bit, which is worth a number of LSB, moves a weight less.

    Args:
        model: The model to train.
        placement: Its layers are clipped.
        faults: The strategy inside.
        limit: Largest magnitude that a weight may have, in its own units.

    Raises:
        ValueError: If ``limit`` is not positive, or model and placement do not match.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> placement = tm.place(fc, memory)
        >>> chip, = tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> faults = tm.ClipWeights(fc, placement, tm.AllAtOnce(fc, placement, chip), limit=0.1)
        >>> faults.step()
        >>> round(fc.weight.abs().max().item(), 6)
        0.1
    """

    def __init__(self, model: nn.Module, placement: Placement, faults: Strategy, *, limit: float) -> None:
        if not limit > 0:
            raise ValueError(f"limit must be positive, got {limit}")
        super().__init__(faults, limit=limit)
        self.limit = limit
        self._weights = [entry.parameter for entry in matching_slots(model, placement).values() if not entry.is_bias]

    @torch.no_grad()
    def step(self, loss: float | None = None) -> None:
        """Clip the weights, and note that an optimizer step was taken."""
        for weight in self._weights:
            weight.clamp_(-self.limit, self.limit)
        self.faults.step(loss)
