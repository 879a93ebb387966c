"""Networks whose channels can be reordered in ways that differ, small enough to run in a moment."""

from __future__ import annotations

import copy

import brevitas.nn as qnn
import torch
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Uint8ActPerTensorFixedPoint,
)
from networks import DigitsNet
from torch import nn

import tremap_brevitas as tm

FIXED = Int8WeightPerTensorFixedPoint


def conv(inputs, outputs, size=3, *, weight_quant=FIXED, dims=2, **options):
    kind = {1: qnn.QuantConv1d, 2: qnn.QuantConv2d, 3: qnn.QuantConv3d}[dims]
    options = {"padding": size // 2, "bias": False, **options}
    return kind(inputs, outputs, size, weight_quant=weight_quant, **options)


def fc(inputs, outputs, *, weight_quant=FIXED, **options):
    return qnn.QuantLinear(inputs, outputs, **{"bias": True, **options}, weight_quant=weight_quant)


def relu():
    return qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)


def conv_bn(inputs, outputs, size=3, **options):
    return nn.Sequential(conv(inputs, outputs, size, **options), nn.BatchNorm2d(outputs), relu())


class Residual(nn.Module):
    """A block of ResNet-18 with a 1×1 convolution in its shortcut, and one without."""

    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, 6)
        self.one, self.two, self.norm = conv_bn(6, 10, stride=2), conv(10, 10), nn.BatchNorm2d(10)
        self.down = nn.Sequential(conv(6, 10, 1, stride=2), nn.BatchNorm2d(10))
        self.three, self.four, self.last_norm = conv_bn(10, 10), conv(10, 10), nn.BatchNorm2d(10)
        self.act, self.fc = relu(), fc(10, 4)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.stem(x), 2)
        x = self.act(self.norm(self.two(self.one(x))) + self.down(x))
        x = self.act(x + self.last_norm(self.four(self.three(x))))
        return self.fc(x.mean((2, 3)))


