"""The descent of a patch: against brute force, against a descent in plain Python, and against the one of compensation."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tremap_brevitas.moments import LayerMoments
from tremap_brevitas.patching.descent import BLOCK, descend
from tremap_brevitas.patching.reachable import Reachable
from tremap_brevitas.prepare.compensation import descent as compensation
from tremap_brevitas.prepare.compensation.reachable import CodeRule
from tremap_brevitas.prepare.compensation.reachable import Reachable as TorchReachable


def problem(seed, *, rows=2, columns=4, bits=3, rank=None, dead=False):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rank or 3 * columns, columns)) + 0.5
    if dead:
        inputs[:, :: max(columns // 2, 1)] = 0
    whole = (inputs.T @ inputs / len(inputs)).astype(np.float32)
    half = 1 << (bits - 1)
    wanted = rng.integers(-half, half, (rows, columns))
    one, other = rng.integers(0, 1 << bits, (2, rows, columns)) & rng.integers(0, 1 << bits, (2, rows, columns))
    sa0, sa1 = (one & ~other).astype(np.int32), (other & ~one).astype(np.int32)
    scale = rng.uniform(0.1, 2, (rows, rng.choice([1, columns])))
    moments = LayerMoments.of("fc", whole[None], inputs.mean(0)[None], wanted[None], scale[None], samples=9)
    return wanted.astype(float), sa0, sa1, scale, moments, whole.astype(np.float64)


def error_of(codes, wanted, scale, whole):
    errors = (codes - wanted) * scale
    return np.einsum("rk,kl,rl->r", errors, whole, errors)


def choices_of(sa0, sa1, bits):
    half = 1 << (bits - 1)
    full = 2 * half - 1
    return [code for code in range(-half, half) if (code & full | sa1) & ~sa0 == code & full]


@given(st.integers(0, 9999), st.integers(1, 3), st.sampled_from([None, 1, 2]))
@settings(max_examples=40)
def test_between_nearest_and_the_best_of_all_codes(seed, sweeps, rank):
    wanted, sa0, sa1, scale, moments, whole = problem(seed, rank=rank)
    reachable = Reachable(sa0, sa1, bit_width=3, encoding="twos_complement", lowest=-4)
    chosen = descend(wanted, reachable, scale, moments, 0, sweeps=sweeps)
    nearest = reachable.nearest(wanted, 0)
    assert chosen.error == pytest.approx(error_of(chosen.codes, wanted, scale, whole), abs=1e-9)
    if sweeps == 1:
        assert chosen.nearest == pytest.approx(error_of(nearest, wanted, scale, whole), abs=1e-9)
    assert (chosen.error <= chosen.nearest + 1e-9).all()
    for row in range(2):
        choices = [choices_of(int(a), int(b), 3) for a, b in zip(sa0[row], sa1[row], strict=True)]
        assert all(chosen.codes[row, j] in choices[j] for j in range(4))
        every = np.array(list(itertools.product(*choices)), dtype=float)
        here = scale[row : row + 1]
        best = error_of(every, wanted[row], here, whole).min()
        assert best - 1e-9 <= chosen.error[row]


def by_hand(wanted, sa0, sa1, scale, whole, *, bits, sweeps):
    """Cyclic coordinate descent with whole vectors and no cleverness."""
    scale = np.broadcast_to(scale, wanted.shape)
    result = np.empty_like(wanted)
    for row in range(len(wanted)):
        choices = [choices_of(int(a), int(b), bits) for a, b in zip(sa0[row], sa1[row], strict=True)]
        codes = np.array(
            [min(c, key=lambda x, w=w: (abs(x - w), abs(x), x < 0)) for c, w in zip(choices, wanted[row], strict=True)]
        )
        for _ in range(sweeps):
            for j, some in enumerate(choices):
                trials = np.repeat(codes[None], len(some), axis=0)
                trials[:, j] = some
                errors = error_of(trials, wanted[row], scale[row : row + 1], whole)
                now = error_of(codes[None], wanted[row], scale[row : row + 1], whole)[0]
                if errors.min() < now - 1e-9:
                    codes = trials[errors.argmin()]
        result[row] = codes
    return result


@given(st.integers(0, 9999), st.integers(1, 2), st.booleans())
@settings(max_examples=30)
def test_column_after_column_as_by_hand(seed, sweeps, dead):
    wanted, sa0, sa1, scale, moments, whole = problem(seed, rows=2, columns=8, bits=4, dead=dead)
    reachable = Reachable(sa0, sa1, bit_width=4, encoding="twos_complement", lowest=-8)
    chosen = descend(wanted, reachable, scale, moments, 0, sweeps=sweeps)
    assert np.array_equal(chosen.codes, by_hand(wanted, sa0, sa1, scale, whole, bits=4, sweeps=sweeps))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sweeps", [1, 3])
def test_the_codes_of_compensation(seed, sweeps):
    """More columns than a block, of both descents."""
    wanted, sa0, sa1, scale, moments, whole = problem(seed, rows=5, columns=2 * BLOCK + 150, bits=8, dead=seed % 2 == 1)
    reachable = Reachable(sa0, sa1, bit_width=8, encoding="twos_complement", lowest=-127)
    chosen = descend(wanted, reachable, scale, moments, 0, sweeps=sweeps)
    rule = CodeRule(8, "twos_complement", "nearest", -127)
    theirs = TorchReachable(*(torch.from_numpy(m.astype(np.int64))[None] for m in (sa0, sa1)), rule)
    wide = torch.from_numpy(np.broadcast_to(scale, wanted.shape).copy())[None]
    real = torch.from_numpy(wanted)[None] * wide

    def nearest(wish, column):
        return theirs.nearest(wish / wide[..., column], column) * wide[..., column]

    start = torch.from_numpy(reachable.nearest(wanted, 0))[None] * wide
    expected = compensation.descend(start, real, torch.from_numpy(whole)[None], nearest, sweeps=sweeps) / wide
    assert np.array_equal(chosen.codes, expected[0].round().numpy())


def test_moments_that_are_not_finite():
    wanted, sa0, sa1, scale, moments, _ = problem(0, columns=6)
    sa0[:], sa1[:] = 1, 0  # every odd code is out of reach
    second = moments.second.copy()
    second[0, 2] = np.nan
    broken = dataclasses.replace(moments, second=second)
    reachable = Reachable(sa0, sa1, bit_width=3, encoding="twos_complement", lowest=-4)
    with pytest.raises(ValueError, match="layer 'fc': its second moments are not all finite"):
        descend(wanted, reachable, scale, broken, 0)
