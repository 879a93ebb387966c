"""Structured maps have the structure that was asked for, and nothing depends on how many chips are drawn."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas import Memory
from tremap_brevitas.faults.statistics import map_statistics
from tremap_brevitas.faults.structure import (
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
        found = [map_statistics(chip) for chip in chips]
        assert np.mean([f.rate for f in found]) == pytest.approx(rate, rel=0.1)
        assert np.mean([f.dispersion for f in found]) == pytest.approx(dispersion, rel=0.2)
        assert np.mean([f.crowded_share for f in found]) == pytest.approx(share, abs=0.1)


@given(memories, st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 99))
def test_nested_maps_nest(memory, fault_rates, seed):
    fault_rates = sorted(fault_rates)
    for maps in nested_fault_maps(memory, chips=2, fault_rates=fault_rates, seed=seed):
        assert [len(m) for m in maps] == [round(rate * memory.cells) for rate in fault_rates]
        tables = [set(zip(m.cells.tolist(), m.stuck_at.tolist(), strict=True)) for m in maps]
        assert all(milder <= stronger for milder, stronger in itertools.pairwise(tables))


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


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: line_fault_maps(MEMORY, chips=1, rows=65, columns=0, seed=0), "rows must lie between 0 and the 64"),
        (lambda: line_fault_maps(MEMORY, chips=1, rows=0, columns=33, seed=0), "columns must lie between 0 and the 32"),
        (lambda: line_fault_maps(MEMORY, chips=0, rows=0, columns=3, seed=0), "chips must be at least 1, got 0"),
        (
            lambda: clustered_fault_maps(MEMORY, chips=1, fault_rate=2, cluster_size=5, spread=(3, 2), seed=0),
            "fault_rate must lie between",
        ),
        (lambda: banked_fault_maps(MEMORY, chips=1, fault_rate=0.1, dispersion=0.5, seed=0), "dispersion must be at least 1"),
        (lambda: nested_fault_maps(MEMORY, chips=1, fault_rates=[], seed=0), "fault_rates is empty"),
        (lambda: nested_fault_maps(MEMORY, chips=1, fault_rates=[0.2, 0.1], seed=0), "ascending order, got 0.1 after 0.2"),
    ],
)
def test_bad_numbers(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()
