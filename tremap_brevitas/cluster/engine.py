"""Run jobs in this process, or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol


class JobError(RuntimeError):
    """Raised when a job fails by itself, so that a retry would not help. The job's error is the cause.

    Attributes:
        job: Name of the job.
    """

    def __init__(self, job: str, error: BaseException) -> None:
        super().__init__(f"job {job!r} failed: {type(error).__name__}: {error}")
        self.job = job

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilt from its message: the error behind it may not be picklable.
        return type(self).__new__, (type(self), str(self)), self.__dict__


class Engine(Protocol):
    """Runs jobs and yields their results as they finish."""

    def run(self, work: Callable[[Any], Any], jobs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Call ``work`` on every job; yields name and result, in any order.

        Raises:
            JobError: If a job raises.
        """
        ...


class InProcess:
    """Runs one job after the other, in this process."""

    def run(self, work: Callable[[Any], Any], jobs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Call ``work`` on every job, in order."""
        for name, job in jobs.items():
            try:
                result = work(job)
            except Exception as error:
                raise JobError(name, error) from error
            yield name, result


class RayEngine:
    """Runs jobs on a Ray cluster, as many at once as its resources allow. Needs the extra ``cluster``.

    Ray sends ``work`` and the jobs to the machines; both must be picklable, and the packages that ``work`` imports must be
    installed there. A job whose worker or machine dies is run again elsewhere. Results do not depend on where and in which
    order jobs run, as long as ``work`` depends on its job alone: seed its random numbers, and let torch use the same number of
    threads everywhere (``threads``).

    Args:
        address: Address of a running cluster, such as ``"auto"`` or ``"ray://head:10001"``. None takes the cluster that the
            variable ``RAY_ADDRESS`` names, as inside a Ray job, and starts one on this machine where it is not set.
        num_cpus: CPU cores of a job.
        num_gpus: GPUs of a job; may be a fraction.
        threads: Threads of torch in a job; None for ``num_cpus``.
        retries: How many times a job is run again when its worker or machine died.
        runtime_env: Ray's description of what workers need to find (packages, paths, variables of the environment).
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        num_cpus: float = 1,
        num_gpus: float = 0,
        threads: int | None = None,
        retries: int = 3,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        self.address, self.num_cpus, self.num_gpus, self.retries = address, num_cpus, num_gpus, retries
        self.threads = max(1, int(num_cpus)) if threads is None else threads
        self.runtime_env = dict(runtime_env or {})

    def run(self, work: Callable[[Any], Any], jobs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Run the jobs on the cluster.

        Raises:
            ImportError: If Ray is not installed.
            ConnectionError: If there is no cluster at the address.
            JobError: If a job raises, or its worker died more than ``retries`` times; the jobs that run are cancelled.
        """
        try:
            import ray
        except ImportError as error:
            raise ImportError("a Ray engine needs Ray: pip install 'tremap_brevitas[cluster]'") from error
        ours = not ray.is_initialized()
        if ours:
            # Without an address Ray would join whatever cluster runs on this machine, somebody else's too.
            address = self.address or os.environ.get("RAY_ADDRESS") or "local"
            ray.init(address=address, log_to_driver=False, include_dashboard=False, configure_logging=False)
        running: dict[Any, str] = {}
        try:
            remote = ray.remote(
                num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=self.retries, runtime_env=self.runtime_env
            )(with_threads)
            shared = ray.put((work, self.threads))
            waiting = iter(jobs.items())
            # A few more than can run at once: enough to keep every machine busy, and a cluster that grows.
            cores = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
            at_once = 2 * max(1, int(cores / max(self.num_cpus, 0.01))) + 2
            for name, job in waiting:
                running[remote.remote(shared, job)] = name
                if len(running) >= at_once:
                    yield self._next(ray, running)
            while running:
                yield self._next(ray, running)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            if ours:
                ray.shutdown()

    @staticmethod
    def _next(ray: Any, running: dict[Any, str]) -> tuple[str, Any]:
        (done,), _ = ray.wait(list(running), num_returns=1)
        name = running.pop(done)
        try:
            return name, ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise JobError(name, error.cause if isinstance(error.cause, Exception) else error) from error
        except ray.exceptions.RayError as error:
            raise JobError(name, error) from error


def with_threads(shared: tuple[Callable[[Any], Any], int], job: Any) -> Any:
    """Run a job with a given number of torch threads, if torch is installed."""
    work, threads = shared
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(threads)
    return work(job)
