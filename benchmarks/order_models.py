"""Networks of the benchmark of orders whose groups of channels are found by tracing a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import torch
from torch import Tensor, nn

import tremap_brevitas as tm
from benchmarks.order_networks import drawn
from benchmarks.trained_networks import DigitsNet, digits, placed
from tremap_brevitas.order.network import Network

# Factor, channels, blocks, stride of each stage of MobileNetV2.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def conv_bn(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, *, act: bool = True) -> nn.Sequential:
    """Convolution, BatchNorm, and ReLU6 where there is one."""
    conv = qnn.QuantConv2d(inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.ReLU6()] if act else []))


class InvertedResidual(nn.Module):
    """1×1 convolution to more channels, depthwise 3×3, 1×1 back; added to its input where the shapes are equal."""

    def __init__(self, inputs: int, outputs: int, stride: int, factor: int) -> None:
        super().__init__()
        hidden = factor * inputs
        self.expand = conv_bn(inputs, hidden, 1) if factor > 1 else nn.Identity()
        self.depthwise = conv_bn(hidden, hidden, 3, stride, groups=hidden)
        self.project = conv_bn(hidden, outputs, 1, act=False)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """MobileNetV2 for ImageNet (Sandler et al., 2018): 3.5 million weights, depthwise convolutions, 1,000 classes."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 32, 3, 2)]
        channels = 32
        for factor, width, blocks, stride in STAGES:
            for block in range(blocks):
                layers.append(InvertedResidual(channels, width, stride if block == 0 else 1, factor))
                channels = width
        self.features = nn.Sequential(*layers, conv_bn(channels, 1280, 1))
        self.classifier = qnn.QuantLinear(1280, 1000, bias=True)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, 1000)."""
        out: Tensor = self.classifier(self.features(images).mean((2, 3)))
        return out


class PreNorm(nn.Module):
    """Attention and feed-forward, each behind a LayerNorm and added to its input; a subclass makes the layers."""

    heads: int
    norm1: nn.Module
    norm2: nn.Module
    qkv: nn.Module
    out: nn.Module
    up: nn.Module
    gelu: nn.Module
    down: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, places, width) to the same shape."""
        batch, places, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (t.view(batch, places, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        weights = (q @ k.transpose(-2, -1) / (width // self.heads) ** 0.5).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, places, width))
        out: Tensor = x + self.down(self.gelu(self.up(self.norm2(x))))
        return out


class Block(PreNorm):
    """The layers with float inputs."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = qnn.QuantLinear(width, 3 * width, bias=True), qnn.QuantLinear(width, width, bias=True)
        self.up, self.gelu = qnn.QuantLinear(width, 4 * width, bias=True), nn.GELU()
        self.down = qnn.QuantLinear(4 * width, width, bias=True)


class Transformer(nn.Module):
    """A vision transformer for 32×32 images: patches of 4×4, four blocks of width 128 with four heads, 0.8 million weights."""

    def __init__(self, width: int = 128, heads: int = 4, depth: int = 4) -> None:
        super().__init__()
        self.embed = qnn.QuantConv2d(3, width, 4, stride=4, bias=True)
        self.place = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), qnn.QuantLinear(width, 10, bias=True)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, 32, 32) to logits (N, 10)."""
        x = self.embed(images).flatten(2).transpose(1, 2) + self.place
        out: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return out


def _resnet20(state: Path | None) -> tm.PlacedModel:
    from benchmarks.study.workbench import new_network

    if state is None:
        raise ValueError("resnet20-trained needs --state, a state that benchmarks.preparations or benchmarks.study has trained")
    model = new_network("resnet20")
    model.load_state_dict(torch.load(state, weights_only=True))
    return placed(model.eval())


def _untrained(model: nn.Module) -> tm.PlacedModel:
    return placed(tm.make_faulty(model.eval()))


# The model, an image for it, and whether its codes are trained; the others' are drawn.
MODELS: dict[str, tuple[Callable[[Path | None], tm.PlacedModel], tuple[int, ...], bool]] = {
    "mobilenetv2": (lambda _: _untrained(MobileNetV2()), (3, 64, 64), False),
    "transformer": (lambda _: _untrained(Transformer()), (3, 32, 32), False),
    "digits": (lambda _: _untrained(DigitsNet()), (1, 8, 8), False),
    "digits-trained": (lambda _: digits(0).net, (1, 8, 8), True),
    "resnet20-trained": (_resnet20, (3, 32, 32), True),
}


def traced(name: str, state: Path | None) -> Network:
    """A network of ``MODELS``; every group of its channels is proved by running the model.

    Raises:
        ValueError: If there is no such network, or its state is not given.
    """
    if name not in MODELS:
        raise ValueError(f"network must be resnet18, 20, 32, … or one of {', '.join(MODELS)}, got {name!r}")
    make, shape, trained = MODELS[name]
    torch.manual_seed(0)
    net: Any = make(state)
    groups = tm.prepare.channel_groups(net, torch.randn(2, *shape)).groups
    image = net.memory_image()
    if not trained:
        image = drawn({layer.name: layer.shape for layer in image.placement.layers})
    return Network(image, groups)
