"""Trained networks for the benchmarks of orders, each in a memory that it just fits into."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from cifar10 import load_cifar10
from networks import DigitsNet
from training import accuracy_on, seed_everything, train

import tremap_brevitas as tm

__all__ = ["DigitsNet", "Trained", "digits", "placed", "resnet20"]

WORD_BITS = 32
IMAGES = 512  # without labels, for moments and compensation


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network.

    Attributes:
        net: The network, placed.
        images: Training images; labels are not needed.
        accuracy: The share of right answers of a model on the test images.
    """

    net: tm.PlacedModel
    images: Tensor
    accuracy: Callable[[Any], float]


def placed(model: nn.Module) -> tm.PlacedModel:
    """The model in a memory of 32-bit words that it just fits into."""
    words = tm.place(copy.deepcopy(model), tm.Memory(words=100_000_000, word_bits=WORD_BITS)).placement.words
    return tm.place(model, tm.Memory(words=words, word_bits=WORD_BITS))


def digits(seed: int) -> Trained:
    """The quick start's network, trained on the handwritten digits for some seconds."""
    seed_everything(seed)
    data = importlib.import_module("01_digits_fleet").digits(seed)
    model: nn.Module = tm.make_faulty(DigitsNet())
    train(model, data.batches(64, seed=seed), steps=600, lr=0.1, title=f"seed {seed}")
    return Trained(placed(model), data.images[:IMAGES], accuracy_on(data.test_images, data.test_labels))


def resnet20(data: Path, weights: Path, out: Path, *, test_images: int) -> Trained:
    """The study's ResNet-20 for CIFAR-10, as ``python -m benchmarks.preparations`` has trained it.

    Args:
        data: CIFAR-10 in its official binary layout.
        weights: Folder with the float weights.
        out: Output folder of ``benchmarks.preparations``, which holds the trained state.
        test_images: Test images used, evenly spread.

    Raises:
        SystemExit: If the network has not been trained yet.
    """
    from benchmarks.study.workbench import new_network
    from benchmarks.study.worker import Setup

    state = Setup(data, weights, out, test_images, False).state_of("resnet20")
    if not state.exists():
        raise SystemExit(f"{state}: no such file; python -m benchmarks.preparations --networks resnet20 trains it")
    model = new_network("resnet20")
    model.load_state_dict(torch.load(state, weights_only=True))
    pictures = load_cifar10(data, test_images=test_images)
    images = pictures.images[:IMAGES].clone()  # not a view of all that was read
    accuracy = accuracy_on(pictures.test_images.contiguous(memory_format=torch.channels_last), pictures.test_labels)
    return Trained(placed(model.eval()), images, accuracy)
