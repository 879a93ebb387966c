"""Run jobs and save their results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tqdm import tqdm

from tremap_brevitas.cluster.engine import Engine, InProcess
from tremap_brevitas.cluster.folder import RunFolder

Job = TypeVar("Job")


def run_jobs(
    work: Callable[[Job], Any],
    jobs: Mapping[str, Job],
    *,
    engine: Engine | None = None,
    folder: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    progress: str | None = "jobs",
) -> dict[str, Any]:
    """Run independent jobs, such as one retraining per group; jobs already finished in the folder are skipped.

    Args:
        work: Function from a job to its result. With a folder, JSON must be able to hold the result. It should depend on its
            job alone, since the order of the jobs, and with Ray the machine, is not fixed.
        jobs: The jobs by name. A folder identifies a job by its name alone: if a job can change under its name, for example
            with a file that it reads, add a digest to the options.
        engine: Where they run; None for this process.
        folder: Run folder; None keeps nothing.
        options: Everything besides the jobs that the results depend on; a folder with other options is refused.
        progress: Text before the progress bar; None for no bar.

    Returns:
        Results in the order of ``jobs``, the same whether or not the run was interrupted.

    Raises:
        JobError: If a job raises; results that were finished before are in the folder.
        ValueError: If the folder holds another run.
        BlockingIOError: If another process is working in the folder.

    Examples:
        >>> run_jobs(lambda n: n * n, {"two": 2, "three": 3}, progress=None)
        {'two': 4, 'three': 9}
    """
    engine = InProcess() if engine is None else engine
    with tqdm(total=len(jobs), desc=progress, unit="job", leave=False, disable=progress is None) as bar:
        if folder is None:
            results = {}
            for name, result in engine.run(work, jobs):
                results[name] = result
                bar.update()
        else:
            with RunFolder(folder, options=options) as run:
                results = {name: finished for name in jobs if (finished := run.get(name)) is not None}
                bar.update(len(results))
                for name, result in engine.run(work, {n: j for n, j in jobs.items() if n not in results}):
                    run.put(name, result)
                    results[name] = run.get(name)
                    bar.update()
    return {name: results[name] for name in jobs}
