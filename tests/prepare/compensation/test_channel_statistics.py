"""Mean and variance of channels, against numpy in float64; what a BatchNorm makes of them."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tremap_brevitas.prepare.compensation.statistics import follow_, moments_of


@pytest.mark.parametrize("shape", [(30, 4), (7, 4, 9), (6, 4, 5, 3), (2, 4, 3, 4, 5)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_mean_and_variance_over_all_batches(shape, channels_last):
    rng = np.random.default_rng(0)
    offset = np.array([0.0, 3.0, -50.0, 0.01]).reshape(1, 4, *[1] * (len(shape) - 2))
    whole = (rng.normal(size=(2 * shape[0] + 3, *shape[1:])) * 0.5 + offset).astype(np.float32)
    x = torch.from_numpy(whole)
    if channels_last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    mean, variance = moments_of(x.split(shape[0]))  # the last batch is smaller
    rows = np.moveaxis(whole.astype(np.float64), 1, -1).reshape(-1, 4)
    assert np.allclose(mean, rows.mean(0), rtol=1e-6, atol=1e-7)
    assert np.allclose(variance, rows.var(0), rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -123.456, 1e-20, 1e6])
def test_a_channel_that_never_changes_has_no_variance(value):
    x = torch.full((50, 1, 37), value)
    mean, variance = moments_of([x, x[:7]])
    assert variance.tolist() == [0.0]
    assert mean.item() == pytest.approx(x[0, 0, 0].item(), rel=1e-6)


def test_many_pixels_lose_nothing():
    x = torch.rand(1, 1, 1 << 20, generator=torch.Generator().manual_seed(0)) + 1000
    mean, variance = moments_of([x])
    exact = x.double()
    assert mean.item() == pytest.approx(exact.mean().item(), rel=1e-7)
    assert variance.item() == pytest.approx(exact.var(unbiased=False).item(), rel=1e-4)


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_factors_and_signs_are_absorbed_exactly(seed):
    rng = torch.Generator().manual_seed(seed)
    twin = nn.BatchNorm2d(6).double()
    for value in (twin.weight.data, twin.bias.data, twin.running_mean):
        value.normal_(generator=rng)
    twin.running_var.uniform_(0.1, 3, generator=rng)
    twin.eval()
    norm = copy.deepcopy(twin)
    x = torch.randn(9, 6, 5, 5, generator=rng) * 3 + torch.randn(6, 1, 1, generator=rng)
    size = 4 ** (2 * torch.rand(6, generator=rng) - 1)  # a quarter to four
    sign = torch.where(torch.rand(6, generator=rng) < 0.5, -1.0, 1.0)
    turned = x * (size * sign)[:, None, None]
    with torch.no_grad():
        follow_(norm, twin, list(turned.split(4)), list(x.split(4)), sign)
        assert torch.allclose(norm(turned.double()), twin(x.double()), atol=1e-4)
    assert torch.equal(norm.weight, twin.weight * sign)
    assert torch.equal(norm.bias, twin.bias)


@pytest.mark.parametrize("constant", [0.0, 0.3, -7.0])
def test_a_channel_that_is_constant_in_the_healthy_network_is_as_good_as_constant_again(constant):
    rng = torch.Generator().manual_seed(0)
    twin = nn.BatchNorm2d(2).double().eval()
    with torch.no_grad():
        twin.weight.fill_(0.2)
        twin.bias.fill_(0.5)
        twin.running_mean.copy_(torch.tensor([constant, 0.0]))
        twin.running_var.copy_(torch.tensor([0.0, 1.0]))  # multiplies by 316
    norm = copy.deepcopy(twin)
    healthy = torch.randn(9, 2, 5, 5, generator=rng, dtype=torch.float64)
    healthy[:, 0] = constant
    own = healthy.clone()
    own[:, 0] += 0.3 * torch.randn(9, 5, 5, generator=rng, dtype=torch.float64)  # a stuck weight
    with torch.no_grad():
        follow_(norm, twin, [own], [healthy], None)
        assert torch.allclose(norm(own)[:, 0], twin(healthy)[:, 0], atol=5 * 0.2 * 1e-3)
        assert torch.allclose(norm(own)[:, 1], twin(healthy)[:, 1], atol=1e-4)
