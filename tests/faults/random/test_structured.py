"""Structured maps have the structure that was asked for, and nothing depends on how many chips are drawn."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas import Memory
from tremap_brevitas.faults.analysis.statistics import map_statistics
from tremap_brevitas.faults.random.structured import (
    banked_fault_maps,
    clustered_fault_maps,
    line_fault_maps,
    nested_fault_maps,
)

memories = st.integers(1, 5).flatmap(
    lambda banks: st.builds(
        lambda rows, bits: Memory(words=banks * rows, word_bits=bits, banks=banks), st.integers(1, 8), st.integers(1, 9)
    )
)
rates = st.sampled_from([0.0, 0.01, 0.2, 0.7, 1.0])


@given(memories, st.data(), rates, st.integers(0, 99))
def test_lines(memory, data, rate, seed):
    rows = data.draw(st.integers(0, memory.words))
    columns = data.draw(st.integers(0, memory.banks * memory.word_bits))
    for chip in line_fault_maps(memory, chips=2, rows=rows, columns=columns, fault_rate=rate, seed=seed):
        table = np.zeros((memory.words, memory.word_bits), dtype=bool)
        table.reshape(-1)[chip.cells] = True
        assert table.all(axis=1).sum() >= rows
        by_bank = table.reshape(memory.banks, memory.words_per_bank, memory.word_bits)
        assert by_bank.all(axis=1).sum() >= columns
        # By inclusion and exclusion no less than the lines, and the background on top.
        least = rows * memory.word_bits + columns * memory.words_per_bank - rows * columns
        assert len(chip) >= least
        if rate == 0.0 and not columns:
            assert len(chip) == rows * memory.word_bits


@given(memories, st.data(), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_the_background_of_lines_is_exact(memory, data, rate, share, seed):
    rows = data.draw(st.integers(0, memory.words))
    columns = data.draw(st.integers(0, memory.banks * memory.word_bits))
    bare, full = (
        line_fault_maps(memory, chips=1, rows=rows, columns=columns, fault_rate=r, sa1_share=share, seed=seed)[0]
        for r in (0.0, rate)
    )
    lines, all_of_it = (dict(zip(m.cells.tolist(), m.stuck_at.tolist(), strict=True)) for m in (bare, full))
    assert lines.items() <= all_of_it.items()
    background = [value for cell, value in all_of_it.items() if cell not in lines]
    assert len(background) == round(rate * (memory.cells - len(lines)))
    assert sum(background) == round(share * len(background))


def test_where_lines_cross_the_row_holds():
    memory = Memory(words=4, word_bits=3)
    crossings = set()
    for chip in line_fault_maps(memory, chips=40, rows=1, columns=1, seed=0):
        cells = dict(zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True))
        (row,) = (w for w in range(4) if all(3 * w + b in cells for b in range(3)))
        (column,) = (b for b in range(3) if all(3 * w + b in cells for w in range(4)))
        in_row = {cells[3 * row + b] for b in range(3)}
        in_column = {cells[3 * w + column] for w in range(4) if w != row}
        assert (len(in_row), len(in_column)) == (1, 1)
        crossings.add((in_row.pop(), in_column.pop()))
    assert crossings == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_line_is_stuck_at_one_value():
    memory = Memory(words=64, word_bits=8, banks=4)
    for chip in line_fault_maps(memory, chips=20, rows=3, columns=0, seed=0):
        assert all(len(set(chip.stuck_at[8 * i : 8 * i + 8].tolist())) == 1 for i in range(3))
    for share, values in ((0.0, {0}), (1.0, {1})):
        (chip,) = line_fault_maps(memory, chips=1, rows=2, columns=2, fault_rate=0.1, sa1_share=share, seed=0)
        assert set(chip.stuck_at.tolist()) == values


@given(memories, rates, st.floats(1, 30), st.integers(0, 99))
def test_clusters_have_exactly_so_many_faults(memory, rate, size, seed):
    for chip in clustered_fault_maps(
        memory, chips=2, fault_rate=rate, cluster_size=size, spread=(2, 1), sa1_share=0.25, seed=seed
    ):
        assert len(chip) == round(rate * memory.cells)
        assert int(chip.stuck_at.sum()) == round(0.25 * len(chip))


def neighbours(chip):
    """Share of the faults that have another one right beside or below them."""
    width = chip.memory.word_bits
    cells = set(chip.cells.tolist())
    return sum(bool({c + 1, c - 1, c + width, c - width} & cells) for c in cells) / len(cells)


def test_clusters_cluster():
    memory = Memory(words=4096, word_bits=32, banks=4)
    (loose,) = clustered_fault_maps(memory, chips=1, fault_rate=2e-3, cluster_size=1, spread=(3, 2), seed=0)
    (tight,) = clustered_fault_maps(memory, chips=1, fault_rate=2e-3, cluster_size=12, spread=(3, 2), seed=0)
    assert neighbours(loose) < 0.1
    assert neighbours(tight) > 0.3


def test_a_cluster_keeps_to_its_spread_and_its_bank():
    memory = Memory(words=40, word_bits=10, banks=4)
    # So large a cluster fills its window, and the map is cut to four random cells of it.
    chips = clustered_fault_maps(memory, chips=500, fault_rate=0.01, cluster_size=1e6, spread=(2, 1), seed=0)
    tall, wide = [], []
    for chip in chips:
        word, bit = np.divmod(chip.cells, 10)
        assert len(set((word // 10).tolist())) == 1
        tall.append(int(word.max() - word.min()))
        wide.append(int(bit.max() - bit.min()))
    assert (max(tall), max(wide)) == (4, 2)


def test_the_size_of_a_cluster_is_geometric():
    # A cluster lies anywhere in one bank of many, so that few banks have two.
    memory = Memory(words=100_000 * 64, word_bits=64, banks=100_000)
    (chip,) = clustered_fault_maps(memory, chips=1, fault_rate=5e-5, cluster_size=6, spread=(64, 64), seed=0)
    sizes = np.unique(chip.cells // (64 * 64), return_counts=True)[1]
    assert sizes.mean() == pytest.approx(6, rel=0.05)
    assert (sizes == 1).mean() == pytest.approx(1 / 6, abs=0.02)
    assert sizes.var() == pytest.approx(30, rel=0.15)


@given(memories, rates, st.floats(1, 50), st.floats(0, 1), st.integers(0, 99))
def test_banked_maps_are_maps(memory, rate, dispersion, share, seed):
    for chip in banked_fault_maps(
        memory, chips=2, fault_rate=rate, dispersion=dispersion, column_share=share, sa1_share=0.5, seed=seed
    ):
        assert int(chip.stuck_at.sum()) == round(0.5 * len(chip))


def test_banked_maps_have_the_moments_asked_for():
    memory = Memory(words=400 * 512, word_bits=16, banks=400)
    for rate, dispersion, share in ((1e-4, 1.0, 0.0), (1e-4, 4.0, 0.0), (5e-4, 20.0, 0.7)):
        chips = banked_fault_maps(
            memory, chips=30, fault_rate=rate, dispersion=dispersion, column_share=share, column_faults=5, seed=1
        )
        statistics = [map_statistics(chip) for chip in chips]
        assert np.mean([f.rate for f in statistics]) == pytest.approx(rate, rel=0.1)
        assert np.mean([f.dispersion for f in statistics]) == pytest.approx(dispersion, rel=0.2)
        assert np.mean([f.crowded_share for f in statistics]) == pytest.approx(share, abs=0.1)


WIDE = Memory(words=400 * 512, word_bits=32, banks=400)


def banks_and_columns(chips):
    """Faults of every bank, and of every column that is hit, by bank."""
    for chip in chips:
        bank = chip.cells // (512 * 32)
        column = bank * 32 + chip.cells % 32
        hit, counts = np.unique(column, return_counts=True)
        yield np.bincount(bank, minlength=400), hit // 32, counts


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_so_many_faults_of_a_bank_that_can_sit_in_columns(share):
    # About five faults a bank: too few for three to meet by chance in one of 32 columns.
    chips = banked_fault_maps(WIDE, chips=20, fault_rate=3e-4, dispersion=1, column_share=share, column_faults=3, seed=2)
    able, crowded = 0, 0
    for banks, of, counts in banks_and_columns(chips):
        able += banks[banks >= 3].sum()
        crowded += counts[counts >= 3].sum()
        if share == 1.0:
            assert (counts[banks[of] >= 3] >= 3).all()
    assert crowded / able == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("size", [4.0, 8.0])
def test_the_mean_of_a_column(size):
    # About sixty faults a bank, all in columns: many enough that the last, incomplete column does not count.
    chips = banked_fault_maps(
        WIDE, chips=10, fault_rate=60 / (512 * 32), dispersion=1, column_share=1.0, column_faults=size, seed=2
    )
    counts = np.concatenate([c for _, _, c in banks_and_columns(chips)])
    assert counts.min() >= 3
    assert counts.mean() == pytest.approx(size, rel=0.03)


@given(memories, rates, st.floats(0, 1), st.integers(0, 99))
def test_correlated_columns_lose_no_fault(memory, rate, correlation, seed):
    """Whatever does not fit into a column goes elsewhere in its bank: as many faults in each bank as without correlation."""
    correlated, plain = (
        banked_fault_maps(memory, chips=1, fault_rate=rate, dispersion=3, column_correlation=c, seed=seed)[0]
        for c in (correlation, 0.0)
    )
    banks = [
        np.bincount(m.cells // (memory.words_per_bank * memory.word_bits), minlength=memory.banks) for m in (correlated, plain)
    ]
    np.testing.assert_array_equal(*banks)


@pytest.mark.parametrize("correlation", [1e-12, 0.05, 0.5, 0.95, 1 - 1e-12, 1.0])
def test_two_faults_of_a_bank_share_a_column_so_often(correlation):
    chips = banked_fault_maps(WIDE, chips=20, fault_rate=3e-4, dispersion=4, column_correlation=correlation, seed=2)
    together = sum(int((counts * (counts - 1)).sum()) for _, _, counts in banks_and_columns(chips))
    pairs = sum(int((banks * (banks - 1)).sum()) for banks, _, _ in banks_and_columns(chips))
    assert together / pairs == pytest.approx(correlation + (1 - correlation) / 32, abs=0.02)


@given(memories, st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 99))
def test_nested_maps_nest(memory, fault_rates, seed):
    fault_rates = sorted(fault_rates)
    for maps in nested_fault_maps(memory, chips=2, fault_rates=fault_rates, seed=seed):
        assert [len(m) for m in maps] == [round(rate * memory.cells) for rate in fault_rates]
        assert [m.metadata["fault_rate"] for m in maps] == [str(rate) for rate in fault_rates]
        tables = [set(zip(m.cells.tolist(), m.stuck_at.tolist(), strict=True)) for m in maps]
        assert all(milder <= stronger for milder, stronger in itertools.pairwise(tables))


def test_every_cell_is_equally_likely_at_every_rate():
    memory = Memory(words=5, word_bits=8)
    chips = nested_fault_maps(memory, chips=4000, fault_rates=[0.1, 0.3], seed=1)
    for at, rate in enumerate((0.1, 0.3)):
        counts = np.bincount(np.concatenate([maps[at].cells for maps in chips]), minlength=40)
        # Five standard deviations of a binomial.
        assert abs(counts - 4000 * rate).max() < 5 * np.sqrt(4000 * rate * (1 - rate))


MEMORY = Memory(words=64, word_bits=8, banks=4)
DRAW = {
    "lines": lambda chips, seed: line_fault_maps(MEMORY, chips=chips, rows=1, columns=2, fault_rate=0.05, seed=seed),
    "clusters": lambda chips, seed: clustered_fault_maps(
        MEMORY, chips=chips, fault_rate=0.1, cluster_size=5, spread=(3, 2), seed=seed
    ),
    "banks": lambda chips, seed: banked_fault_maps(MEMORY, chips=chips, fault_rate=0.1, dispersion=3, seed=seed),
    "nested": lambda chips, seed: [m[0] for m in nested_fault_maps(MEMORY, chips=chips, fault_rates=[0.1], seed=seed)],
}


@pytest.mark.parametrize("kind", DRAW)
def test_seeds(kind):
    few, many, other = DRAW[kind](2, 7), DRAW[kind](5, 7), DRAW[kind](2, 8)
    assert few == many[:2]
    assert few != other
    assert len({m.digest for m in many}) == 5
    assert [m.chip for m in many] == [f"chip-{i}" for i in range(5)]


LINES = (line_fault_maps, {"rows": 1, "columns": 1})
CLUSTERS = (clustered_fault_maps, {"fault_rate": 0.1, "cluster_size": 5, "spread": (3, 2)})
BANKS = (banked_fault_maps, {"fault_rate": 0.1, "dispersion": 3})
NESTED = (nested_fault_maps, {"fault_rates": [0.1]})


@pytest.mark.parametrize(
    ("kind", "bad", "reason"),
    [
        *((kind, {"chips": 0}, "chips must be at least 1, got 0") for kind in (LINES, CLUSTERS, BANKS, NESTED)),
        *(
            (kind, {"sa1_share": 1.5}, "sa1_share must lie between 0 and 1, got 1.5")
            for kind in (LINES, CLUSTERS, BANKS, NESTED)
        ),
        *((kind, {"fault_rate": -1}, "fault_rate must lie between 0 and 1, got -1") for kind in (LINES, CLUSTERS, BANKS)),
        (LINES, {"rows": 65}, "rows must lie between 0 and the 64 of the memory (64 words × 8 bits in 4 banks), got 65"),
        (LINES, {"rows": -1}, "rows must lie between 0 and the 64 of the memory (64 words × 8 bits in 4 banks), got -1"),
        (LINES, {"columns": 33}, "columns must lie between 0 and the 32 of the memory (64 words × 8 bits in 4 banks), got 33"),
        (CLUSTERS, {"cluster_size": 0.5}, "cluster_size must be at least 1 and finite, got 0.5"),
        (CLUSTERS, {"cluster_size": float("inf")}, "cluster_size must be at least 1 and finite, got inf"),
        (CLUSTERS, {"spread": (3, -1)}, "spread must be two numbers of rows and columns, neither below 0, got (3, -1)"),
        (CLUSTERS, {"spread": (3,)}, "spread must be two numbers of rows and columns, neither below 0, got (3,)"),
        (BANKS, {"dispersion": 0.5}, "dispersion must be at least 1 and finite, got 0.5"),
        (BANKS, {"dispersion": float("nan")}, "dispersion must be at least 1 and finite, got nan"),
        (BANKS, {"column_share": 1.1}, "column_share must lie between 0 and 1, got 1.1"),
        (BANKS, {"column_correlation": -0.1}, "column_correlation must lie between 0 and 1, got -0.1"),
        (
            BANKS,
            {"column_share": 0.5, "column_correlation": 0.2},
            "give column_share (0.5) or column_correlation (0.2), and not both",
        ),
        (BANKS, {"column_faults": 2}, "column_faults must be at least 3 and finite, got 2"),
        (NESTED, {"fault_rates": []}, "fault_rates is empty: give at least one"),
        (NESTED, {"fault_rates": [0.1, 2]}, "fault_rates must lie between 0 and 1, got 2"),
        (NESTED, {"fault_rates": [0.2, 0.1]}, "fault_rates must be in ascending order, got 0.1 after 0.2"),
    ],
)
def test_bad_numbers(kind, bad, reason):
    call, good = kind
    with pytest.raises(ValueError, match=re.escape(reason)):
        call(MEMORY, **{"chips": 1, "seed": 0, **good, **bad})
