"""Noticing that a training has collapsed, and saying so."""

from __future__ import annotations

import math
import statistics
from typing import Any


class CollapseError(RuntimeError):
    """Training has collapsed under its faults: the network has stopped learning and will not come back by itself.

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
    """Raises when the loss is not a number, or stays above a limit.

    TRE-Map names the danger ("training divergence"): many faults that enter at once can throw a network so far that
    training never recovers. A loss at the level of guessing is the sign; for ``n`` balanced classes and cross-entropy
    that is ``log(n)``.

    Args:
        limit: Loss that counts as collapsed. A network that guesses hovers around ``log(n)``, so take a little less, such as
            ``0.95 * math.log(10)``.
        patience: The median of so many losses must lie above the limit; single spikes do no harm.

    Examples:
        >>> detector = CollapseDetector(limit=2.3, patience=3)
        >>> for loss in (0.4, 50.0, 0.5, 0.6, 2.6):
        ...     detector.update(loss)
        >>> detector.update(2.4)
        Traceback (most recent call last):
        tremap_brevitas.retrain.collapse.CollapseError: training collapsed at step 6: median loss 2.4 of 3 steps, above 2.3
    """

    def __init__(self, *, limit: float, patience: int = 20) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        self.limit, self.patience = limit, patience
        self.step = 0
        self._recent: list[float] = []

    def update(self, loss: float, *, what: str = "training") -> None:
        """Take note of one step's loss.

        Raises:
            CollapseError: If training has collapsed.
        """
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
                f"{what} collapsed at step {self.step}: median loss {median:.3g} of {self.patience} steps, above "
                f"{self.limit:.3g}",
                step=self.step,
                loss=median,
                limit=self.limit,
            )

    def state_dict(self) -> dict[str, object]:
        """What must be saved to go on later."""
        return {"step": self.step, "recent": list(self._recent)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from what [state_dict][tremap_brevitas.CollapseDetector.state_dict] returned."""
        self.step = int(state["step"])  # type: ignore[call-overload]
        self._recent = list(state["recent"])  # type: ignore[call-overload]
