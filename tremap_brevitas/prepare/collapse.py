"""Detect that training has collapsed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from operator import index
from typing import Any

from tremap_brevitas.printable import counted


class CollapseError(RuntimeError):
    """Raised when training has collapsed: the network no longer learns and will not recover.

    Attributes:
        step: Step at which it was noticed.
        loss: Median loss then.
        limit: Loss above which a network counts as collapsed.
    """

    def __init__(self, message: str, *, step: int, loss: float, limit: float) -> None:
        super().__init__(message)
        self.step, self.loss, self.limit = step, loss, limit

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle calls an error with its message alone.
        return type(self).__new__, (type(self), *self.args), self.__dict__


class CollapseDetector:
    """Raises an error when the loss is NaN or infinite, or stays above a limit.

    Call ``update`` with the loss of every step, whatever the strategy. Many faults that become live at once can disturb a
    network so much that training never recovers ("training divergence" in TRE-Map). The sign is a loss at the level of
    guessing, which for ``n`` balanced classes and cross-entropy is ``log(n)``.

    Args:
        limit: Loss that counts as collapsed. The loss of a network that guesses varies around ``log(n)``; take a little less,
            such as ``0.95 * math.log(10)``.
        patience: Number of steps whose median loss must lie above the limit; a single high loss does no harm.

    Raises:
        TypeError: If ``patience`` is not an integer.
        ValueError: If the limit is not finite, or ``patience`` is below 1.

    Examples:
        >>> detector = CollapseDetector(limit=2.3, patience=3)
        >>> for loss in (0.4, 50.0, 0.5, 0.6, 2.6):
        ...     detector.update(loss)
        >>> detector.update(2.4)
        Traceback (most recent call last):
        tremap_brevitas.prepare.collapse.CollapseError: training collapsed at step 6: median loss 2.4 of 3 steps, above 2.3
    """

    def __init__(self, *, limit: float, patience: int = 20) -> None:
        if index(patience) < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        if not math.isfinite(limit):
            raise ValueError(f"limit must be finite, got {limit}")
        self.limit, self.patience = float(limit), index(patience)
        self.step = 0
        self._recent: list[float] = []

    def update(self, loss: float, *, what: str = "training") -> None:
        """Record the loss of one step.

        Raises:
            TypeError: If the loss is not a number.
            CollapseError: If training has collapsed.
        """
        loss = as_loss(loss)
        self.step += 1
        if not math.isfinite(loss):
            raise CollapseError(
                f"{what} collapsed at step {self.step}: the loss is {loss}",
                step=self.step,
                loss=loss,
                limit=self.limit,
            )
        self._recent = [*self._recent, loss][-self.patience :]
        median = statistics.median(self._recent)
        if len(self._recent) == self.patience and median > self.limit:
            raise CollapseError(
                f"{what} collapsed at step {self.step}: median loss {median:.3g} of {counted(self.patience, 'step')}, above "
                f"{self.limit:.3g}",
                step=self.step,
                loss=median,
                limit=self.limit,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state to save, from which detection can be resumed."""
        return {"limit": self.limit, "patience": self.patience, "step": self.step, "recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state that [state_dict][tremap_brevitas.prepare.CollapseDetector.state_dict] returned.

        Raises:
            TypeError: If it is not such a state.
            ValueError: If it was saved with another limit or patience.
        """
        own = self.state_dict()
        if not isinstance(state, Mapping) or not own.keys() <= state.keys():
            raise TypeError(f"expected the result of CollapseDetector.state_dict(), got {state!r:.200}")
        for name in ("limit", "patience"):
            if state[name] != own[name]:
                raise ValueError(f"the state was saved with another {name}: {state[name]!r}, but here it is {own[name]!r}")
        step, recent = index(state["step"]), [as_loss(loss) for loss in state["recent"]]
        self.step, self._recent = step, recent


def as_loss(loss: Any) -> float:
    """Return a loss as a float; a tensor or array with one element is accepted.

    Raises:
        TypeError: If it is anything else.
    """
    if not isinstance(loss, str):
        try:
            return float(loss.item() if hasattr(loss, "item") else loss)
        except (TypeError, ValueError, RuntimeError):
            pass
    raise TypeError(f"the loss must be one number, got {loss!r}")
