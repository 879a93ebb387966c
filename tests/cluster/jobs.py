"""Work for the tests of engines and run folders; a script, so that it can be killed: python jobs.py FOLDER [ray ADDRESS]."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

JOBS = {f"group {i}": i for i in range(8)}
MANY = {f"group {i}": i for i in range(60)}
JOB_SECONDS = 0.02  # about, so that a kill finds a job at work


def retrained(seed):
    """A small training: its result is the same wherever it runs."""
    torch.manual_seed(seed)
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        loss = (model(torch.randn(16, 6)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    time.sleep(JOB_SECONDS)
    return {"loss": loss.item(), "weight": model.weight.sum().item()}


class Deadly:
    """Work whose process dies without a word, once for each of some jobs."""

    def __init__(self, folder, victims):
        self.folder, self.victims = folder, victims

    def __call__(self, seed):
        marker = Path(self.folder) / f"died-{seed}"
        if seed in self.victims and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return retrained(seed)


class Slow:
    """Work that takes long enough for a machine to vanish meanwhile, and says where it ran."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, seed):
        import ray

        node = ray.get_runtime_context().get_node_id()
        (Path(self.folder) / f"began-{seed}-{node}-{random.random()}").touch()
        time.sleep(1.5)
        return retrained(seed)


def fails(seed):
    """Work that raises for one job."""
    if seed == 3:
        raise ValueError("the fault map of chip 'A7' is of another memory")
    return retrained(seed)


def variable(name):
    return os.environ.get(name)


def cluster_of(_):
    """Address of the cluster on which this job runs."""
    import ray

    return ray.get_runtime_context().gcs_address


if __name__ == "__main__":
    from tremap_brevitas.cluster import run_jobs

    run_jobs(retrained, MANY, folder=sys.argv[1], options={"steps": 20}, progress=None)
