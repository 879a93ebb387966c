"""Wrappers around a strategy: a healthy pass beside the faulty one, and clipped weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.prepare.strategy import LiveSlots, Strategy, check_state


class _Wrapper(Strategy):
    """Base class of a wrapper: adds its own settings and forwards everything else to the inner strategy."""

    def __init__(self, strategy: Strategy, **settings: Any) -> None:
        if not isinstance(strategy, Strategy):
            raise TypeError(f"strategy must be a Strategy, got {strategy!r}")
        self.strategy = strategy
        self.net, self.rule = strategy.net, strategy.rule
        self._identity = {"strategy": type(self).__name__, **settings}

    @property
    def steps(self) -> int:
        """Optimizer steps counted by the inner strategy."""
        return self.strategy.steps

    @property
    def done(self) -> bool:
        """Whether the inner strategy is done."""
        return self.strategy.done

    @property
    def fault_map(self) -> FaultMap:
        """Fault map of the inner strategy."""
        return self.strategy.fault_map

    def passes(self) -> Iterator[float]:
        """Return the passes of the inner strategy."""
        return self.strategy.passes()

    def step(self, loss: float | None = None) -> None:
        """Count an optimizer step."""
        self.strategy.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save, from which training can be resumed."""
        return {"of": self._identity, "strategy": self.strategy.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state.

        Raises:
            TypeError: If it is not such a state.
            ValueError: If it was saved with another setting or another strategy inside.
        """
        check_state(state, self._identity)
        self.strategy.load_state_dict(state.get("strategy"))  # type: ignore[arg-type]


class CleanAndFaulty(_Wrapper):
    """Averages the gradients of the healthy and of the faulty network, as RandBET does (Stutz et al., MLSys 2021).

    A step costs two passes. Loop over ``passes()`` between ``zero_grad`` and ``step``; during the first pass the model has no
    faults, during the second those of the strategy inside.

    Args:
        strategy: The strategy whose faults the second pass has.
        clean: Share of the healthy network's gradient, between 0 and 1.

    Raises:
        TypeError: If ``strategy`` is not a Strategy.
        ValueError: If ``clean`` is out of range.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> chips = tm.random_fault_maps(memory, chips=2, fault_rate=0.1, seed=0)
        >>> strategy = tm.prepare.CleanAndFaulty(tm.prepare.RandomMember(tm.place(fc, memory), chips, seed=0))
        >>> for share in strategy.passes():
        ...     (share * fc(torch.ones(1, 4)).square().sum()).backward()
        ...     print(share, fc.weight_quant.has_faults)
        0.5 False
        0.5 True
        >>> strategy.step()
    """

    def __init__(self, strategy: Strategy, *, clean: float = 0.5) -> None:
        if not 0 < clean < 1:
            raise ValueError(f"clean must lie between 0 and 1, got {clean}")
        super().__init__(strategy, clean=float(clean))
        self.clean = clean

    def passes(self) -> Iterator[float]:
        """Return a healthy pass, then the passes of the inner strategy."""
        with self.net.using(None):
            yield self.clean
        for share in self.strategy.passes():
            yield (1 - self.clean) * share


class ClipWeights(_Wrapper):
    """Clips the float weights after every step, as RandBET does to spread information over more weights.

    Smaller extremes make the scale smaller, so that a stuck bit, which changes a code by a fixed number of LSB, changes the
    weight less.

    Args:
        strategy: The inner strategy; the layers of its placement are clipped.
        limit: Largest magnitude that a weight may have, in its own units.

    Raises:
        TypeError: If ``strategy`` is not a Strategy.
        ValueError: If ``limit`` is not positive and finite.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> chip, = tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> strategy = tm.prepare.ClipWeights(tm.AllAtOnce(tm.place(fc, memory), chip), limit=0.1)
        >>> strategy.step()
        >>> round(fc.weight.abs().max().item(), 6)
        0.1
    """

    def __init__(self, strategy: Strategy, *, limit: float) -> None:
        if not 0 < limit < math.inf:
            raise ValueError(f"limit must be positive and finite, got {limit}")
        super().__init__(strategy, limit=float(limit))
        self.limit = limit
        self._layers = {layer.name for layer in self.net.placement.layers}
        self._slots = LiveSlots(self.net)

    @torch.no_grad()
    def step(self, loss: float | None = None) -> None:
        """Clip the weights and count an optimizer step."""
        for entry in self._slots():
            if entry.name in self._layers and not entry.is_bias:
                entry.parameter.clamp_(-self.limit, self.limit)
        self.strategy.step(loss)
