"""Rows times matrices are what the layer computes, for every kind of layer."""

import brevitas.nn as qnn
import pytest
import torch
from torch import nn

from tremap_brevitas.prepare.compensation.moments import Sums, as_matrices, as_weight, rows_of

LAYERS = {
    "linear": (nn.Linear(7, 4, bias=False), (3, 7)),
    "linear on sequences": (nn.Linear(7, 4, bias=False), (3, 5, 7)),
    "conv1d": (nn.Conv1d(3, 5, 4, stride=2, padding=1, dilation=2, bias=False), (2, 3, 15)),
    "conv2d": (nn.Conv2d(3, 5, (3, 2), stride=(2, 1), padding=(1, 0), bias=False), (2, 3, 8, 7)),
    "conv2d one image": (nn.Conv2d(3, 5, 3, bias=False), (3, 8, 7)),
    "conv2d same": (nn.Conv2d(3, 5, (4, 3), padding="same", bias=False), (2, 3, 8, 7)),
    "conv2d valid": (nn.Conv2d(3, 5, 3, padding="valid", bias=False), (2, 3, 8, 7)),
    "conv2d circular": (nn.Conv2d(3, 5, 3, padding=1, padding_mode="circular", bias=False), (2, 3, 8, 7)),
    "conv2d reflected": (nn.Conv2d(3, 5, 3, padding=(1, 2), padding_mode="reflect", bias=False), (2, 3, 8, 7)),
    "conv2d grouped": (nn.Conv2d(6, 4, 3, groups=2, padding=1, bias=False), (2, 6, 5, 6)),
    "conv2d depthwise": (nn.Conv2d(4, 8, 3, groups=4, bias=False), (2, 4, 5, 6)),
    "conv3d": (nn.Conv3d(2, 3, (2, 3, 2), padding=1, bias=False), (2, 2, 4, 5, 4)),
    "transposed 1d": (nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1, output_padding=1, bias=False), (2, 3, 6)),
    "transposed 2d": (nn.ConvTranspose2d(3, 4, (3, 2), stride=(2, 3), padding=(1, 0), bias=False), (2, 3, 4, 5)),
    "transposed grouped": (nn.ConvTranspose2d(4, 6, 3, groups=2, dilation=2, padding=3, bias=False), (2, 4, 5, 5)),
    "transposed 3d": (nn.ConvTranspose3d(2, 3, 2, stride=2, bias=False), (1, 2, 3, 3, 3)),
    "brevitas": (qnn.QuantConv2d(3, 5, 3, padding=1, bias=False, weight_quant=None), (2, 3, 6, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_rows_times_matrices_are_the_outputs(name):
    layer, shape = LAYERS[name]
    torch.manual_seed(0)
    x = torch.randn(shape)
    expected = layer(x)
    matrices = as_matrices(layer, layer.weight)
    rows = rows_of(layer, x)
    outputs = torch.einsum("gsk,grk->gsr", rows, matrices)
    groups, samples, per_group = outputs.shape
    if isinstance(layer, nn.Linear):
        flat = expected.reshape(1, -1, expected.shape[-1])
    else:
        batched = expected if expected.dim() == len(layer.kernel_size) + 2 else expected[None]
        flat = batched.flatten(2).transpose(1, 2).reshape(samples, groups, per_group).transpose(0, 1)
    assert torch.allclose(outputs, flat, atol=1e-5)
    assert torch.equal(as_weight(layer, matrices, layer.weight.shape), layer.weight)


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_moments_of_batches_are_those_of_all_rows(name):
    layer, shape = LAYERS[name]
    torch.manual_seed(0)
    x, healthy = torch.randn(2, 3, *shape)
    sums = Sums(samples=1000)
    for a, b in zip(x, healthy, strict=True):
        sums.add(layer, a, b)
    rows, wanted = (torch.cat([rows_of(layer, part) for part in inputs], 1).double() for inputs in (x, healthy))
    assert sums.rows == rows.shape[1]
    means = sums.means()
    assert torch.allclose(means.second, rows.mT @ rows / sums.rows, atol=1e-6)
    assert torch.allclose(means.cross, wanted.mT @ rows / sums.rows, atol=1e-6)
    assert torch.allclose(means.mean, rows.mean(1), atol=1e-6)
    assert torch.allclose(means.healthy_mean, wanted.mean(1), atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_fewer_rows_are_rows_of_all(name):
    layer, shape = LAYERS[name]
    x = torch.randn(shape)
    rows = rows_of(layer, x)
    at = torch.linspace(0, rows.shape[1] - 1, 3, dtype=torch.float64).long()
    assert torch.equal(rows_of(layer, x, samples=3), rows if rows.shape[1] <= 3 else rows[:, at])


def test_no_more_samples_than_asked_for():
    layer, moments = nn.Conv2d(1, 1, 3), Sums(samples=10)
    moments.add(layer, torch.randn(4, 1, 9, 9), None)
    assert moments.rows == 10


def test_a_layer_without_rows_says_so():
    with pytest.raises(TypeError, match="Embedding"):
        rows_of(nn.Embedding(3, 4), torch.tensor([1]))
