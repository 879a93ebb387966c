"""What every retraining strategy promises, and what its saved state must say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from operator import index
from typing import Any

from torch import nn

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.model.slots import WeightSlot, checked_slots
from tremap_brevitas.placement import Placement
from tremap_brevitas.proxy.weight_faults import Gradient, Store


class Strategy(ABC):
    """Which faults are live at which step. All that training loops and ``retrain_until`` use of a strategy stands here.

    A strategy of your own is a subclass that sets its first faults when it is made. One pass a step is the rule, and a strategy
    is done from the start, unless the subclass says otherwise.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> chip, = tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> faults = tm.Ramp(fc, tm.place(fc, memory), chip, over_steps=2)
        >>> while not faults.done:
        ...     for share in faults.passes():
        ...         (share * fc(fc.weight.new_ones(1, 4)).square().sum()).backward()
        ...     faults.step()
        >>> faults.steps
        2
    """

    _steps = 0

    @property
    def steps(self) -> int:
        """Optimizer steps that were noted."""
        return self._steps

    @property
    def done(self) -> bool:
        """Whether all faults have entered; before, the network is not yet the one that is asked for."""
        return True

    @property
    @abstractmethod
    def fault_map(self) -> FaultMap:
        """The map that the network is trained under: a chip's, a group's merged one, or the one drawn for the step to come."""

    def passes(self) -> Iterator[float]:
        """Forward and backward passes of the step to come: the share of each in the step's gradient."""
        yield 1.0

    @abstractmethod
    def step(self, loss: float | None = None) -> None:
        """Note that an optimizer step was taken, and set the faults of the step to come."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What must be saved to go on later: plain numbers and strings, which JSON and ``torch.save`` can hold."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, with the same faults live as when it was saved.

        Raises:
            TypeError: If it is no such state.
            ValueError: If it was saved by a strategy that was made otherwise. Nothing is changed then.
        """


class LiveSlots:
    """The weights of a model that can hold faults, found anew when a layer or its quantizer was replaced meanwhile."""

    def __init__(self, model: nn.Module, placement: Placement) -> None:
        self.model, self.placement = model, placement
        self._slots = checked_slots(model, placement)

    @property
    def stale(self) -> bool:
        """Whether a layer or its quantizer is no longer the model's."""
        return not all(map(self._is_live, self._slots))

    def __call__(self) -> list[WeightSlot]:
        """All of them.

        Raises:
            ValueError: If a layer of the placement is gone or no longer matches.
        """
        if self.stale:
            self._slots = checked_slots(self.model, self.placement)
        return self._slots

    def _is_live(self, entry: WeightSlot) -> bool:
        try:
            module = self.model.get_submodule(entry.name.rpartition(".")[0] if entry.is_bias else entry.name)
        except AttributeError:
            return False
        proxy = getattr(module, "bias_quant" if entry.is_bias else "weight_quant", None)
        return module is entry.module and proxy is entry.proxy


def identity(
    strategy: Strategy,
    placement: Placement,
    members: Sequence[FaultMap],
    fault_map: FaultMap | None,
    store: Store,
    gradient: Gradient,
    **more: Any,
) -> dict[str, Any]:
    """What a saved state belongs to, as JSON can hold it."""
    return {
        "strategy": type(strategy).__name__,
        "fault map": None if fault_map is None else fault_map.digest,
        "chips": [m.digest for m in members],
        "placement": placement.digest,
        "store": store,
        "gradient": gradient,
        **more,
    }


def check_state(state: Any, own: Mapping[str, Any]) -> None:
    """Check that a saved state belongs to the strategy at hand.

    Raises:
        TypeError: If it is no state of a strategy.
        ValueError: If it belongs to another.
    """
    if not isinstance(state, Mapping) or not isinstance(state.get("of"), Mapping):
        raise TypeError(f"expected what {own['strategy']}.state_dict() returned, got {state!r:.200}")
    saved = state["of"]
    for name, value in own.items():
        if name not in saved:
            raise ValueError(f"the state was saved without its {name}, maybe by an older version, but here it is {value!r}")
        if saved[name] != value:
            raise ValueError(f"the state was saved with another {name}: {saved[name]!r}, but here it is {value!r}")


def saved_count(state: Mapping[str, Any], name: str) -> int:
    """A number of steps in a saved state.

    Raises:
        TypeError: If it is none.
    """
    found = state.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise TypeError(f"the state's {name!r} must be a number of steps, got {found!r}")
    return found


def as_seed(seed: Any) -> int:
    """A seed as a plain integer; None would be another draw each time.

    Raises:
        TypeError: If it is none.
    """
    try:
        return index(seed)
    except TypeError:
        raise TypeError(f"seed must be an integer, got {seed!r}") from None
