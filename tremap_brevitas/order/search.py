"""Search for orders: groups are optimized in turn, each exactly; codes that stay wrong get a higher weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.order.assign import best_order
from tremap_brevitas.order.bound import unavoidable
from tremap_brevitas.order.groups import Index
from tremap_brevitas.order.problem import Problem

Aim = Literal["wrong_codes", "error"]
Score = tuple[float, float]

_POLISH = 10  # sweeps for the harm at most; two or three do nearly all


@dataclass(frozen=True)
class SearchOptions:
    """Options of the search for orders.

    Attributes:
        aim: ``"wrong_codes"``: first fewest wrong codes, then least error of those. ``"error"``: least error alone, which
            serves accuracy better where thousands of codes stay wrong.
        rounds: Rounds of the search after the first sweeps, for chips that are not exact by then.
        patience: Rounds without a better order after which the search ends.
        seed: Draws among equal orders; together with the chip's faults it decides the result.

    Raises:
        ValueError: If a number is negative, or the aim unknown.
    """

    aim: Aim = "wrong_codes"
    rounds: int = 200
    patience: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        if self.aim not in get_args(Aim):
            raise ValueError(f"aim must be one of {', '.join(get_args(Aim))}, got {self.aim!r}")
        for name in ("rounds", "patience", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


class Search:
    """The search for one chip.

    Args:
        problem: Chip and network.
        options: How to search.
        entropy: Value that the draws depend on besides the seed, such as the chip's digest.
        start: Orders to begin with; None for those in which nothing moves.
    """

    def __init__(
        self, problem: Problem, options: SearchOptions, *, entropy: int = 0, start: Sequence[Index] | None = None
    ) -> None:
        self.problem, self.network, self.options = problem, problem.network, options
        self.rng = np.random.default_rng([options.seed, entropy])
        self.orders = self.network.identity if start is None else list(start)
        self.wrong = problem.wrong(self.orders)
        self.best = list(self.orders)
        self.best_wrong = int(self.wrong.sum())
        self.unavoidable = 0

    def run(self) -> list[Index]:
        """Return orders of all groups that are never worse than the start."""
        if self.best_wrong:
            if self.options.aim == "wrong_codes":
                self._sweeps()
                if self.best_wrong:
                    self.unavoidable = unavoidable(self.problem, self.best)
                    self._breakout()
            if self.best_wrong:
                self._polish()
        return self.best

    def _settle(self, group: int, weights: NDArray[np.float64] | None, *, draw: bool) -> None:
        """Set the order of one group to the one of least cost."""
        costs = self.problem.costs(group, self.orders, weights)
        self.orders[group], _ = best_order(costs, self.orders[group], tie=1.0, rng=self.rng if draw else None)

    def _note(self) -> bool:
        """Record the wrong codes; return whether there are fewer than ever before."""
        self.wrong = self.problem.wrong(self.orders)
        count = int(self.wrong.sum())
        if count >= self.best_wrong:
            return False
        self.best, self.best_wrong = list(self.orders), count
        return True

    def _concerned(self) -> list[int]:
        """Return the groups that move wrong codes, those that move most first."""
        counts = self.problem.touching(self.orders, self.wrong)
        return [int(group) for group in np.argsort(-counts, kind="stable") if counts[group]]

    def _sweeps(self) -> None:
        """Optimize the groups in turn until nothing improves."""
        better = True
        while better and self.best_wrong:
            for group in self._concerned():
                self._settle(group, None, draw=False)
            better = self._note()
        self.orders = list(self.best)
        self.wrong = self.problem.wrong(self.orders)

    def _breakout(self) -> None:
        """Increase the weight of codes that stay wrong in every round; draw among equal orders.

        Breakout local search (Morris, 1993): a local minimum fills up until the search flows out of it.
        """
        weights = np.ones(self.problem.hits)
        idle = 0
        for _ in range(self.options.rounds):
            if self.best_wrong <= self.unavoidable or idle >= self.options.patience:
                return
            weights[self.wrong] += 1
            concerned = self._concerned()
            self.rng.shuffle(concerned)
            idle += 1
            for group in concerned:
                self._settle(group, weights, draw=True)
                if self._note():
                    idle = 0
                if not self.wrong.any():
                    return

    def _score(self, orders: list[Index]) -> Score:
        harm = float(self.problem.harm(orders).sum())
        return (float(self.problem.wrong(orders).sum()) if self.options.aim == "wrong_codes" else 0.0), harm

    def _polish(self) -> None:
        """Reduce the harm without more wrong codes (with ``"error"``: among all orders) until nothing improves."""
        best = self._score(self.best)
        self.orders = list(self.best)
        # One wrong code counts more than 10,000 times all harm that is left, and still a float resolves that to a millionth.
        least, weights = (1e-4, None) if self.options.aim == "wrong_codes" else (1.0, np.zeros(self.problem.hits))
        harm = least / max(best[1], 1e-300)
        for _ in range(_POLISH):
            before = best
            for group in range(len(self.orders)):
                costs = self.problem.costs(group, self.orders, weights, harm=harm)
                old = self.orders[group]
                self.orders[group], _ = best_order(costs, old, tie=1e-9)
                score = self._score(self.orders)
                if score < best:
                    best, self.best = score, list(self.orders)
                else:
                    self.orders[group] = old
            if best == before:
                break
        self.best_wrong = int(self.problem.wrong(self.best).sum())
