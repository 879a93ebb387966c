"""Moments kept as a triangle say what whole matrices say."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas.moments import LayerMoments


def drawn(seed, *, groups=1, rows=3, columns=7, by_weight=False, rank=None):
    """(moments, whole matrices, real weights) of a random layer."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(groups, rank or 20, columns)).round(3)
    whole = (inputs.swapaxes(1, 2) @ inputs / inputs.shape[1]).astype(np.float32).astype(np.float64)
    codes = rng.integers(-8, 8, (groups, rows, columns))
    scale = rng.uniform(0.1, 2, (groups, rows, columns if by_weight else 1))
    return LayerMoments.of("fc", whole, inputs.mean(1), codes, scale, samples=20, groups=groups), whole, codes * scale


@given(st.integers(0, 9999), st.integers(1, 3), st.booleans())
def test_the_triangle_gives_back_the_whole(seed, groups, by_weight):
    moments, whole, weights = drawn(seed, groups=groups, by_weight=by_weight)
    for group in range(groups):
        assert np.array_equal(moments.whole(group, np.array([4, 0, 6])), whole[group][[4, 0, 6]])
        assert np.array_equal(moments.ahead(group, 2, 5), np.triu(whole[group])[2:5, 2:])
        assert np.array_equal(moments.curvature[group], np.diag(whole[group]))
        errors = np.random.default_rng(seed).normal(size=(3, 7)) * [1, 0, 1, 1, 0, 1, 1]
        assert moments.times(group, errors) == pytest.approx(errors @ whole[group])
        assert moments.squared(group, errors) == pytest.approx([e @ whole[group] @ e for e in errors])
        assert moments.power[group] == pytest.approx([w @ whole[group] @ w for w in weights[group]])


@given(st.integers(0, 9999), st.integers(1, 3), st.booleans(), st.integers(1, 20), st.booleans())
def test_the_error_of_an_output_is_that_of_whole_matrices(seed, groups, by_weight, count, many):
    rows, columns = 3, 7
    moments, whole, weights = drawn(seed, groups=groups, rows=rows, columns=columns, by_weight=by_weight)
    rng = np.random.default_rng(seed)
    at = rng.choice(groups * rows * columns, groups * rows * columns if many else count, replace=False)
    off = rng.integers(-9, 9, len(at))
    errors = np.zeros(groups * rows * columns)
    errors[at] = off
    errors = errors.reshape(groups, rows, columns) * moments.scale
    squares = sum(e @ h @ e for part, h in zip(errors, whole, strict=True) for e in part)
    power = sum(w @ h @ w for part, h in zip(weights, whole, strict=True) for w in part)
    assert moments.output_error(at, off) == pytest.approx((squares / power) ** 0.5)


def test_many_errors_and_few_are_counted_alike():
    moments, *_ = drawn(0, rows=2, columns=400)  # so many pairs that whole rows are taken
    rng = np.random.default_rng(1)
    off = rng.integers(-9, 9, 800)
    halves = np.arange(800) % 400 < 10, np.arange(800) % 400 >= 10
    some = moments._squares(*np.divmod(np.flatnonzero(halves[0]), 400), off[halves[0]].astype(float))
    errors = np.where(halves[0], off, 0).reshape(2, 400).astype(float)
    assert some == pytest.approx(moments.squared(0, errors).sum())
    assert moments._squares(*np.divmod(np.arange(800), 400), off.astype(float)) == pytest.approx(
        moments.squared(0, off.reshape(2, 400).astype(float)).sum()
    )


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5, 2, 3)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_where_a_weight_stands_in_the_matrices(shape, transposed, groups):
    kernel = int(np.prod(shape[2:]))
    rows, columns = (shape[1], shape[0] // groups * kernel) if transposed else (shape[0] // groups, shape[1] * kernel)
    moments = LayerMoments.of(
        "up",
        np.tile(np.eye(columns), (groups, 1, 1)),
        np.zeros((groups, columns)),
        np.ones((groups, rows, columns)),
        1.0,
        samples=1,
        groups=groups,
        transposed=transposed,
    )
    size = int(np.prod(shape))
    matrices = moments.matrices(np.arange(size).reshape(shape)).reshape(groups * rows, columns)
    row, column = moments.places(np.arange(size), shape)
    assert np.array_equal(matrices[row, column], np.arange(size))
    assert np.array_equal(moments.weights(np.array([0, groups * rows - 1]), shape), matrices[[0, -1]])
    with pytest.raises(ValueError, match=r"layer 'up': moments for \d+ outputs of \d+ inputs, but its weight has shape"):
        moments.check((*shape[:-1], shape[-1] + 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": np.zeros((1, 3))}, "second of shape"),
        ({"power": np.zeros((1, 4))}, "scale of shape"),
        ({"scale": np.zeros((1, 3, 1))}, "scales must be positive"),
        ({"power": -np.ones((1, 3))}, "no mean square may be negative"),
        ({"mean": np.full((1, 7), np.nan)}, "must be finite"),
        ({"second": np.full((1, 28), np.nan)}, "second moments are not all finite"),
        ({"second": np.full((1, 28), -1.0)}, "no mean square may be negative"),
    ],
)
def test_what_is_no_moments(change, message):
    with pytest.raises(ValueError, match=f"layer 'fc': .*{message}"):
        dataclasses.replace(drawn(0)[0], **change)


def test_arrays_are_read_only():
    moments, *_ = drawn(0)
    for name in ("second", "mean", "scale", "power"):
        assert not getattr(moments, name).flags.writeable
