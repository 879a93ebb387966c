"""Accuracy as a function of the error of the codes and of retraining steps: measured once, used for every chip."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from tremap_brevitas.archive import load_json, save_json
from tremap_brevitas.printable import counted

KIND = "tremap resilience curve"
SCHEMA = 2  # 1 knew errors of codes alone, and still holds those
ErrorOf = Literal["codes", "outputs", "compensated outputs"]
DECIMALS = 9  # of an error


@dataclass(frozen=True)
class Point:
    """One measurement of a resilience curve.

    Attributes:
        error: Error before any retraining: of the codes, such as a certificate's ``relative_error``, or of the layers' outputs,
            such as a compensation report's ``error``; at least 0.
        accuracy: Accuracy after it.
        steps: Steps of retraining under the faults that cause the error; 0 for none.
    """

    error: float
    accuracy: float
    steps: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.error < math.inf or not math.isfinite(self.accuracy) or self.steps < 0:
            raise ValueError(f"a point needs a finite error >= 0, a finite accuracy and steps >= 0, got {self}")


class ResilienceCurve:
    """Accuracy of one network against the error of its codes, for each measured budget of retraining steps.

    The error follows from codes and faults alone, so that a chip or group is assessed without running a network. For each
    budget a curve is fitted that never rises with the error (isotonic regression), linear between the points. More steps never
    predict less. The idea of a resilience map over fault rate and retraining amount is that of Reduce (arXiv 2305.12595) and
    eFAT (arXiv 2304.12949); the scale used here, the error after nearest-code writing, is this project's own.

    Args:
        points: Measurements, at least two without retraining; the more, and the more even over the errors, the better.
        name: Name of what was measured.
        error_of: Kind of the errors: ``"codes"``, as certificates have them; ``"outputs"`` of the layers, as
            [output_error][tremap_brevitas.planning.output_error] and patches have them; or ``"compensated outputs"``, as
            compensation reports have them: without the part that a BatchNorm or a bias absorbs. One
            curve holds one kind, for chips that are all prepared in the same way.

    Raises:
        ValueError: If there are fewer than two points without retraining, or ``error_of`` is unknown.

    Examples:
        >>> curve = ResilienceCurve([Point(0, 0.9), Point(0.2, 0.8), Point(0.4, 0.5), Point(0.4, 0.8, steps=100)])
        >>> round(curve.predict(0.3), 3), round(curve.largest_error(0.7), 3)
        (0.65, 0.267)
        >>> curve.steps_for(0.4, 0.5), curve.steps_for(0.4, 0.7), curve.steps_for(0.4, 0.95)
        (0, 67, None)
    """

    def __init__(self, points: Iterable[Point], *, name: str = "", error_of: ErrorOf = "codes") -> None:
        if error_of not in get_args(ErrorOf):
            raise ValueError(f"error_of must be one of {', '.join(get_args(ErrorOf))}, got {error_of!r}")
        self.error_of: ErrorOf = error_of
        self.points = tuple(sorted(points, key=lambda p: (p.steps, p.error, -p.accuracy)))
        self.name = name
        if sum(p.steps == 0 for p in self.points) < 2:
            raise ValueError("a resilience curve needs at least two points without retraining (steps=0)")

    @property
    def budgets(self) -> tuple[int, ...]:
        """Measured numbers of steps, ascending."""
        return tuple(sorted({p.steps for p in self.points}))

    def predict(self, error: float, *, steps: int = 0) -> float:
        """Predict the accuracy. Beyond the largest measured error the prediction is constant; see ``covers``.

        Args:
            error: Error of the codes before retraining.
            steps: Steps of retraining; between two budgets, linear in them.

        Raises:
            ValueError: If an argument is negative.
        """
        if not error >= 0 or steps < 0:
            raise ValueError(f"error and steps must not be negative, got {error} and {steps}")
        budgets = self.budgets
        values = np.maximum.accumulate([_read(self._fits[budget], error) for budget in budgets])
        return float(np.interp(steps, budgets, values))

    def predict_untrained(self, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predict the accuracy without retraining, for many errors at once."""
        return np.interp(errors, *self._fits[0])

    @cached_property
    def largest_untrained(self) -> float:
        """Largest error that was measured without retraining."""
        return self._measured(0)

    def covers(self, error: float, *, steps: int = 0) -> bool:
        """Check whether the measurements with the largest budget up to ``steps`` include an error this large."""
        return error <= self._measured(steps)

    def largest_error(self, goal: float, *, steps: int = 0) -> float:
        """Return the largest error, among those measured, at which the predicted accuracy reaches a goal.

        Beyond it, accuracy may drop sharply: ResNet-20 falls from 83 to 50 % between the relative errors 3.7 and 6
        (groups of ten and of twenty chips at 2e-2 in docs/study_retraining.md).

        Raises:
            ValueError: If not even codes without error reach it.
        """
        if not self.predict(0.0, steps=steps) >= goal:  # also if the goal is NaN
            raise ValueError(f"the goal {goal} is above {self.predict(0.0, steps=steps):.4f}, the accuracy without any error")
        top = self._measured(steps)
        if self.predict(top, steps=steps) >= goal:
            return top
        low, high = 0.0, top
        while high - low > 1e-9 * top:
            middle = (low + high) / 2
            low, high = (middle, high) if self.predict(middle, steps=steps) >= goal else (low, middle)
        return low

    def steps_for(self, error: float, goal: float) -> int | None:
        """Return the fewest steps predicted to reach a goal; None if no budget that covers the error is enough."""
        budgets = self.budgets
        if self.predict(error) >= goal and self.covers(error):
            return 0
        for low, high in itertools.pairwise(budgets):
            below, above = self.predict(error, steps=low), self.predict(error, steps=high)
            if above >= goal and self.covers(error, steps=high):
                if below >= goal or not self.covers(error, steps=low):
                    return high
                return math.ceil(low + (high - low) * (goal - below) / (above - below) - 1e-9)
        return None

    @cached_property
    def spread(self) -> float:
        """Half width of the band that holds 90 % of the untrained points, each predicted from all the others."""
        residuals = self.residuals(0)
        return float(np.quantile(np.abs(residuals), 0.9))

    def residuals(self, steps: int) -> NDArray[np.float64]:
        """Return measured minus predicted accuracy of each point of one budget, predicted from all other points.

        Raises:
            ValueError: If fewer than three points have that budget.
        """
        points = [p for p in self.points if p.steps == steps]
        if len(points) < 3:
            raise ValueError(f"{counted(len(points), 'point')} with {counted(steps, 'step')}: too few to leave one out")
        return np.array(
            [p.accuracy - _read(_fit([q for j, q in enumerate(points) if j != i]), p.error) for i, p in enumerate(points)]
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the points to a JSON file, atomically."""
        # A curve over codes is written as before, so that older versions can read it; they must not mistake the other kind for
        # it.
        about = {"schema": 1} if self.error_of == "codes" else {"schema": SCHEMA, "error_of": self.error_of}
        content = {"kind": KIND, **about, "name": self.name, "points": [asdict(p) for p in self.points]}
        return save_json(path, content, indent=1)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ResilienceCurve:
        """Read a curve that [save][tremap_brevitas.planning.ResilienceCurve.save] wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not a resilience curve, is damaged, or has a newer schema.
        """
        return load_json(path, _loaded, what=f"a {KIND}", content=_Content)

    def __repr__(self) -> str:
        of = "" if self.error_of == "codes" else f", over errors of {self.error_of}"
        return f"ResilienceCurve({self.name!r}, {len(self.points)} points, budgets {', '.join(map(str, self.budgets))}{of})"

    def _measured(self, steps: int) -> float:
        """Return the largest error measured with the largest budget up to ``steps``."""
        budget = max(b for b in self.budgets if b <= steps)
        return max(p.error for p in self.points if p.steps == budget)

    @cached_property
    def _fits(self) -> dict[int, _Fit]:
        return {budget: _fit([p for p in self.points if p.steps == budget]) for budget in self.budgets}


class _Point(msgspec.Struct, forbid_unknown_fields=True):
    error: float
    accuracy: float
    steps: int = 0


class _Content(msgspec.Struct):
    """Content of a curve's file."""

    kind: str
    schema: int
    name: str
    points: list[_Point]
    error_of: ErrorOf | None = None


def _loaded(content: _Content) -> ResilienceCurve:
    if content.kind != KIND:
        raise ValueError(f"it is a {content.kind!r}")
    if not 1 <= content.schema <= SCHEMA:
        raise ValueError(f"its schema is {content.schema}, but this version reads 1 to {SCHEMA} only")
    if (content.error_of is None) != (content.schema == 1):
        raise ValueError(f"its schema is {content.schema}, its error_of {content.error_of!r}")
    points = [Point(**msgspec.structs.asdict(point)) for point in content.points]
    return ResilienceCurve(points, name=content.name, error_of=content.error_of or "codes")


_Fit = tuple[NDArray[np.float64], NDArray[np.float64]]


def _fit(points: Sequence[Point]) -> _Fit:
    """Fit a line that never rises; return errors and accuracies of its corners, one for each level section."""
    # Points of one error, but for rounding, are one point: between two that near each other a line would have no slope.
    errors, place, sizes = np.unique(np.round([p.error for p in points], DECIMALS), return_inverse=True, return_counts=True)
    accuracies = np.bincount(place, weights=[p.accuracy for p in points]) / sizes
    fit: Any = isotonic_regression(accuracies, weights=sizes.astype(np.float64), increasing=False)
    first = fit.blocks[:-1]
    return np.add.reduceat(errors * sizes, first) / np.add.reduceat(sizes, first), fit.x[first]


def _read(fit: _Fit, error: float) -> float:
    return float(np.interp(error, *fit))
