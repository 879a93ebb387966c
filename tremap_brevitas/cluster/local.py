"""Run jobs on the cores of this machine, each in its own process."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

from tremap_brevitas.cluster.engine import JobError, with_threads

_work: list[Callable[[Any], Any]] = []


class LocalCores:
    """Runs jobs in processes on this machine, each with one torch thread.

    ``work``, the jobs and the results must be picklable; as always with processes that are started anew, a script needs
    ``if __name__ == "__main__":``. ``work`` is sent to each process once.

    Args:
        workers: Number of processes.

    Raises:
        ValueError: If ``workers`` is below 1.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers

    def run(self, work: Callable[[Any], Any], jobs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Run the jobs.

        Raises:
            JobError: If a job raises, or its process dies; jobs that have not begun are dropped.
        """
        if not jobs:
            return
        pool = ProcessPoolExecutor(
            min(self.workers, len(jobs)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(pickle.dumps(work),),  # a plain pickle: torch would send tensors as open files
        )
        try:
            names: dict[Future[Any], str] = {pool.submit(_run, pickle.dumps(job)): name for name, job in jobs.items()}
            for future in as_completed(names):
                try:
                    result = future.result()
                except Exception as error:
                    raise JobError(names[future], error) from error
                yield names[future], result
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(work: bytes) -> None:
    _work.append(pickle.loads(work))


def _run(job: bytes) -> Any:
    return with_threads((_work[-1], 1), pickle.loads(job))
