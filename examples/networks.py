"""The networks of the examples and benchmarks."""

from __future__ import annotations

from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.quant import Int8WeightPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
from torch import Tensor, nn


class FullRangeWeight(Int8WeightPerTensorFixedPoint):
    """8-bit weights with a power-of-two scale; -128 is a code like any other, as it is in the memory."""

    narrow_range = False


class DigitsNet(nn.Module):
    """A small convolutional network for 8×8 images, 9,824 weights in four layers.

    Args:
        weight_quant: Weight quantizer of every layer.
    """

    def __init__(self, *, weight_quant: Any = FullRangeWeight) -> None:
        super().__init__()

        def block(channels_in: int, channels_out: int, stride: int) -> list[nn.Module]:
            conv = qnn.QuantConv2d(
                channels_in, channels_out, 3, stride=stride, padding=1, bias=False, weight_quant=weight_quant
            )
            return [conv, nn.BatchNorm2d(channels_out), qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)]

        self.features = nn.Sequential(*block(1, 16, 1), *block(16, 24, 2), *block(24, 24, 2))
        self.pool = nn.Flatten()
        self.classifier = qnn.QuantLinear(24 * 2 * 2, 10, bias=True, weight_quant=weight_quant)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 1, 8, 8) to logits (N, 10)."""
        out: Tensor = self.classifier(self.pool(self.features(images)))
        return out


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a parameter-free (option A) shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int, weight_quant: Any) -> None:
        super().__init__()

        def conv(inputs: int, step: int) -> nn.Module:
            return qnn.QuantConv2d(inputs, channels, 3, stride=step, padding=1, bias=False, weight_quant=weight_quant)

        self.conv1, self.bn1 = conv(channels_in, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = conv(channels, 1), nn.BatchNorm2d(channels)
        self.relu1 = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)
        self.relu2 = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)
        self.stride, self.padding = stride, (channels - channels_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's two convolutions to its input."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.padding:
            x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        out: Tensor = self.relu2(x + y)
        return out


class ResNet(nn.Module):
    """ResNet for CIFAR-10 (He et al., 2015) with quantized weights and activations; depth 20, 32, 44 …

    The state dict of its float weights has the names ``conv1``, ``bn1``, ``layerL.B.…`` and ``linear``.

    Args:
        depth: ``6 n + 2``.
        weight_quant: Weight quantizer of every layer.
    """

    def __init__(self, depth: int = 20, *, weight_quant: Any = FullRangeWeight) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth must be 6 n + 2, got {depth}")
        self.conv1 = qnn.QuantConv2d(3, 16, 3, padding=1, bias=False, weight_quant=weight_quant)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)
        channels = 16
        self.stages: list[nn.Module] = []
        for level, width in enumerate((16, 32, 64), start=1):
            stage = []
            for index in range(blocks):
                stride = 2 if index == 0 and level > 1 else 1
                stage.append(BasicBlock(channels, width, stride, weight_quant))
                channels = width
            self.stages.append(nn.Sequential(*stage))
            self.add_module(f"layer{level}", self.stages[-1])
        self.linear = qnn.QuantLinear(64, 10, bias=True, weight_quant=weight_quant)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, 10)."""
        x = self.relu(self.bn1(self.conv1(images)))
        for stage in self.stages:
            x = stage(x)
        out: Tensor = self.linear(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))
        return out
