"""Nearest reachable codes of real wishes, against the oracle and against what compensation uses."""

import numpy as np
import oracle
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import stuck_codes

from tremap_brevitas.codes import code_range
from tremap_brevitas.patching.reachable import Reachable
from tremap_brevitas.prepare.compensation.reachable import CodeRule
from tremap_brevitas.prepare.compensation.reachable import Reachable as TorchReachable


@given(stuck_codes(max_width=8), st.lists(st.floats(-300, 300), min_size=1, max_size=9))
def test_no_reachable_code_is_nearer(drawn, wishes):
    _, sa0, sa1, width, encoding = drawn
    low, high = code_range(bit_width=width, encoding=encoding)
    stuck = oracle.stuck_bits(sa0, sa1, width)
    choices = sorted({oracle.read_back(code, stuck, width, encoding) for code in range(low, high + 1)})
    masks = np.full((1, len(wishes)), sa0, dtype=np.int32), np.full((1, len(wishes)), sa1, dtype=np.int32)
    nearest = Reachable(*masks, bit_width=width, encoding=encoding, lowest=low).nearest(np.array([wishes]), 0)[0]
    for wish, code in zip(wishes, nearest, strict=True):
        inside = min(max(wish, low), high)
        assert code in choices
        assert abs(code - inside) == min(abs(c - inside) for c in choices)


@given(st.integers(0, 9999), stuck_codes(), st.booleans())
def test_as_compensation_has_it(seed, drawn, narrow):
    *_, width, encoding = drawn
    rng = np.random.default_rng(seed)
    low, high = code_range(bit_width=width, encoding=encoding)
    lowest = low + int(narrow and low < 0 and high > low + 1)
    one, other = rng.integers(0, 1 << width, (2, 3, 5))
    sa0, sa1 = one & ~other, other & ~one
    wishes = rng.uniform(low - 3, high + 3, (3, 5)).round(rng.integers(0, 2))
    mine = Reachable(sa0.astype(np.int32), sa1.astype(np.int32), bit_width=width, encoding=encoding, lowest=lowest)
    rule = CodeRule(width, encoding, "nearest", lowest)
    theirs = TorchReachable(torch.from_numpy(sa0)[None], torch.from_numpy(sa1)[None], rule)
    for column in range(5):
        expected = theirs.nearest(torch.from_numpy(wishes[None, :, column]), column)[0].numpy()
        assert np.array_equal(mine.nearest(wishes[:, column : column + 1], column)[:, 0], expected)
    assert np.array_equal(mine.nearest(wishes[:, 2:], 2), mine.nearest(wishes, 0)[:, 2:])
