"""The training loop that the examples share: any loop of yours will do as well."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm


class Faults(Protocol):
    """What a retraining strategy of tremap_brevitas looks like to a training loop."""

    def step(self, loss: float | None = None) -> None:
        """Note that an optimizer step was taken."""
        ...


@dataclass(frozen=True)
class Data:
    """Images (N, C, H, W) as float32 and their labels (N,), for training and for testing."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def batches(self, size: int, *, seed: int, augment: Callable[[Tensor, torch.Generator], Tensor] | None = None) -> Iterator:
        """Shuffled training batches without end."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            order = torch.randperm(len(self.images), generator=generator)
            for start in range(0, len(order) - size + 1, size):
                index = order[start : start + size]
                images = self.images[index]
                yield (images if augment is None else augment(images, generator)), self.labels[index]


def seed_everything(seed: int) -> None:
    """Make what Python, NumPy and torch draw repeatable."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (for libraries that draw from the global generator)
    torch.manual_seed(seed)


def train(
    model: nn.Module,
    batches: Iterator,
    *,
    steps: int,
    lr: float,
    faults: Faults | None = None,
    weight_decay: float = 1e-4,
    device: str = "cpu",
    title: str = "training",
) -> float:
    """Train with SGD and a one-cycle learning rate; return the mean loss of the last tenth of the steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps, pct_start=0.3)
    model.train()
    losses: list[float] = []
    with tqdm(total=steps, desc=title, leave=False, unit="step", mininterval=0.5) as bar:
        for _ in range(steps):
            images, labels = next(batches)
            loss = nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
            losses.append(loss.item())
            if faults is not None:
                faults.step(losses[-1])
            bar.update()
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    model.eval()
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def accuracy_on(images: Tensor, labels: Tensor, *, batch: int = 500, device: str = "cpu") -> Callable[[nn.Module], float]:
    """Return a function that measures a model's share of right answers on these images."""

    @torch.no_grad()
    def accuracy(model: nn.Module) -> float:
        model.eval()
        right = 0
        for start in range(0, len(images), batch):
            logits = model(images[start : start + batch].to(device))
            right += int((logits.argmax(1).cpu() == labels[start : start + batch]).sum())
        return right / len(images)

    return accuracy
