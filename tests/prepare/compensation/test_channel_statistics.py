"""Mean and variance of channels, against numpy in float64."""

import numpy as np
import pytest
import torch

from tremap_brevitas.prepare.compensation.statistics import moments_of


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
