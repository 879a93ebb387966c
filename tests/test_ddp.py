"""torch's DistributedDataParallel, two gloo processes: one network, one set of faults, gradients of the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import torch

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("ddp_run.py")
ROOT = Path(__file__).parents[1]


HERE = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")])}


def under_torchrun(folder, *, processes, steps):
    """Train as users start it; returns what every rank says."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", SCRIPT, folder]
    done = subprocess.run([*command, str(steps), "0"], env=HERE, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return said(folder, processes)


def run(folder, *, processes, steps, resume=False):
    """Train in processes that torchrun need not start; returns what every rank says."""
    meeting = (folder / f"meeting-{resume}").as_uri()
    ranks = []
    for rank in range(processes):
        environment = {**HERE, "RANK": str(rank), "WORLD_SIZE": str(processes), "MEETING": meeting}
        complained = str(folder / f"stderr-{rank}")
        ranks.append(forked.start(SCRIPT, folder, steps, int(resume), environment=environment, complained=complained))
    for rank, process in enumerate(ranks):
        process.join(300)
        assert process.exitcode == 0, (folder / f"stderr-{rank}").read_text()
    return said(folder, processes)


def said(folder, processes):
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(processes)]


def close(a, b):
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-5)


def test_two_processes_train_what_one_trains(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (one,) = run(tmp_path / "one", processes=1, steps=6)
    first, second = under_torchrun(tmp_path / "two", processes=2, steps=6)
    for step in range(6):
        # Faults are the same cells on every rank and in step with those of a single process; nobody broadcast them.
        assert first["live"][step] == second["live"][step] == one["live"][step]
        close(first["gradients"][step], second["gradients"][step])
    close(first["gradients"][0], one["gradients"][0])  # the very same weights: later ones differ by rounding
    assert first["live"][0] < first["live"][3] == first["live"][5]
    assert all(torch.equal(first["state"][k], second["state"][k]) for k in first["state"])
    assert not [k for k in first["state"] if "stuck" in k or "mask" in k]
    resumed, _ = run(tmp_path / "two", processes=2, steps=6, resume=True)
    assert all(torch.equal(resumed["state"][k], first["state"][k]) for k in first["state"])
    assert resumed["live"] == first["live"][3:]
