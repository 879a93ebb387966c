"""The examples share this training loop; any loop of yours will do as well."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import tremap_brevitas as tm

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Data:
    """Images (N, C, H, W) as float32 and their labels (N,), for training and for testing."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def to(self, device: str) -> Data:
        """Return the same on another device."""
        return Data(*(tensor.to(device) for tensor in (self.images, self.labels, self.test_images, self.test_labels)))

    def batches(
        self, size: int, *, seed: int, augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    ) -> Callable[[int], Batch]:
        """Return a function from step to training batch.

        A batch depends on the seed and the step alone, so a training that was stopped sees the same ones when it goes on.
        """
        per_epoch = len(self.images) // size

        def batch(step: int) -> Batch:
            epoch, place = divmod(step, per_epoch)
            order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))
            index = order[place * size : (place + 1) * size]
            images = self.images[index]
            if augment is not None:
                images = augment(images, torch.Generator().manual_seed(1_000_033 * seed + step))
            return images, self.labels[index]

        return batch


def seed_everything(seed: int) -> None:
    """Make what Python, NumPy and torch draw repeatable."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (for libraries that draw from the global generator)
    torch.manual_seed(seed)


def train(
    model: nn.Module,
    batch: Callable[[int], Batch],
    *,
    steps: int,
    lr: float,
    strategy: tm.Strategy | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    weight_decay: float = 1e-4,
    parts: int = 1,
    device: str = "cpu",
    title: str = "training",
    checkpoint: Path | None = None,
    checkpoint_every: int = 50,
    checkpoint_from: int = 0,
) -> None:
    """Train with SGD and a one-cycle learning rate.

    Args:
        model: The model.
        batch: Function from step to batch.
        steps: Optimizer steps.
        lr: Highest learning rate.
        strategy: Which faults are live at which step; it is told of every step. None for faults that stay as they are.
        forward: Runs the model, such as a compiled version of it; None for the model itself.
        loss: Function from logits, images and labels to the loss; None for cross-entropy.
        weight_decay: Weight decay.
        parts: Parts that a batch is split into, one for each of the strategy's passes; 1 if all passes take the whole batch.
        device: Where the model is.
        title: Text before the progress bar.
        checkpoint: File to write now and then, and to go on from if it exists; removed at the end.
        checkpoint_every: Steps between two checkpoints.
        checkpoint_from: No checkpoint before this step. Brevitas measures activation scales during the first 300 steps of a
            new model, and a reload in between would end that early.
    """
    saved: Any = None
    if checkpoint is not None and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(saved["model"])  # first: Brevitas makes new parameters for the scales here
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps, pct_start=0.3)
    kept: dict[str, Any] = {"model": model, "optimizer": optimizer, "rate": rate}
    if strategy is not None:
        kept["strategy"] = strategy
    first = 0
    if saved is not None:
        for name, part in kept.items():
            if name != "model":
                part.load_state_dict(saved[name])
        first = saved["step"]
    model.train()
    run = model if forward is None else forward

    def loss_of(logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels) if loss is None else loss(logits, images, labels)

    with tqdm(total=steps, initial=first, desc=title, leave=False, unit="step", mininterval=0.5) as bar:
        for step in range(first, steps):
            images, labels = batch(step)
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad(set_to_none=True)
            mean = 0.0
            shares = strategy.passes() if strategy is not None else (1.0,)
            split = itertools.cycle(zip(images.chunk(parts), labels.chunk(parts), strict=True))
            for share, (some, answers) in zip(shares, split, strict=False):
                value = loss_of(run(some), some, answers)
                (share * value).backward()  # type: ignore[no-untyped-call]
                mean += share * value.item()
            optimizer.step()
            rate.step()
            if strategy is not None:
                strategy.step(mean)
            bar.update()
            bar.set_postfix(loss=f"{mean:.3f}", refresh=False)
            due = (step + 1) % checkpoint_every == 0 and checkpoint_from <= step + 1 < steps
            if checkpoint is not None and due:
                save({"step": step + 1, **{name: part.state_dict() for name, part in kept.items()}}, checkpoint)
    model.eval()
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)


def content_digest(*files: Path) -> str:
    """Return the SHA-256 digest of what the files hold, in the order given, as 64 hexadecimal digits."""
    sha = hashlib.sha256()
    for file in files:
        sha.update(file.read_bytes())
    return sha.hexdigest()


def save(state: dict[str, Any], path: Path) -> None:
    """Write a state for ``torch.load(weights_only=True)``, atomically."""
    temporary = path.with_name(f".{path.name}.part")
    torch.save(state, temporary)
    os.replace(temporary, path)


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
