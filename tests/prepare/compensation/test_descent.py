"""Coordinate descent against brute force over all codes of tiny layers."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tremap_brevitas.prepare.compensation.descent import about_the_mean, constant, descend, errors_of, target_of
from tremap_brevitas.prepare.compensation.layer import MAX_FACTOR, fitted_factors
from tremap_brevitas.prepare.compensation.reachable import CodeRule, Reachable

RULE = CodeRule(3, "twos_complement", "nearest", -4)


def a_layer(seed, *, groups=1, rows=2, columns=4, rank=None):
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(groups, rank or 3 * columns, columns, generator=rng, dtype=torch.float64)
    moments = inputs.mT @ inputs / inputs.shape[1]
    target = 6 * torch.rand(groups, rows, columns, generator=rng, dtype=torch.float64) - 3
    stuck = torch.randint(8, (2, groups, rows, columns), generator=rng)
    sa0, sa1 = stuck[0] & ~stuck[1], stuck[1] & ~stuck[0]
    return target, moments, sa0, sa1


def nearest_codes(reachable, wishes):
    return torch.stack([reachable.nearest(wishes[..., j], j) for j in range(wishes.shape[-1])], -1)


def reachable_by_hand(sa0, sa1):
    return [code for code in range(-4, 4) if (code & 7 | sa1) & ~sa0 == code & 7]


@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([None, 1, 2]))
@settings(max_examples=40)
def test_between_nearest_and_the_best_of_all_codes(seed, sweeps, rank):
    target, moments, sa0, sa1 = a_layer(seed, rank=rank)
    reachable = Reachable(sa0, sa1, RULE)
    start = nearest_codes(reachable, target)
    chosen = descend(start, target, moments, reachable.nearest, sweeps=sweeps, block=3)
    error = errors_of(chosen, target, moments)[0]
    for row in range(2):
        choices = [reachable_by_hand(int(a), int(b)) for a, b in zip(sa0[0, row], sa1[0, row], strict=True)]
        assert all(chosen[0, row, j].item() in choices[j] for j in range(4))
        every = torch.tensor(list(itertools.product(*choices)), dtype=torch.float64)
        best = errors_of(every[None], target[:, row : row + 1], moments)[0].min()
        assert best - 1e-9 <= error[row] <= errors_of(start, target, moments)[0, row] + 1e-9


@given(st.integers(0, 10_000))
def test_every_sweep_lowers_the_error_or_leaves_it(seed):
    target, moments, sa0, sa1 = a_layer(seed, rows=5, columns=9)
    reachable = Reachable(sa0, sa1, RULE)
    weights = nearest_codes(reachable, target)
    before = errors_of(weights, target, moments)
    for _ in range(4):
        weights = descend(weights, target, moments, reachable.nearest, block=4)
        after = errors_of(weights, target, moments)
        assert bool((after <= before + 1e-9).all())
        before = after


@pytest.mark.parametrize(("block", "inner"), [(1, 1), (2, 1), (2, 9), (5, 2), (8, 3), (128, 4), (128, 128)])
def test_the_size_of_a_block_changes_nothing(block, inner):
    target, moments, sa0, sa1 = a_layer(3, groups=2, rows=4, columns=11)
    reachable = Reachable(sa0, sa1, RULE)
    start = nearest_codes(reachable, target)
    whole = descend(start, target, moments, reachable.nearest, block=64, inner=64, sweeps=2)
    gradient = (start - target) @ moments
    options = {"block": block, "inner": inner, "sweeps": 2}
    assert torch.equal(descend(start, target, moments, reachable.nearest, gradient=gradient, **options), whole)
    assert torch.allclose(gradient, (whole - target) @ moments)


def test_white_inputs_leave_the_nearest_codes():
    target, _, sa0, sa1 = a_layer(1, rows=6, columns=8)
    reachable = Reachable(sa0, sa1, RULE)
    start = nearest_codes(reachable, target)
    eye = torch.eye(8, dtype=torch.float64)[None]
    assert torch.equal(descend(start, target, eye, reachable.nearest), start)


def test_dead_inputs_are_left_alone():
    target, moments, sa0, sa1 = a_layer(2, columns=5)
    moments[:, 2], moments[:, :, 2] = 0, 0
    reachable = Reachable(sa0, sa1, RULE)
    start = nearest_codes(reachable, target)
    chosen = descend(start, target, moments, reachable.nearest)
    assert torch.equal(chosen[..., 2], start[..., 2])
    assert bool(chosen.isfinite().all())


def test_the_target_undoes_what_a_linear_change_of_the_inputs_did():
    rng = torch.Generator().manual_seed(0)
    healthy = torch.randn(1, 200, 6, generator=rng, dtype=torch.float64)
    change = torch.eye(6, dtype=torch.float64) + 0.2 * torch.randn(6, 6, generator=rng, dtype=torch.float64)
    faulty = healthy @ change
    weights = torch.randn(1, 3, 6, generator=rng, dtype=torch.float64)
    target = target_of(weights, faulty.mT @ faulty, healthy.mT @ faulty, damping=0.0)
    assert torch.allclose(faulty @ target.mT, healthy @ weights.mT)
    same = target_of(weights, healthy.mT @ healthy, healthy.mT @ healthy, damping=0.01)
    assert torch.allclose(same, weights)


def test_inputs_that_say_too_little_give_a_finite_target():
    weights = torch.ones(1, 2, 4, dtype=torch.float64)
    zeros = torch.zeros(1, 4, 4, dtype=torch.float64)
    assert bool(target_of(weights, zeros, zeros, damping=0.01).isfinite().all())


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_moments_about_the_mean_are_the_errors_that_a_free_bias_leaves(seed):
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(1, 30, 5, generator=rng, dtype=torch.float64) + 3
    inputs[..., 2] = 7.0  # never changes
    weights, target = torch.randn(2, 1, 3, 5, generator=rng, dtype=torch.float64)
    second, mean = inputs.mT @ inputs / 30, inputs.mean(1)
    central = about_the_mean(second, mean, mean)
    assert constant(second, mean)[0].tolist() == [False, False, True, False, False]
    assert not bool(central[0, 2].any() | central[0, :, 2].any())
    difference = inputs @ (weights - target).mT
    assert torch.allclose(errors_of(weights, target, central), difference.var(1, correction=0))
    # The target, found in data: a regression on inputs and a bias.
    healthy = inputs + torch.randn(1, 30, 5, generator=rng, dtype=torch.float64)
    healthy_mean = healthy.mean(1)
    cross = about_the_mean(healthy.mT @ inputs / 30, healthy_mean, mean, dead=constant(second, mean))
    live = [0, 1, 3, 4]
    aim = target_of(weights, central, cross, damping=1e-9)[..., live]
    design = torch.cat([inputs[0][:, live], torch.ones(30, 1, dtype=torch.float64)], 1)
    expected = torch.linalg.lstsq(design, healthy[0] @ weights[0].T).solution[:4].T
    assert torch.allclose(aim[0], expected, atol=1e-5)


def test_inputs_that_never_change_leave_the_weights_as_the_target():
    inputs = torch.full((1, 4, 3), 2.0)
    second, mean = inputs.mT @ inputs / 4, inputs.mean(1)
    central = about_the_mean(second, mean, mean)
    weights = torch.arange(6.0).reshape(1, 2, 3)
    assert torch.equal(target_of(weights, central, central, damping=0.01), weights)


@given(st.integers(0, 10_000), st.booleans())
def test_the_fitted_factor_is_the_best_of_many(seed, conflicting):
    target, moments, _, _ = a_layer(seed, rows=3)
    rng = torch.Generator().manual_seed(seed)
    weights = torch.rand(target.shape, generator=rng, dtype=torch.float64) * 4 - 2
    sign = torch.tensor([[1.0, -1.0, 1.0]], dtype=torch.float64)
    spread = torch.rand(3, generator=rng, dtype=torch.float64) if conflicting else None
    factor, error = fitted_factors(weights, weights @ moments, target, target @ moments, sign, spread=spread)
    assert torch.equal(factor.sign(), sign)

    def error_at(f):
        return (errors_of(weights, f[..., None] * target, moments) + (0 if spread is None else spread)) / f.square()

    assert torch.allclose(error, error_at(factor))
    for size in torch.logspace(-2, 2, 81, base=MAX_FACTOR**0.5, dtype=torch.float64):
        assert bool((error <= error_at(sign * size) + 1e-9).all())
