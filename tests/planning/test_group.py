import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import groups

import tremap_brevitas as tm
from tremap_brevitas.faults.random.structured import clustered_fault_maps, nested_fault_maps
from tremap_brevitas.planning.group import group_chips, in_arrival_order

MEMORY = tm.Memory(words=400, word_bits=8)


def by_value(chip):
    """A cost that depends on cell and value, not alike for any two."""
    return (chip.cells % 5 + 1) * (1 + 0.5 * chip.stuck_at)


def costs_by_hand(members, cost):
    """Cost of the union and of the conflicts, cell by cell."""
    stuck = {}
    for chip in members:
        for cell, value, own in zip(chip.cells.tolist(), chip.stuck_at.tolist(), cost(chip), strict=True):
            stuck.setdefault(cell, {})[value] = float(own)
    conflicts = [max(v.values()) for v in stuck.values() if len(v) == 2]
    return sum(max(v.values()) for v in stuck.values()), len(conflicts), sum(conflicts)


def ones(chip):
    return np.ones(len(chip))


@given(groups(), st.floats(1, 30), st.floats(0, 6), st.sampled_from([None, 1, 2]), st.sampled_from([ones, by_value]))
def test_groups_keep_within_limits_and_lose_nobody(chips, limit, conflict_limit, largest, cost):
    for grouped in (
        group_chips(chips, limit=limit, conflict_limit=conflict_limit, cost=cost, largest=largest),
        in_arrival_order(chips, limit=limit, conflict_limit=conflict_limit, cost=cost),
    ):
        assert sorted(id(m) for g in grouped for m in g.members) == sorted(map(id, chips))
        for group in grouped:
            expected = costs_by_hand(group.members, cost)
            assert (group.cost, group.conflicts, group.conflict_cost) == pytest.approx(expected)
            within = expected[0] <= limit + 1e-9 and expected[2] <= conflict_limit + 1e-9
            assert group.fits == within
            assert within or len(group.members) == 1
    if largest is not None:
        assert all(len(g.members) <= largest for g in group_chips(chips, limit=limit, largest=largest))


@given(groups(min_size=1), st.integers(1, 25))
def test_never_more_groups_than_the_best_partition_twice(chips, limit):
    """Against every partition of a handful of chips."""

    def fewest():
        for count in range(1, len(chips) + 1):
            for labels in itertools.product(range(count), repeat=len(chips)):
                parts = [[c for c, x in zip(chips, labels, strict=True) if x == k] for k in range(count)]
                if all(len(p) == 1 or costs_by_hand(p, ones)[0] <= limit for p in parts if p):
                    return len([p for p in parts if p])
        raise AssertionError

    number = len(group_chips(chips, limit=limit))
    assert fewest() <= number <= 2 * fewest()


def test_every_group_is_tried_not_only_the_smallest():
    memory = tm.Memory(words=4, word_bits=4)
    cells = {"a": [0, 1, 4, 5, 6, 8], "b": [1, 3, 4, 5], "c": [0, 4, 8, 11], "d": [1, 5, 7, 9]}
    chips = [tm.FaultMap(memory, c, [0] * len(c), name) for name, c in cells.items()]
    assert [[m.chip for m in g.members] for g in group_chips(chips, limit=7)] == [["a", "c"], ["b", "d"]]


@given(groups(min_size=3), st.integers(1, 25))
def test_no_chip_is_left_alone_that_fits_into_a_group(chips, limit):
    grouped = group_chips(chips, limit=limit)
    for alone in grouped:
        if len(alone.members) == 1:
            for other in grouped:
                assert other is alone or costs_by_hand([*alone.members, *other.members], ones)[0] > limit


@given(groups(), st.integers(1, 25))
def test_arrival_order_closes_a_group_when_the_next_chip_does_not_fit(chips, limit):
    expected: list[list] = [[]]
    for chip in chips:
        if expected[-1] and costs_by_hand([*expected[-1], chip], ones)[0] > limit:
            expected.append([])
        expected[-1].append(chip)
    assert [list(g.members) for g in in_arrival_order(chips, limit=limit)] == expected


def test_counts_are_those_of_the_merge():
    chips = tm.random_fault_maps(MEMORY, chips=12, fault_rate=0.03, seed=3)
    for group in group_chips(chips, limit=0.15 * MEMORY.cells):
        merged = tm.merge(group.members, on_conflict="majority")
        assert (group.cost, group.conflicts) == (len(merged), len(merged.conflicts))


def test_chips_of_one_lot_come_together():
    """Voltage steps of the same chips overlap: in arrival order, all mild ones first, they come apart."""
    nested = nested_fault_maps(MEMORY, chips=6, fault_rates=[0.01, 0.02, 0.03], seed=1)
    chips = [chip[step] for step in range(3) for chip in nested]
    limit = 0.03 * MEMORY.cells
    grouped = group_chips(chips, limit=limit)
    assert len(grouped) == 6
    assert len(in_arrival_order(chips, limit=limit)) > 6
    for group in grouped:
        assert len({m.chip for m in group.members}) == 1


def test_no_worse_than_arrival_order_on_uniform_and_clustered_maps():
    for chips in (
        tm.random_fault_maps(MEMORY, chips=40, fault_rate=0.01, seed=0),
        clustered_fault_maps(MEMORY, chips=40, fault_rate=0.01, cluster_size=8, spread=(3, 1), seed=0),
    ):
        limit = 0.05 * MEMORY.cells
        assert len(group_chips(chips, limit=limit)) <= len(in_arrival_order(chips, limit=limit))


def test_conflicts_keep_chips_apart():
    a, b = tm.FaultMap(MEMORY, [5], [0], "a"), tm.FaultMap(MEMORY, [5], [1], "b")
    assert len(group_chips([a, b], limit=10)) == 1
    assert len(group_chips([a, b], limit=10, conflict_limit=0.5)) == 2


def test_more_groups_than_first_thought_of():
    chips = tm.random_fault_maps(MEMORY, chips=30, fault_rate=0.01, seed=0)
    groups = group_chips(chips, limit=0.011 * MEMORY.cells)
    assert [g.members for g in groups] == [(chip,) for chip in chips]
    alone = group_chips(chips, limit=1)
    assert [g.fits for g in alone] == [False] * 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be positive"),
        ({"limit": float("nan")}, "limit must be positive"),
        ({"limit": 1, "conflict_limit": -1}, "conflict_limit not negative"),
        ({"limit": 1, "largest": 0}, "largest must be at least 1, got 0"),
        ({"limit": 1, "cost": lambda chip: [1.0]}, "chip 'chip-0': cost must give a number >= 0 for each of its 32 cells"),
        ({"limit": 1, "cost": lambda chip: -np.ones(len(chip))}, "cost must give a number >= 0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        group_chips(tm.random_fault_maps(MEMORY, chips=2, fault_rate=0.01, seed=0), **options)
    with pytest.raises(ValueError, match="empty group"):
        group_chips([], limit=1)
