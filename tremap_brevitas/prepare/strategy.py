"""The interface of all retraining strategies, and checks of their saved states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from operator import index
from typing import Any

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.placed.slots import WeightSlot, checked_slots


class Strategy(ABC):
    """Base class of all strategies, which decide which faults are live at which step.

    Training loops and ``retrain_until`` use only the members of this class.

    A strategy of your own is a subclass that sets ``net`` and ``rule``, and its first faults, when it is made. It has one pass
    a step and is done from the start, unless the subclass says otherwise.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> chip, = tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> strategy = tm.Ramp(tm.place(fc, memory), chip, over_steps=2)
        >>> while not strategy.done:
        ...     for share in strategy.passes():
        ...         (share * fc(fc.weight.new_ones(1, 4)).square().sum()).backward()
        ...     strategy.step()
        >>> strategy.steps
        2
    """

    net: PlacedModel
    rule: Rule
    _steps = 0

    @property
    def steps(self) -> int:
        """Number of optimizer steps counted so far."""
        return self._steps

    @property
    def done(self) -> bool:
        """Whether all faults are live; before that, the network is not yet trained for the full map."""
        return True

    @property
    @abstractmethod
    def fault_map(self) -> FaultMap:
        """The map that the network is trained under: a chip's, a group's merged one, or the one drawn for the next step."""

    def passes(self) -> Iterator[float]:
        """Forward and backward passes of the next step: the weight of each in the step's gradient."""
        yield 1.0

    @abstractmethod
    def step(self, loss: float | None = None) -> None:
        """Count an optimizer step and set the faults of the next step."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return the state to save: numbers and strings, which JSON and ``torch.save`` can store."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state, with the same live faults as when it was saved.

        Raises:
            TypeError: If it is not such a state.
            ValueError: If it was saved by a strategy with other settings. Nothing is changed then.
        """


class LiveSlots:
    """The weights of a model that can hold faults, searched again when a layer or its quantizer is replaced."""

    def __init__(self, net: PlacedModel) -> None:
        self._net = net
        self._slots = checked_slots(net.model, net.placement)

    @property
    def stale(self) -> bool:
        """Check whether a layer or its quantizer no longer belongs to the model."""
        return not all(map(self._is_live, self._slots))

    def __call__(self) -> list[WeightSlot]:
        """Return all weights that can hold faults.

        Raises:
            ValueError: If a layer of the placement is gone or no longer matches.
        """
        if self.stale:
            self._slots = checked_slots(self._net.model, self._net.placement)
        return self._slots

    def _is_live(self, entry: WeightSlot) -> bool:
        try:
            module = self._net.model.get_submodule(entry.name.rpartition(".")[0] if entry.is_bias else entry.name)
        except AttributeError:
            return False
        proxy = getattr(module, "bias_quant" if entry.is_bias else "weight_quant", None)
        return module is entry.module and proxy is entry.proxy


def identity(strategy: Strategy, members: Sequence[FaultMap], fault_map: FaultMap | None, **more: Any) -> dict[str, Any]:
    """Return what identifies the owner of a saved state, in a form that JSON can store."""
    return {
        "strategy": type(strategy).__name__,
        "fault map": None if fault_map is None else fault_map.digest,
        "chips": [m.digest for m in members],
        "placement": strategy.net.placement.digest,
        **asdict(strategy.rule),
        **more,
    }


def check_net(net: Any) -> PlacedModel:
    """Return the placed model given to a strategy, or raise an error if it is something else.

    Raises:
        TypeError: If it is something else, such as the model itself.
    """
    if not isinstance(net, PlacedModel):
        raise TypeError(f"net must be a PlacedModel, which tm.place makes, got {type(net).__name__}")
    return net


def check_state(state: Any, own: Mapping[str, Any]) -> None:
    """Check that a saved state belongs to this strategy.

    Raises:
        TypeError: If it is not the state of a strategy.
        ValueError: If it belongs to another.
    """
    if not isinstance(state, Mapping) or not isinstance(state.get("of"), Mapping):
        raise TypeError(f"expected the result of {own['strategy']}.state_dict(), got {state!r:.200}")
    saved = state["of"]
    for name, value in own.items():
        if name not in saved:
            raise ValueError(f"the state was saved without its {name}, maybe by an older version, but here it is {value!r}")
        if saved[name] != value:
            raise ValueError(f"the state was saved with another {name}: {saved[name]!r}, but here it is {value!r}")
    for name in saved:
        if name not in own:
            raise ValueError(f"the state was saved with {name}: {saved[name]!r}, which this strategy does not have")


def saved_count(state: Mapping[str, Any], name: str) -> int:
    """Return the number of steps in a saved state.

    Raises:
        TypeError: If it holds no such number.
    """
    count = state.get(name)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise TypeError(f"the state's {name!r} must be a number of steps, got {count!r}")
    return count


def as_seed(seed: Any) -> int:
    """Return a seed as a plain integer; None is refused because it would give another result each time.

    Raises:
        TypeError: If it is not an integer.
    """
    try:
        return index(seed)
    except TypeError:
        raise TypeError(f"seed must be an integer, got {seed!r}") from None
