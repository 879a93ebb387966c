"""Run several forward passes side by side and halt them together before every selected layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from greenlet import GreenletExit, getcurrent, greenlet
from torch import Tensor, nn

Pass = tuple[nn.Module, Callable[[], Any]]


class Halt(NamedTuple):
    """The moment at which all passes are about to call the same layer.

    Attributes:
        name: Name of the layer.
        inputs: The input that each pass is about to give it.
    """

    name: str
    inputs: list[Tensor]


def in_lockstep(
    passes: Sequence[Pass], names: Sequence[str], *, before: Callable[[int, str], None] | None = None
) -> Iterator[Halt]:
    """Run several forward passes and halt all of them before every call of the selected layers.

    While the passes are halted, the caller may change the layer's weights, and the passes continue with the changed ones. So
    one forward pass is enough to change all layers one after the other, each for the inputs that the changed layers before it
    produce, and no activation is kept longer than the model itself keeps it.

    Args:
        passes: For each pass a model, all of the same layers, and the function that runs it.
        names: Names of the layers.
        before: Called with a pass's number and the layer's name when that pass alone is about to compute the layer.

    Yields:
        One halt for each call of a layer, in order of execution.

    Raises:
        ValueError: If the passes reach different layers.
    """
    with _halting({id(model): model for model, _ in passes}.values(), names):
        runs = [greenlet(run) for _, run in passes]
        try:
            events = [run.switch() for run in runs]
            while not all(run.dead for run in runs):
                at = {event[0] if not run.dead else None for run, event in zip(runs, events, strict=True)}
                if len(at) > 1:
                    places = ", ".join(sorted("the end" if name is None else repr(name) for name in at))
                    raise ValueError(f"the order of the model's layers depends on its inputs: it reached {places} at once")
                name = events[0][0]
                yield Halt(name, [event[1] for event in events])
                events = []
                for index, run in enumerate(runs):
                    if before is not None:
                        before(index, name)
                    events.append(run.switch())
        finally:
            for run in runs:
                if not run.dead and run:
                    run.throw(GreenletExit)


@contextmanager
def _halting(models: Any, names: Sequence[str]) -> Iterator[None]:
    handles = []
    try:
        for model in models:
            layers: Mapping[str, nn.Module] = dict(model.named_modules())
            for name in names:
                handles.append(layers[name].register_forward_pre_hook(_hook(name), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_argument(args: Any, kwargs: Any) -> Any:
    """Return what a module is called with first; None for a call without arguments, as of a recurrent layer's gates."""
    return next(iter((*args, *kwargs.values())), None)


def _hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
    def halt(module: nn.Module, args: Any, kwargs: Any) -> None:
        driver, value = getcurrent().parent, first_argument(args, kwargs)
        if driver is not None and value is not None:  # the caller may run a model by itself in the meantime
            driver.switch((name, getattr(value, "value", value)))

    return halt
