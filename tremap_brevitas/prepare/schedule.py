"""When a ramp rises: by step, by epoch, or when the loss has recovered."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from operator import index
from typing import Any, Protocol


@dataclass(frozen=True)
class RampState:
    """Where a ramp stands: all that a schedule knows, and all that is saved.

    Attributes:
        step: Steps taken.
        fraction: Share of the faults that is live.
        stage_step: Step at which the fraction last rose.
        loss: Running mean of the loss since then; None before the first.
        reference: Loss that counts as healthy; None until known.
    """

    step: int = 0
    fraction: float = 0.0
    stage_step: int = 0
    loss: float | None = None
    reference: float | None = None

    @classmethod
    def loaded(cls, state: Any) -> RampState:
        """Take what ``dataclasses.asdict`` made of one.

        Raises:
            TypeError: If it is anything else.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(state, Mapping) or set(state) != names:
            raise TypeError(f"the state of a ramp must hold {', '.join(sorted(names))}, got {state!r:.200}")
        counts, numbers = (state["step"], state["stage_step"]), (state["fraction"], state["loss"], state["reference"])
        if not (
            all(isinstance(n, int) and not isinstance(n, bool) for n in counts)
            and 0 <= state["stage_step"] <= state["step"]
            and all(_is_number(n) for n in numbers if n is not None)
            and state["fraction"] is not None
            and 0 <= state["fraction"] <= 1
        ):
            raise TypeError(f"the state of a ramp holds what no ramp saves: {dict(state)!r}")
        return cls(**state)


class Schedule(Protocol):
    """Says which share of the faults is live."""

    needs_loss: bool

    def fraction(self, state: RampState) -> float:
        """Share of the faults, 0 to 1, after ``state.step`` steps; never below ``state.fraction``."""
        ...


@dataclass(frozen=True)
class ByStep:
    """Rise with every step, linearly, from ``start`` to the whole map after ``steps`` steps.

    Args:
        steps: Steps to the whole map, at least 1.
        start: Share that is live before the first step, 0 to 1.

    Examples:
        >>> [ByStep(steps=4).fraction(RampState(step=n)) for n in range(6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    steps: int
    start: float = 0.0
    needs_loss = False

    def __post_init__(self) -> None:
        _positive("steps", self.steps)
        _share("start", self.start)

    def fraction(self, state: RampState) -> float:
        """Share of the faults after ``state.step`` steps."""
        return self.start + (1 - self.start) * min(1.0, state.step / self.steps)


@dataclass(frozen=True)
class ByEpoch:
    """Rise at the end of each epoch, by equal parts, to the whole map after ``epochs`` epochs.

    Args:
        epochs: Epochs to the whole map, at least 1.
        steps_per_epoch: Calls of ``step()`` in an epoch: 1 if it is called once an epoch.
        start: Share that is live in the first epoch, 0 to 1.

    Examples:
        >>> [ByEpoch(epochs=2, steps_per_epoch=3).fraction(RampState(step=n)) for n in range(7)]
        [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 1.0]
    """

    epochs: int
    steps_per_epoch: int
    start: float = 0.0
    needs_loss = False

    def __post_init__(self) -> None:
        _positive("epochs", self.epochs)
        _positive("steps_per_epoch", self.steps_per_epoch)
        _share("start", self.start)

    def fraction(self, state: RampState) -> float:
        """Share of the faults after ``state.step`` steps."""
        done = state.step // self.steps_per_epoch
        return self.start + (1 - self.start) * min(1.0, done / self.epochs)


@dataclass(frozen=True)
class OnRecovery:
    """Rise to the next stage when the loss has come back to what it was before the faults.

    The reference is the mean loss of the first ``window`` steps, which run without faults, unless it is given. A stage
    lasts at least ``window`` steps and at most ``patience``: then the next one begins anyway, so that a ramp always ends.

    Args:
        stages: Number of equal stages to the whole map, at least 1.
        tolerance: How far above the reference the loss may still be, as a share of the reference's magnitude.
        window: Steps over which the loss is averaged, at least 1.
        patience: Longest a stage may last, in steps.
        reference: Loss that counts as healthy; None to measure it.
    """

    stages: int = 8
    tolerance: float = 0.1
    window: int = 10
    patience: int = 100
    reference: float | None = None
    needs_loss = True

    def __post_init__(self) -> None:
        _positive("stages", self.stages)
        _positive("window", self.window)
        _positive("patience", self.patience)
        if self.patience < self.window:
            raise ValueError(f"patience must be at least window ({self.window}), got {self.patience}")
        if not _is_number(self.tolerance) or self.tolerance < 0:
            raise ValueError(f"tolerance must be finite and not negative, got {self.tolerance}")
        if self.reference is not None and not _is_number(self.reference):
            raise ValueError(f"reference must be a finite number or None, got {self.reference}")

    def fraction(self, state: RampState) -> float:
        """Share of the faults after ``state.step`` steps."""
        waited = state.step - state.stage_step
        if waited < self.window or state.loss is None or state.reference is None:
            return state.fraction
        recovered = state.loss <= state.reference + self.tolerance * abs(state.reference)
        if not recovered and waited < self.patience:
            return state.fraction
        return min(1.0, (math.floor(state.fraction * self.stages + 1e-9) + 1) / self.stages)


def described(schedule: Schedule) -> dict[str, Any]:
    """Kind and settings of a schedule, as JSON can hold them. Of one that is no dataclass the kind alone is known."""
    settings: dict[str, Any] = dataclasses.asdict(schedule) if dataclasses.is_dataclass(schedule) else {}
    plain = {k: v if v is None or isinstance(v, (bool, int, float, str)) else repr(v) for k, v in settings.items()}
    return {"schedule": type(schedule).__name__, **plain}


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _positive(name: str, value: int) -> None:
    try:
        index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def _share(name: str, value: float) -> None:
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}")
