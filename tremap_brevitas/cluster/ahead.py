"""Call a function on item after item, in this process or a few items ahead in others; results come in the items' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

_AHEAD = 4  # items that wait for each worker: enough to keep it busy, and a generator is not run through at once

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Job(Protocol[Item, Result]):
    """What is called; sent to each worker once."""

    def __call__(self, item: Item, /) -> Result:
        """Make the result of an item."""

    def plain(self, item: Item, /) -> Any:
        """Make what a worker sends back for an item: picklable, without what the caller has already."""

    def from_plain(self, item: Item, plain: Any, /) -> Result:
        """Make the result of that."""


_I = TypeVar("_I")
_R = TypeVar("_R")


class Ahead(Generic[_I, _R]):
    """Calls a job, in worker processes if there are several; a context manager that ends them.

    Args:
        job: What is called.
        workers: Processes; with 1 the job is called here, when its result is asked for.

    Raises:
        ValueError: If there is no worker.
    """

    def __init__(self, job: Job[_I, _R], *, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self._job, self._workers = job, workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Ahead[_I, _R]:
        if self._workers > 1:
            self._pool = ProcessPoolExecutor(self._workers, initializer=_start, initargs=(self._job,))
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def begun(self, item: _I) -> Callable[[], _R]:
        """Begin with an item; what is returned waits for the result."""
        if self._pool is None:
            return lambda: self._job(item)
        future = self._pool.submit(_in_worker, item)
        return lambda: self._job.from_plain(item, future.result())

    def results(self, begun: Iterable[Callable[[], _R]]) -> Iterator[_R]:
        """Results in order; the next items are begun while the first are waited for."""
        waiting: deque[Callable[[], _R]] = deque()
        for one in begun:
            waiting.append(one)
            while waiting and (self._pool is None or len(waiting) > _AHEAD * self._workers):
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


_mine: Job[Any, Any] | None = None


def _start(job: Job[Any, Any]) -> None:
    global _mine
    _mine = job


def _in_worker(item: Any) -> Any:
    assert _mine is not None
    return _mine.plain(item)
