"""Every statistic, counted once more cell by cell."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import fault_maps, groups

from tremap_brevitas import FaultMap, Memory, random_fault_maps
from tremap_brevitas.faults.analysis.statistics import compare_maps, group_statistics, map_statistics, nesting, shared_cells


@given(st.data())
def test_one_map(data):
    banks = data.draw(st.integers(1, 12))
    memory = Memory(words=banks * data.draw(st.integers(1, 5)), word_bits=data.draw(st.integers(1, 5)), banks=banks)
    chip = data.draw(fault_maps(memory))
    statistics = map_statistics(chip)
    where = [(c // memory.word_bits // memory.words_per_bank, c // memory.word_bits, c % memory.word_bits) for c in chip.cells]
    in_bank = Counter(b for b, _, _ in where)
    in_column = Counter((b, c) for b, _, c in where)
    assert (statistics.faults, statistics.cells, statistics.banks) == (len(chip), memory.cells, banks)
    assert statistics.rate == len(chip) / memory.cells
    assert statistics.banks_hit == len(in_bank)
    assert statistics.columns_hit == len(in_column)
    assert statistics.rows_hit == len({w for _, w, _ in where})
    assert statistics.by_bit == tuple(sum(c == bit for _, _, c in where) for bit in range(memory.word_bits))
    counts = sorted((in_bank[b] for b in range(banks)), reverse=True)
    assert statistics.worst_bank_rate == counts[0] / (memory.cells // banks)
    if not len(chip):
        assert (statistics.sa1_share, statistics.worst_tenth_share, statistics.dispersion, statistics.crowded_share) == (
            None,
        ) * 4
        assert statistics.worst_column_share is None
        return
    assert statistics.sa1_share == pytest.approx(sum(chip.stuck_at.tolist()) / len(chip))
    assert statistics.worst_tenth_share == pytest.approx(sum(counts[: max(1, banks // 10)]) / len(chip))
    assert statistics.crowded_share == pytest.approx(sum(n for n in in_column.values() if n >= 3) / len(chip))
    worst = sum(max(n for (b, _), n in in_column.items() if b == bank) for bank in in_bank)
    assert statistics.worst_column_share == pytest.approx(worst / len(chip))
    if banks > 1:
        mean = len(chip) / banks
        assert statistics.dispersion == pytest.approx(sum((n - mean) ** 2 for n in counts) / (banks - 1) / mean)
    assert str(len(chip)) in str(statistics)
    assert statistics.as_dict()["by_bit"] == list(statistics.by_bit)


@given(groups(min_size=2))
def test_two_maps(group):
    a, b = (dict(zip(m.cells.tolist(), m.stuck_at.tolist(), strict=True)) for m in group[:2])
    statistics = compare_maps(*group[:2])
    assert statistics.common == sum(a[c] == b[c] for c in a.keys() & b.keys())
    assert statistics.conflicts == len(a.keys() & b.keys()) - statistics.common
    assert (statistics.only_first, statistics.only_second) == (len(a.keys() - b.keys()), len(b.keys() - a.keys()))
    assert statistics.jaccard == (len(a.keys() & b.keys()) / len(a.keys() | b.keys()) if a or b else 1.0)
    assert statistics.expected_overlap == len(a) * len(b) / group[0].memory.cells
    assert nesting(*group[:2]) == (statistics.common / len(a) if a else 1.0)
    assert f"{statistics.conflicts} in conflict" in str(statistics)
    assert statistics.as_dict()["common"] == statistics.common


@given(groups())
def test_a_group(group):
    statistics = group_statistics(group)
    for count in range(1, len(group) + 1):
        seen: dict[int, set[int]] = {}
        for chip in group[:count]:
            for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
                seen.setdefault(cell, set()).add(value)
        assert statistics.union_after[count - 1] == len(seen)
        assert statistics.conflicts_after[count - 1] == sum(len(v) == 2 for v in seen.values())
    times = Counter(c for chip in group for c in chip.cells.tolist())
    assert statistics.on_exactly == tuple(sum(n == k for n in times.values()) for k in range(1, len(group) + 1))
    assert sum(statistics.conflicts_on_exactly) == statistics.conflicts
    values: dict[int, set[int]] = {}
    for chip in group:
        for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
            values.setdefault(cell, set()).add(value)
    expected = [sum(times[c] == k and len(v) == 2 for c, v in values.items()) for k in range(1, len(group) + 1)]
    assert list(statistics.conflicts_on_exactly) == expected
    shared = shared_cells(group)
    for i, first in enumerate(group):
        for j, second in enumerate(group):
            assert shared[i, j] == (0 if i == j else len(set(first.cells.tolist()) & set(second.cells.tolist())))
    assert (statistics.union, statistics.conflicts) == (statistics.union_after[-1], statistics.conflicts_after[-1])


@pytest.mark.parametrize("banks", [2, 4, 8])
def test_uniform_maps_have_dispersion_1_however_few_the_banks(banks):
    memory = Memory(words=64 * banks, word_bits=32, banks=banks)
    maps = random_fault_maps(memory, chips=400, fault_rate=0.01, seed=0)
    assert sum(map_statistics(m).dispersion for m in maps) / 400 == pytest.approx(1, abs=0.15)


def test_every_cell_counts_in_the_line_about_sharing():
    memory = Memory(words=1, word_bits=8)
    chips = [
        FaultMap(memory, [c for c in range(8) if c >= k], [0] * (8 - k)) for k in range(8)
    ]  # cell c is stuck on c + 1 chips
    lines = {count: str(group_statistics(chips[:count])).splitlines()[-1].partition(": ")[2] for count in (1, 5, 6, 7, 8)}
    assert lines == {
        1: "8 on 1",
        5: "1 on 1, 1 on 2, 1 on 3, 1 on 4, 4 on 5",
        6: "1 on 1, 1 on 2, 1 on 3, 1 on 4, 1 on 5, 3 on 6",
        7: "1 on 1, 1 on 2, 1 on 3, 1 on 4, 1 on 5, 3 on 6 to 7",
        8: "1 on 1, 1 on 2, 1 on 3, 1 on 4, 1 on 5, 3 on 6 to 8",
    }
    assert str(group_statistics([FaultMap(memory, [], [])])).endswith(": none")


def test_maps_of_different_memories():
    a, b = FaultMap(Memory(2, 2), [0], [0], "a"), FaultMap(Memory(2, 3), [0], [0], "b")
    for call in (lambda: compare_maps(a, b), lambda: nesting(a, b), lambda: group_statistics([a, b])):
        with pytest.raises(ValueError, match="fault maps of different memories"):
            call()
    with pytest.raises(ValueError, match="empty group"):
        group_statistics([])