class Mobile(nn.Module):
    """Inverted residual: 1×1, depthwise, 1×1; and a depthwise convolution with two filters a channel."""

    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, 6)
        self.expand, self.depthwise = conv_bn(6, 12, 1), conv_bn(12, 12, groups=12)
        self.project, self.norm = conv(12, 6, 1, bias=True), nn.BatchNorm2d(6)
        self.twice, self.last = conv_bn(6, 12, groups=6), conv_bn(12, 5, 1)
        self.fc = fc(5, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.norm(self.project(self.depthwise(self.expand(x))))
        x = self.last(self.twice(x))
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Dense(nn.Module):
    """Concatenation, as in DenseNet, and of a sum with what was added, as in CSP networks."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = conv_bn(3, 5), conv_bn(5, 4), conv_bn(9, 4)
        self.norm, self.three = nn.BatchNorm2d(13), conv(13, 4)
        self.end, self.fc = conv_bn(12, 6, 1), fc(6 * 16, 4)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([x, self.one(x)], 1)
        new = self.two(x)
        other = self.three(torch.relu(self.norm(torch.cat([x, new], 1))))
        x = self.end(torch.cat([new, other, new + other], 1))
        return self.fc(nn.functional.avg_pool2d(x, 2).view(x.size(0), -1))


class Grouped(nn.Module):
    """Grouped convolution: channels move within their group, groups move whole; a shuffle between two of them."""

    def __init__(self):
        super().__init__()
        self.stem = conv_bn(3, 12)
        self.grouped = conv_bn(12, 18, groups=3)
        self.second, self.fc = conv_bn(18, 9, groups=3, bias=True), fc(9, 4)

    def forward(self, x):
        return self.fc(self.second(self.grouped(self.stem(x))).mean((2, 3)))


class FeedForward(nn.Module):
    """A transformer's block with attention that is written out."""

    def __init__(self, width=12, heads=3):
        super().__init__()
        self.heads = heads
        self.embed, self.place = fc(5, width), nn.Parameter(torch.randn(1, 6, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = fc(width, 3 * width), fc(width, width)
        self.up, self.gelu, self.down = fc(width, 20), nn.GELU(), fc(20, width)
        self.head = fc(width, 4)

    def forward(self, x):
        x = self.embed(x) + self.place
        batch, places, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (t.view(batch, places, self.heads, -1).transpose(1, 2) for t in (q, k, v))
        weights = (q @ k.transpose(-2, -1) / 2).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, places, width))
        x = x + self.down(self.gelu(self.up(self.norm2(x))))
        return self.head(x.mean(1))


class Attention(nn.Module):
    """Brevitas' own attention."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = fc(5, 12), fc(12, 4)
        self.attention = qnn.QuantMultiheadAttention(
            12,
            3,
            batch_first=True,
            in_proj_weight_quant=FIXED,
            out_proj_weight_quant=FIXED,
            packed_in_proj=True,
        )

    def forward(self, x):
        x = self.embed(x)
        return self.head((x + self.attention(x, x, x)[0]).mean(1))


class Shared(nn.Module):
    """A layer that is called twice, so that its outputs are tied to its inputs; and operations without modules."""

    def __init__(self):
        super().__init__()
        self.first, self.twice, self.free, self.last = fc(5, 7), fc(7, 7), fc(7, 9), fc(9, 4)
        self.scale = nn.Parameter(torch.rand(7) + 0.5)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.twice(x)) * self.scale
        x = nn.functional.leaky_relu(self.twice(x), 0.1).clamp(-3, 3)
        x = torch.where(x > 0, x, 0.3 * x)
        return self.last(torch.sigmoid(self.free(x)))


class Untraceable(nn.Module):
    """Between two layers something that depends on the order; after them, channels that are free."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = fc(5, 8), fc(8, 7), fc(7, 4)

    def forward(self, x):
        x = torch.cumsum(torch.relu(self.first(x)), 1)
        return self.third(torch.relu(self.second(x)))


class Mixed(nn.Module):
    """1-D and transposed convolutions, per-channel activations and scales, 3-D convolution."""

    def __init__(self):
        super().__init__()
        channel = Int8WeightPerChannelFloat
        self.one = conv(3, 6, dims=1, weight_quant=channel, bias=True)
        self.act = nn.PReLU(6)
        self.up = qnn.QuantConvTranspose1d(6, 8, 4, stride=2, bias=True, weight_quant=FIXED)
        self.quant = qnn.QuantIdentity(act_quant=Int8ActPerTensorFixedPoint, return_quant_tensor=True)
        self.mid = qnn.QuantConvTranspose1d(8, 8, 3, groups=8, bias=True, weight_quant=FIXED)
        self.cube, self.norm = conv(8, 5, dims=3, weight_quant=channel), nn.GroupNorm(1, 5)
        self.fc = fc(5, 4, weight_quant=channel)

    def forward(self, x):
        x = self.quant(self.up(self.act(self.one(x))))
        x = self.mid(x)
        x = self.norm(self.cube(x[:, :, :8].reshape(x.shape[0], 8, 2, 2, 2)))
        return self.fc(x.amax((2, 3, 4)))


PICTURES, NUMBERS, WORDS, SOUND = (2, 3, 8, 8), (4, 5), (2, 6, 5), (2, 3, 8)
NETWORKS = {
    Residual: PICTURES,
    Mobile: PICTURES,
    Dense: PICTURES,
    Grouped: PICTURES,
    FeedForward: WORDS,
    Attention: WORDS,
    Shared: NUMBERS,
    Untraceable: NUMBERS,
    Mixed: SOUND,
}


def lively(model, *inputs, seed=0):
    """A model whose BatchNorms have statistics and whose activations have scales, as after training."""
    generator = torch.Generator().manual_seed(seed)
    model.train()(*inputs)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                with torch.no_grad():
                    tensor.copy_(tensor * 0.2 + torch.rand(tensor.shape, generator=generator) * 0.5 + 0.1)
    return model.eval()


def placed(kind, *, seed=0, **options):
    """A network of that kind, placed, and inputs for it."""
    torch.manual_seed(seed)
    model = kind() if isinstance(kind, type) else kind
    x = torch.randn(NETWORKS.get(kind, PICTURES))
    model = tm.make_faulty(lively(model, x), **options)
    return tm.place(model, tm.Memory(words=60_000, word_bits=32)), x


def placed_digits():
    """The digits network in a memory that it just fills, images, and its groups of channels."""
    torch.manual_seed(0)
    x = torch.rand(64, 1, 8, 8).mul(16).round().div(16)
    model = tm.make_faulty(lively(DigitsNet(), x))
    words = tm.place(copy.deepcopy(model), tm.Memory(words=2560, word_bits=32)).placement.words
    net = tm.place(model, tm.Memory(words=words, word_bits=32))
    return net, x, tm.prepare.channel_groups(net, x[:2]).groups
