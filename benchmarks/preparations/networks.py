"""Networks that no method was tuned on, trained here on the digits that scikit-learn ships: a bench of each, by name and seed.

The memory, the maps and the methods are those of the ResNets. A seed stands for another split of the data, other weights, other
maps and other images, so that figures are over several trained networks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8WeightPerChannelFloat,
    Uint8ActPerTensorFixedPoint,
)
from brevitas.quant.mx_quant_ocp import MXInt8Weight
from networks import DigitsNet, FullRangeWeight
from torch import Tensor, nn
from training import Data, accuracy_on, seed_everything, train

import tremap_brevitas as tm
from benchmarks.order_models import PreNorm

BATCH = 128  # of a retraining, as the ResNets'
BASELINE_BATCH = 64
MEMORY = tm.Memory(words=1_000_000, word_bits=32)  # room for any of them; rows place the network anew


class ConvBn(nn.Module):
    """Convolution and BatchNorm, named as in the ResNets; and an 8-bit ReLU where there is one."""

    def __init__(self, inputs: int, outputs: int, size: int, quant: Any, *, stride: int = 1, groups: int = 1, act: bool = True):
        super().__init__()
        options: dict[str, Any] = {"stride": stride, "padding": size // 2, "groups": groups, "bias": False}
        self.conv = qnn.QuantConv2d(inputs, outputs, size, weight_quant=quant, **options)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class InvertedResidual(nn.Module):
    """As in MobileNetV2: 1×1 to three times the channels, depthwise 3×3, 1×1 back; added to its input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, quant: Any) -> None:
        super().__init__()
        hidden = 3 * inputs
        self.expand = ConvBn(inputs, hidden, 1, quant)
        self.depthwise = ConvBn(hidden, hidden, 3, quant, stride=stride, groups=hidden)
        self.project = ConvBn(hidden, outputs, 1, quant, act=False)
        self.adds = stride == 1 and inputs == outputs
        self.sum = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y = self.project(self.depthwise(self.expand(x)))
        out: Tensor = self.sum(x + y if self.adds else y)
        return out


class DigitsMobileNet(nn.Module):
    """Depthwise and 1×1 convolutions for 8×8 images.

    Args:
        quant: Weight quantizer of every layer.
    """

    def __init__(self, quant: Any) -> None:
        super().__init__()
        self.stem = ConvBn(1, 16, 3, quant)
        shapes = [(16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 32, 2)]
        self.blocks = nn.Sequential(*(InvertedResidual(a, b, stride, quant) for a, b, stride in shapes))
        self.head = ConvBn(32, 64, 1, quant)
        self.classifier = qnn.QuantLinear(64, 10, bias=True, weight_quant=quant)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 8, 8) to logits (N, 10)."""
        out: Tensor = self.classifier(self.head(self.blocks(self.stem(images))).mean((2, 3)))
        return out


class Block(PreNorm):
    """Attention and feed-forward, each behind a LayerNorm and added to its input; 8-bit inputs of every layer."""

    def __init__(self, width: int, heads: int, quant: Any) -> None:
        super().__init__()

        def linear(inputs: int, outputs: int) -> nn.Module:
            read = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint)
            return nn.Sequential(read, qnn.QuantLinear(inputs, outputs, bias=True, weight_quant=quant))

        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = linear(width, 3 * width), linear(width, width)
        self.up, self.gelu, self.down = linear(width, 2 * width), nn.GELU(), linear(2 * width, width)


class DigitsTransformer(nn.Module):
    """A vision transformer for 8×8 images: patches of 2×2, two blocks of width 32 with four heads.

    Args:
        quant: Weight quantizer of every layer.
    """

    def __init__(self, quant: Any) -> None:
        super().__init__()
        width = 32
        self.embed = qnn.QuantConv2d(1, width, 2, stride=2, bias=True, weight_quant=quant)
        self.place = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.Sequential(*(Block(width, 4, quant) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), qnn.QuantLinear(width, 10, bias=True, weight_quant=quant)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 8, 8) to logits (N, 10)."""
        x = self.embed(images).flatten(2).transpose(1, 2) + self.place
        out: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return out


class PerChannelWeight(Int8WeightPerChannelFloat):
    """8-bit weights with a float scale for each output channel; -128 is a code like any other."""

    narrow_range = False


class GroupWeight(MXInt8Weight):
    """8-bit weights with a power-of-two scale for each eight inputs of an output channel."""

    group_size = 8


@dataclass(frozen=True)
class Trained:
    """How a network is made.

    Args:
        make: Makes it, not trained.
        steps: Optimizer steps of its training.
        lr: Highest learning rate.
    """

    make: Callable[[], nn.Module]
    steps: int = 600
    lr: float = 0.1


NETWORKS: dict[str, Trained] = {  # by the names in ``elsewhere.DIGITS``
    "digits-mobilenet": Trained(lambda: DigitsMobileNet(FullRangeWeight)),
    "digits-transformer": Trained(lambda: DigitsTransformer(FullRangeWeight), lr=0.05),
    "digits-perchannel": Trained(lambda: DigitsMobileNet(PerChannelWeight)),
    "digits-groupwise": Trained(lambda: DigitsNet(weight_quant=GroupWeight)),
}


class DigitsBench:
    """A trained network that starts every preparation from the same state; stands where a ``Workbench`` of a ResNet does.

    Args:
        name: One of ``NETWORKS``.
        seed: Seed of data split and training.

    Attributes:
        name: Its name.
        model: The network.
        net: The network in a memory that holds all of them; rows place it anew.
        data: Training and test images.
    """

    def __init__(self, name: str, seed: int) -> None:
        how = NETWORKS[name]
        seed_everything(seed)
        self.name = name
        self.data: Data = importlib.import_module("01_digits_fleet").digits(seed)
        self.model: Any = tm.make_faulty(how.make())
        train(
            self.model, self.data.batches(BASELINE_BATCH, seed=seed), steps=how.steps, lr=how.lr, title=f"{name}, seed {seed}"
        )
        self.net = tm.place(self.model, MEMORY)
        self._start = {key: value.clone() for key, value in self.model.state_dict().items()}
        self._accuracy = accuracy_on(self.data.test_images, self.data.test_labels)
        self._loss_with_teacher = tm.TeacherLoss(self.net)

    def accuracy(self, model: nn.Module) -> float:
        """Return the share of right answers of the network on the test images."""
        return self._accuracy(model)

    def reset(self) -> None:
        """Go back to the trained state; no faults."""
        self.net.clear_faults_()
        self.model.load_state_dict(self._start)
        self.model.eval()

    def train(self, *, steps: int, lr: float, seed: int, strategy: tm.Strategy, title: str = "", teacher: bool = False) -> None:
        """Train from where the network is now."""
        seed_everything(seed)
        options: dict[str, Any] = {"loss": self._loss_with_teacher} if teacher else {}
        train(self.model, self.data.batches(BATCH, seed=seed), steps=steps, lr=lr, strategy=strategy, title=title, **options)


@cache
def digits_bench(name: str, seed: int) -> DigitsBench:
    """Return a network of this process, trained once."""
    return DigitsBench(name, seed)
