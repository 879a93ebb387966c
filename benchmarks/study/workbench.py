"""A network of the study on one worker: quantized once, reset for every training; compiled once on a processor.

Compiled and with convolutions in bfloat16, a step takes half as long on a processor that has it, and ten times as long on one
that emulates it: there float32 is used. Codes have 8 bits at most, so that weights and activations are exact in bfloat16; sums
are rounded. All rows of a run are measured the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from cifar10 import augment, data_files, load_cifar10
from networks import FullRangeWeight, ResNet
from torch import Tensor, nn
from training import Data, accuracy_on, content_digest, save, seed_everything, train

import tremap_brevitas as tm

__all__ = [
    "BATCH",
    "WORD_BITS",
    "Workbench",
    "augment",
    "content_digest",
    "data_files",
    "has_bfloat16",
    "load_cifar10",
    "new_network",
    "train_baseline",
]

BATCH = 128
EVALUATION_BATCH = 500
BN_BATCHES = 20  # of BATCH images, for BatchNorm statistics
COLLECT = 300  # steps in which Brevitas measures the scales of activations
WORD_BITS = 32


def has_bfloat16() -> bool:
    """Whether this processor computes in bfloat16 itself, and does not emulate it."""
    can = torch.cpu.get_capabilities()
    return any(can.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))


class FourBitWeight(FullRangeWeight):
    """4-bit weights with a power-of-two scale."""

    bit_width = 4


def new_network(name: str) -> Any:
    """Return a network of the study, not trained yet, that can hold faults."""
    depth, _, narrow = name.removeprefix("resnet").partition("-")
    quant = FourBitWeight if narrow == "4bit" else FullRangeWeight
    model: Any = tm.make_faulty(ResNet(int(depth), weight_quant=quant))
    return model.to(memory_format=torch.channels_last)


class Workbench:
    """A quantized network, compiled once, that starts every training from the same state.

    Args:
        name: One of ``rows.NETWORKS``.
        state: State of the trained network.
        data: Training and test images.
        bfloat16: Whether to compute in bfloat16, else in float32.
        device: Torch device of the network and its images.

    Attributes:
        model: The network.
        net: The network in a memory that holds all of them; rows place it anew.
        data: The images and labels, on the device.
    """

    def __init__(self, name: str, state: Mapping[str, Tensor], data: Data, *, bfloat16: bool, device: str = "cpu") -> None:
        self.name, self.bfloat16, self.device = name, bfloat16, device
        self.model = new_network(name).to(device)
        self.model.load_state_dict(state)
        self.model.eval()
        self.net = tm.place(self.model, tm.Memory(words=10_000_000, word_bits=WORD_BITS))
        self._start = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.data = data.to(device)
        # For a GPU, compiling takes minutes, and a step of a network as small as these is over in tens of milliseconds anyway.
        self._compiles = device == "cpu"
        self._compiled = tm.compiled(self.model, bfloat16=bfloat16) if self._compiles else self.model
        self._loss_with_teacher = tm.TeacherLoss(self.net, forward=self._compiled_teacher)
        self._accuracy = accuracy_on(
            self.data.test_images.contiguous(memory_format=torch.channels_last),
            data.test_labels,
            batch=EVALUATION_BATCH,
            device=device,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits in float32."""
        logits: Tensor = self._compiled(images.contiguous(memory_format=torch.channels_last))
        return logits

    def _compiled_teacher(self, teacher: nn.Module) -> Callable[[Tensor], Tensor]:
        run = tm.compiled(teacher, bfloat16=self.bfloat16) if self._compiles else teacher
        return lambda images: run(images.contiguous(memory_format=torch.channels_last))

    def accuracy(self, model: nn.Module) -> float:
        """Return the share of right answers of the network on the test images."""
        assert model is self.model
        return self._accuracy(_Forward(self))

    def some_batches(self, seed: int) -> Iterator[Tensor]:
        """Return training images, to measure BatchNorm statistics on."""
        batches = self.data.batches(BATCH, seed=seed, augment=augment)
        return (batches(n)[0] for n in range(BN_BATCHES))

    def reset(self) -> None:
        """Go back to the state that every training starts from; no faults."""
        self.net.clear_faults_()
        self.load(self._start)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy a state into the network; ``load_state_dict`` would build new quantizers, to be compiled anew."""
        with torch.no_grad():
            for key, value in self.model.state_dict().items():
                value.copy_(state[key])

    def train(
        self,
        *,
        steps: int,
        lr: float,
        seed: int,
        strategy: tm.Strategy | None = None,
        title: str = "",
        checkpoint: Path | None = None,
        teacher: bool = False,
        images: int | None = None,
        parts: int = 1,
    ) -> float:
        """Train from where the network is now; returns seconds.

        Args:
            steps: Optimizer steps.
            lr: Highest learning rate.
            seed: Seed of the batches.
            strategy: Which faults are live at which step.
            title: Text before the progress bar.
            checkpoint: File to write now and then, and to go on from.
            teacher: Whether the healthy network teaches beside the labels.
            images: Images of a batch; None for ``BATCH``.
            parts: Parts that a batch is split into, one for each of the strategy's passes.
        """
        seed_everything(seed)
        begin = time.perf_counter()
        batches = self.data.batches(images or BATCH, seed=seed, augment=augment)
        options: dict[str, Any] = {"steps": steps, "lr": lr, "strategy": strategy, "title": title, "checkpoint": checkpoint}
        options.update(parts=parts, device=self.device)
        if teacher:
            options["loss"] = self._loss_with_teacher
        train(self.model, batches, forward=self.forward, **options)
        return time.perf_counter() - begin


class _Forward(nn.Module):
    """The module that ``accuracy_on`` runs."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self.bench = (bench,)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of the compiled network."""
        return self.bench[0].forward(images)


def train_baseline(
    name: str, data: Data, weights: Path, target: Path, *, steps: int, lr: float, bfloat16: bool, device: str = "cpu"
) -> None:
    """Train with quantization in a healthy memory, long enough that a short retraining wins nothing by itself.

    Args:
        name: One of ``rows.NETWORKS``.
        data: Training and test images.
        weights: Float weights to start from, a plain state dict.
        target: File for the trained state; ``train`` keeps a checkpoint beside it.
        steps: Optimizer steps.
        lr: Highest learning rate.
        bfloat16: Whether to compute in bfloat16.
        device: Torch device to train on.
    """
    seed_everything(0)
    first = target.with_suffix(".scales.pt")
    if not first.exists():
        model = new_network(name).to(device)
        missing, unexpected = model.load_state_dict(torch.load(weights, weights_only=True), strict=False)
        if unexpected or any("quant" not in key for key in missing):
            raise SystemExit(f"{weights}: does not fit {name}; missing or unexpected: {missing + unexpected}")
        batches = data.batches(BATCH, seed=0, augment=augment)
        train(model, batches, steps=COLLECT, lr=lr / 5, device=device, title=f"{name}: scales")
        save(model.state_dict(), first)
    bench = Workbench(name, torch.load(first, weights_only=True), data, bfloat16=bfloat16, device=device)
    bench.train(steps=steps, lr=lr, seed=1, title=name, checkpoint=target.with_suffix(".checkpoint.pt"))
    save(bench.model.state_dict(), target)
    first.unlink()
