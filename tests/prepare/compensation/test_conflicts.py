"""The mean of the members' errors, against a plain sum over the members."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tremap_brevitas.prepare.compensation.conflicts import Clashes, Conflicts
from tremap_brevitas.prepare.compensation.descent import about_the_mean, descend, errors_of
from tremap_brevitas.prepare.compensation.reachable import CodeRule, Reachable, writable

WIDTH, CODES = 3, list(range(-4, 4))
RULE = CodeRule(WIDTH, "twos_complement", "nearest", -4)


class Group:
    """A layer of a few rows under the maps of a few members; what the members read is worked out bit by bit."""

    def __init__(self, seed, members=3, rows=2, columns=5, scale=0.5):
        rng = torch.Generator().manual_seed(seed)
        inputs = torch.randn(20, columns, generator=rng, dtype=torch.float64)
        self.moments = (inputs.T @ inputs / 20)[None]
        self.target = scale * (6 * torch.rand(1, rows, columns, generator=rng, dtype=torch.float64) - 3)
        self.scale, self.shape = scale, (rows, columns)
        stuck = torch.randint(0, 10, (members, rows, columns, WIDTH), generator=rng)  # 0: stuck at 0, 1: at 1, else healthy
        self.stuck = stuck
        bits = 1 << torch.arange(WIDTH)
        self.sa0, self.sa1 = (((stuck == value) * bits).sum(-1) for value in (0, 1))
        zero = self.sa0.clone()[0]
        one = self.sa1.clone()[0]
        for m in range(1, members):
            zero, one = zero | self.sa0[m], one | self.sa1[m]
        clash = zero & one  # left free, as merge(on_conflict="free") leaves them
        self.union = zero & ~clash, one & ~clash
        self.row, self.column = (clash != 0).nonzero(as_tuple=True)

    def read(self, codes, member):
        """What a member reads of the codes written, real values."""
        result = torch.zeros(self.shape, dtype=torch.float64)
        for r in range(self.shape[0]):
            for c in range(self.shape[1]):
                value = int(codes[r, c])
                pattern = [value >> b & 1 for b in range(WIDTH)]
                for b in range(WIDTH):
                    if self.stuck[member, r, c, b] < 2:
                        pattern[b] = int(self.stuck[member, r, c, b])
                number = pattern[0] + 2 * pattern[1] - 4 * pattern[2]
                result[r, c] = number * self.scale
        return result

    def mean_error(self, codes):
        errors = [errors_of(self.read(codes, m)[None], self.target, self.moments)[0] for m in range(len(self.stuck))]
        return torch.stack(errors).mean(0)

    def clashes(self):
        at = self.row, self.column
        ones = torch.ones(len(self.row), dtype=torch.float64)
        return Clashes(
            group=torch.zeros_like(self.row),
            row=self.row,
            column=self.column,
            sa0=self.sa0[:, at[0], at[1]].T,
            sa1=self.sa1[:, at[0], at[1]].T,
            stored=torch.tensor(CODES) & 7,
            decoded=torch.tensor([c if c < 4 else c - 8 for c in range(8)], dtype=torch.float64),
            allowed=writable(self.union[0][at], self.union[1][at], CODES, RULE),
            scale=self.scale * ones,
            zero_point=0 * ones,
        )


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 3))
@settings(max_examples=40)
def test_the_mean_error_is_what_the_members_have(seed, members, copies):
    group = Group(seed, members)
    if not len(group.row):
        return
    rows = group.shape[0]
    conflicts = Conflicts(group.clashes(), group.moments[0], rows=rows, copies=copies)
    reachable = Reachable(*(mask.repeat(copies, 1)[None] for mask in group.union), RULE)

    def nearest(wish, column):
        return reachable.nearest(wish / group.scale, column) * group.scale

    target = group.target.repeat(1, copies, 1)
    weights = torch.stack([nearest(target[..., j], j) for j in range(group.shape[1])], -1)
    conflicts.start_(weights[0], target[0])
    before = errors_of(weights, target, group.moments)[0] + conflicts.spread_errors()
    chosen = descend(weights, target, group.moments, nearest, conflicts=conflicts, block=2)
    after = errors_of(chosen, target, group.moments)[0] + conflicts.spread_errors()
    assert bool((after <= before + 1e-9).all())
    conflicts.written_(chosen[0])
    for copy in range(copies):
        codes = (chosen[0, copy * rows : (copy + 1) * rows] / group.scale).round()
        assert torch.allclose(group.mean_error(codes), after[copy * rows : (copy + 1) * rows])
        stored = codes.long() & 7
        assert bool((((stored | group.union[1]) & ~group.union[0]) == stored).all())


def test_copies_that_go_on_keep_their_codes():
    group = next(g for g in map(Group, range(20)) if len(g.row) > 1)
    rows, copies = group.shape[0], 3
    conflicts = Conflicts(group.clashes(), group.moments[0], rows=rows, copies=copies)
    target = torch.cat([group.target, -group.target, 0.5 * group.target], 1)[0]
    weights = torch.zeros_like(target)
    conflicts.start_(weights, target)
    before = conflicts.spread_errors().reshape(copies, rows)
    conflicts.written_(weights)
    order = torch.tensor([[2, 0], [1, 1]])
    kept = conflicts.of_copies(order)
    assert torch.equal(kept.spread_errors().reshape(2, rows), before.gather(0, order))
    written = torch.zeros(2 * rows, group.shape[1], dtype=torch.float64)
    kept.written_(written)
    by_copy = weights.reshape(copies, rows, -1)
    for copy in range(2):
        for row in range(rows):
            at = group.column[group.row == row]
            assert torch.equal(written[copy * rows + row, at], by_copy[order[copy, row], row, at])


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_the_mean_output_is_taken_up_and_no_member_s_deviation_from_it(seed):
    group = Group(seed)
    if not len(group.row):
        return
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(20, group.shape[1], generator=rng, dtype=torch.float64) + 1
    second, mean = (inputs.T @ inputs / 20)[None], inputs.mean(0)[None]
    conflicts = Conflicts(group.clashes(), second[0], rows=group.shape[0], copies=1)
    reachable = Reachable(*(mask[None] for mask in group.union), RULE)

    def nearest(wish, column):
        return reachable.nearest(wish / group.scale, column) * group.scale

    central = about_the_mean(second, mean, mean)
    weights = torch.stack([nearest(group.target[..., j], j) for j in range(group.shape[1])], -1)
    conflicts.start_(weights[0], group.target[0])
    before = errors_of(weights, group.target, central)[0] + conflicts.spread_errors()
    chosen = descend(weights, group.target, central, nearest, conflicts=conflicts, block=2)
    after = errors_of(chosen, group.target, central)[0] + conflicts.spread_errors()
    assert bool((after <= before + 1e-9).all())
    conflicts.written_(chosen[0])
    codes = (chosen[0] / group.scale).round()
    wrong = torch.stack([(group.read(codes, m) - group.target[0]) @ inputs.T for m in range(len(group.stuck))])
    bias = wrong.mean((0, 2), keepdim=True)
    assert torch.allclose((wrong - bias).square().mean((0, 2)), after)


def test_one_conflicting_weight_gets_the_best_of_all_codes():
    group = Group(0, members=3, rows=1, columns=1)
    group.stuck[:] = torch.tensor([[[[9, 9, 0]]], [[[9, 9, 1]]], [[[1, 9, 9]]]])  # the sign bit: at 0, at 1; bit 0 at 1
    group.sa0 = torch.tensor([[[4]], [[0]], [[0]]])
    group.sa1 = torch.tensor([[[0]], [[4]], [[1]]])
    group.union = torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.int64)
    group.row, group.column = torch.tensor([0]), torch.tensor([0])
    conflicts = Conflicts(group.clashes(), group.moments[0], rows=1, copies=1)
    weights = group.target[0].clone()
    conflicts.start_(weights, group.target[0])
    conflicts.written_(weights)
    errors = {code: group.mean_error(torch.tensor([[code]])).item() for code in (-3, -1, 1, 3)}
    assert round(weights.item() / group.scale) == min(errors, key=errors.get)


def test_all_tensors_are_made_where_the_inputs_are():
    group = Group(1, members=3)
    assert len(group.row)
    clashes, reachable = group.clashes(), Reachable(*(mask[None] for mask in group.union), RULE)
    with torch.device("meta"):  # where whatever is made without a device would land
        conflicts = Conflicts(clashes, group.moments[0], rows=group.shape[0], copies=1)
        weights = reachable.nearest((group.target / group.scale).movedim(-1, 0), slice(None)).movedim(0, -1) * group.scale
        conflicts.start_(weights[0], group.target[0])
        weights = descend(
            weights,
            group.target,
            group.moments,
            lambda w, c: reachable.nearest(w / group.scale, c) * group.scale,
            conflicts=conflicts,
        )
        conflicts.written_(weights[0])
    assert weights.device.type == "cpu"
    assert bool(conflicts.spread_errors().isfinite().all())
