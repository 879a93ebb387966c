"""Train until a target accuracy is reached, and report the cost."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from tremap_brevitas.placed.evaluator import Evaluate
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.prepare.strategy import Strategy

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retrained:
    """Result and cost of a retraining.

    Attributes:
        reached: Whether the goal was reached.
        accuracy: Accuracy at the end.
        steps: Optimizer steps.
        seconds: Seconds of training; measuring the accuracy is not in them.
        history: Steps and accuracy of every measurement.
    """

    reached: bool
    accuracy: float
    steps: int
    seconds: float
    history: tuple[tuple[int, float], ...]


def retrain_until(
    goal: float,
    train_step: Callable[[int], float | None],
    evaluate: Evaluate,
    *,
    strategy: Strategy,
    max_steps: int,
    check_every: int = 25,
    progress: bool = True,
) -> Retrained:
    """Train until the accuracy reaches a target, and report the steps and the time that this took.

    The accuracy is measured before the first step, after every ``check_every`` and after the last. While a ramp is not done,
    not all faults are live, and nothing is measured. The number of steps is not known before: use a constant learning rate, or
    one that decays over ``max_steps``. Every measurement is logged at level INFO.

    Args:
        goal: Accuracy at which to stop.
        train_step: Trains on batch ``n``, with the faults that are live: zero_grad, forward, backward, optimizer step. Returns
            the loss, which some strategies use.
        evaluate: Function that takes the model, in evaluation mode and under the strategy's whole map, and returns a number:
            the larger, the better.
        strategy: The strategy; its ``step`` is called here.
        max_steps: Steps after which to give up.
        check_every: Steps between measurements.
        progress: Whether to show a progress bar on standard error, with the last accuracy.

    Raises:
        TypeError: If ``strategy`` is not a Strategy.
        ValueError: If a number of steps is not positive, or the goal is not a number.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> chip, = tm.random_fault_maps(memory, chips=1, fault_rate=0.1, seed=0)
        >>> strategy, figures = tm.AllAtOnce(tm.place(fc, memory), chip), iter([0.5, 0.7, 0.9])
        >>> options = {"strategy": strategy, "max_steps": 100, "progress": False}
        >>> result = retrain_until(0.8, lambda n: None, lambda model: next(figures), **options)
        >>> result.reached, result.steps, result.history
        (True, 50, ((0, 0.5), (25, 0.7), (50, 0.9)))
    """
    if not isinstance(strategy, Strategy):
        raise TypeError(f"strategy must be a Strategy, got {strategy!r}")
    net = strategy.net
    if math.isnan(goal):
        raise ValueError("goal must be a number, got nan")
    for name, value in (("max_steps", max_steps), ("check_every", check_every)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    seconds, history = 0.0, []
    with tqdm(total=max_steps, desc="retraining", unit="step", leave=False, disable=not progress) as bar:
        for step in range(max_steps + 1):
            last = step == max_steps
            if last or (step % check_every == 0 and strategy.done):
                with net.using(strategy.fault_map, rule=strategy.rule), evaluation_mode(net.model):
                    history.append((step, float(evaluate(net.model))))
                _logger.info("step %d of at most %d: %g, the goal is %g", step, max_steps, history[-1][1], goal)
                bar.set_postfix(accuracy=history[-1][1])
                if history[-1][1] >= goal or last:
                    break
            begin = time.perf_counter()
            strategy.step(train_step(step))
            seconds += time.perf_counter() - begin
            bar.update()
    steps, accuracy = history[-1]
    return Retrained(accuracy >= goal and strategy.done, accuracy, steps, seconds, tuple(history))
