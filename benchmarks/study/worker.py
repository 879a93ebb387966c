"""A process of the study: the data, and one compiled copy of each network that it has met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from training import Data, accuracy_on

from benchmarks.study import job
from benchmarks.study.rows import Row
from benchmarks.study.workbench import EVALUATION_BATCH, Workbench, content_digest, load_cifar10, new_network, train_baseline

BASELINES = {"resnet20": 3000, "resnet20-4bit": 1500, "resnet32": 2000}  # steps of quantization-aware training
BASELINE_LR = 0.05


@dataclass(frozen=True)
class Setup:
    """The things that a worker must know; the paths are absolute, for workers elsewhere.

    Args:
        data: CIFAR-10 in its official binary layout.
        weights: Folder with the float weights.
        out: Output folder.
        test_images: Test images used.
        bfloat16: Whether networks compute in bfloat16, on every worker alike; else in float32.
        device: Torch device of the networks.
    """

    data: Path
    weights: Path
    out: Path
    test_images: int
    bfloat16: bool
    device: str = "cpu"

    def weights_of(self, network: str) -> Path:
        """Return the file of the float weights that a baseline begins with."""
        return self.weights / f"{network.partition('-')[0]}_cifar10_float.pt"

    def state_of(self, network: str) -> Path:
        """Return the file of a trained baseline; other weights make another."""
        return self.out / f"{network}-{content_digest(self.weights_of(network))[:12]}.pt"


@dataclass(frozen=True)
class Baseline:
    """Work of a job that trains a network in a healthy memory.

    Args:
        setup: What a worker must know.
        steps: Optimizer steps of each network.
    """

    setup: Setup
    steps: Mapping[str, int] = field(default_factory=lambda: BASELINES)

    def __call__(self, name: str) -> dict[str, Any]:
        """Train the baseline unless that is done; returns its accuracy compiled, as in every row, and in float32."""
        target, data = self.setup.state_of(name), _data(self.setup)
        if not target.exists():
            options: dict[str, Any] = {"steps": self.steps[name], "lr": BASELINE_LR, "bfloat16": self.setup.bfloat16}
            train_baseline(name, data, self.setup.weights_of(name), target, device=self.setup.device, **options)
        bench = workbench_of(self.setup, name)
        bench.reset()
        eager = new_network(name).to(self.setup.device)
        eager.load_state_dict(torch.load(target, weights_only=True))
        float32 = accuracy_on(data.test_images, data.test_labels, batch=EVALUATION_BATCH, device=self.setup.device)
        return {
            "steps": self.steps[name],
            "bfloat16": bench.accuracy(bench.model.eval()),
            "float32": float32(eager.eval()),
            "weights": content_digest(self.setup.weights_of(name)),
        }


@dataclass(frozen=True)
class Preparation:
    """Work of a job that runs a row."""

    setup: Setup

    def __call__(self, row: Row) -> dict[str, Any]:
        """Run the row."""
        return job.run(row, workbench_of(self.setup, row.network))


@cache
def _data(setup: Setup) -> Data:
    return load_cifar10(setup.data, test_images=setup.test_images)


@cache
def workbench_of(setup: Setup, network: str) -> Workbench:
    """Return the workbench of a trained baseline, made once on each worker."""
    state = torch.load(setup.state_of(network), weights_only=True)
    return Workbench(network, state, _data(setup), bfloat16=setup.bfloat16, device=setup.device)
