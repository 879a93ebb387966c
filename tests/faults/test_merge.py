"""Merging: the five policies, the laws, and an oracle that counts votes cell by cell."""

import copy

import pytest
from hypothesis import given
from strategies import groups

from tremap_brevitas import FaultMap, Memory, MergedFaultMap, merge, random_fault_maps

POLICIES = ("majority", "sa0", "sa1", "free")
MEMORY = Memory(words=4, word_bits=8)


def chip(stuck, name=""):
    return FaultMap(MEMORY, list(stuck), list(stuck.values()), name)


def oracle(members, policy):
    """(cell → value, conflicts), by looking at every cell in turn."""
    settled, conflicts = {}, []
    for cell in range(members[0].memory.cells):
        votes = [int(v) for m in members for c, v in zip(m.cells, m.stuck_at, strict=True) if c == cell]
        if not votes:
            continue
        if len(set(votes)) == 1:
            settled[cell] = votes[0]
            continue
        conflicts.append(cell)
        value = {"majority": int(sum(votes) * 2 > len(votes)), "sa0": 0, "sa1": 1, "free": None}[policy]
        if value is not None:
            settled[cell] = value
    return settled, conflicts


def distinct(group):
    """Each chip once: by name and stuck cells, or, without a name, by being the same object."""
    kept = []
    for member in group:
        if not any(member is f or (member.chip and (member.chip, member.digest) == (f.chip, f.digest)) for f in kept):
            kept.append(member)
    return kept


@given(groups())
def test_every_policy_against_the_oracle(group):
    members = distinct(group)
    for policy in POLICIES:
        merged = merge(group, on_conflict=policy)
        settled, conflicts = oracle(members, policy)
        assert dict(zip(merged.cells.tolist(), merged.stuck_at.tolist(), strict=True)) == settled
        assert merged.conflicts.tolist() == conflicts
        assert list(merged.members) == members
        union = {int(c) for m in members for c in m.cells}
        assert merged.union_rate == pytest.approx(len(union) / members[0].memory.cells)


@given(groups(min_size=2))
def test_merging_is_commutative_associative_and_idempotent(group):
    for policy in POLICIES:
        whole = merge(group, on_conflict=policy)
        assert merge(group[::-1], on_conflict=policy).digest == whole.digest
        assert merge([*group, *group], on_conflict=policy).digest == whole.digest
        assert merge([whole, whole], on_conflict=policy).digest == whole.digest
        parts = [merge(group[:1], on_conflict=policy), merge(group[1:], on_conflict=policy)]
        assert merge(parts, on_conflict=policy).digest == whole.digest


def test_error_policy_names_cell_and_chips():
    a, b = chip({3: 0, 5: 1}, "a"), chip({5: 0}, "b")
    with pytest.raises(ValueError, match="1 conflict, the first at cell 5: stuck at 0 on chip 'b', at 1 on chip 'a'"):
        merge([a, b], on_conflict="error")
    assert merge([a, chip({9: 0}, "c")], on_conflict="error").cells.tolist() == [3, 5, 9]


def test_a_tie_in_the_majority_goes_to_0():
    merged = merge([chip({5: 1}, "a"), chip({5: 0}, "b")], on_conflict="majority")
    assert merged.stuck_at.tolist() == [0]
    merged = merge([chip({5: 1}, "a"), chip({5: 1}, "b"), chip({5: 0}, "c")], on_conflict="majority")
    assert merged.stuck_at.tolist() == [1]


def test_a_chip_counts_once_whatever_its_metadata(tmp_path):
    first, second = (FaultMap(MEMORY, [5], [1], "a", metadata) for metadata in ({"voltage": "0.55"}, {"lot": "4"}))
    other = chip({5: 0}, "b")
    merged = merge([first, second, other], on_conflict="majority")
    assert (merged.members, merged.stuck_at.tolist()) == ((first, other), [0])
    assert merge([merge([first, other], on_conflict="free"), second], on_conflict="majority") == merged
    # A file that was written when such a chip counted twice still says what it said.
    old = MergedFaultMap(MEMORY, [5], [1], "a+a+b", members=(first, second, other), conflicts=[5], on_conflict="majority")
    assert MergedFaultMap.load(old.save(tmp_path / "old.npz")).stuck_at.tolist() == [1]


def test_every_map_has_members():
    """A chip's own map stands for itself, so that nobody need ask which of the two a map is."""
    a, b = chip({3: 0, 5: 1}, "a"), chip({5: 0}, "b")
    assert (a.members, a.on_conflict, a.conflicts.tolist()) == ((a,), None, [])
    merged = merge([a, b], on_conflict="free")
    assert (merged.members, merged.on_conflict, merged.conflicts.tolist()) == ((a, b), "free", [5])
    for fault_map in (a, merged):
        assert copy.deepcopy(fault_map).conflicts.tolist() == fault_map.conflicts.tolist()
        assert not fault_map.conflicts.flags.writeable


def test_chips_without_a_name_are_counted_each():
    chips = [chip({5: 1}), chip({5: 1}), chip({5: 0})]
    merged = merge(chips, on_conflict="majority")
    assert len(merged.members) == 3
    assert merged.stuck_at.tolist() == [1]
    assert len(merge([chips[0], chips[0]], on_conflict="majority").members) == 1


def test_equal_unions_of_other_members_are_not_equal():
    forced = merge([chip({3: 1}, "a"), chip({3: 0}, "b")], on_conflict="sa1")
    agreed = merge([chip({3: 1}, "a"), chip({3: 1}, "b")], on_conflict="error")
    assert forced.digest == agreed.digest
    assert forced != agreed
    assert forced == merge([chip({3: 1}, "a"), chip({3: 0}, "b")], on_conflict="sa1")


def test_bad_groups():
    with pytest.raises(ValueError, match="empty group"):
        merge([], on_conflict="free")
    with pytest.raises(ValueError, match="on_conflict must be one of .*, got 'vote'"):
        merge([chip({})], on_conflict="vote")
    with pytest.raises(TypeError, match="on_conflict"):
        merge([chip({})])
    other = FaultMap(Memory(words=8, word_bits=4), [1], [0], "odd")
    with pytest.raises(ValueError, match="chip 'a' has 4 words × 8 bits, chip 'odd' has 8 words × 4 bits"):
        merge([chip({}, "a"), other], on_conflict="free")


def test_merged_maps_are_saved_with_their_members(tmp_path):
    merged = merge([chip({3: 0, 5: 1}, "a"), chip({5: 0}, "b")], on_conflict="free")
    loaded = MergedFaultMap.load(merged.save(tmp_path / "m.npz"))
    for other in (loaded, copy.deepcopy(merged)):
        assert (other.digest, other.members, other.on_conflict) == (merged.digest, merged.members, "free")
        assert other.conflicts.tolist() == [5]
    with pytest.raises(ValueError, match="holds a tremap merged fault map, expected a tremap fault map"):
        FaultMap.load(tmp_path / "m.npz")


def test_the_cost_goes_with_the_faults_and_not_with_the_cells():
    # 2**53 cells: anything that touched them all would never end.
    memory = Memory(words=2**47, word_bits=64)
    chips = random_fault_maps(memory, chips=3, fault_rate=1e-12, seed=0)
    merged = merge(chips, on_conflict="error")
    assert len(merged) == sum(len(c) for c in chips) == 3 * 9007
