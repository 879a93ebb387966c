"""Geometry: a layout written out by hand, the definition word by word, and the inverse over all cells."""

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.random.uniform import random_fault_maps

MEMORY = Memory(words=8, word_bits=2, banks=2)
ROTATED = [1, 2, 3, 4, 5, 6, 7, 0]


@st.composite
def geometries(draw):
    mux, rows, banks = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    memory = Memory(words=mux * rows * banks, word_bits=draw(st.integers(1, 6)), banks=banks)
    return ArrayGeometry(
        memory,
        column_mux=mux,
        interleaved_banks=draw(st.booleans()),
        word_order=draw(st.none() | st.permutations(range(memory.words))),
        bit_order=draw(st.none() | st.permutations(range(memory.word_bits))),
    )


def place(geometry, word, bit):
    """(bank, row, column) as the definition says it, in plain integers."""
    memory = geometry.memory
    word = word if geometry.word_order is None else int(geometry.word_order[word])
    bit = bit if geometry.bit_order is None else int(geometry.bit_order[bit])
    per_bank = memory.words // memory.banks
    bank, index = (word % memory.banks, word // memory.banks) if geometry.interleaved_banks else divmod(word, per_bank)
    return bank, index // geometry.column_mux, bit * geometry.column_mux + index % geometry.column_mux


def drawing(geometry):
    """The arrays as text: 'word.bit' at every place, a line a row."""
    lines = []
    for bank in range(geometry.banks):
        for row in range(geometry.rows):
            cells = geometry.logical(bank, row, np.arange(geometry.columns)).tolist()
            lines.append(" ".join("{}.{}".format(*divmod(cell, geometry.memory.word_bits)) for cell in cells))
        lines.append("")
    return lines[:-1]


@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        ({}, ["0.0 0.1", "1.0 1.1", "2.0 2.1", "3.0 3.1", "", "4.0 4.1", "5.0 5.1", "6.0 6.1", "7.0 7.1"]),
        ({"column_mux": 2}, ["0.0 1.0 0.1 1.1", "2.0 3.0 2.1 3.1", "", "4.0 5.0 4.1 5.1", "6.0 7.0 6.1 7.1"]),
        (
            {"column_mux": 2, "interleaved_banks": True},
            ["0.0 2.0 0.1 2.1", "4.0 6.0 4.1 6.1", "", "1.0 3.0 1.1 3.1", "5.0 7.0 5.1 7.1"],
        ),
        (
            # Word 0 is physical word 1, word 7 is physical word 0: an order says where a word goes, not what is there.
            {"column_mux": 2, "word_order": ROTATED, "bit_order": [1, 0]},
            ["7.1 0.1 7.0 0.0", "1.1 2.1 1.0 2.0", "", "3.1 4.1 3.0 4.0", "5.1 6.1 5.0 6.0"],
        ),
        (
            {"column_mux": 4, "interleaved_banks": True, "word_order": ROTATED},
            ["7.0 1.0 3.0 5.0 7.1 1.1 3.1 5.1", "", "0.0 2.0 4.0 6.0 0.1 2.1 4.1 6.1"],
        ),
    ],
)
def test_layouts_written_out_by_hand(options, drawn):
    assert drawing(ArrayGeometry(MEMORY, **options)) == drawn


def test_three_bits_in_an_order_that_is_not_its_own_inverse():
    geometry = ArrayGeometry(Memory(words=2, word_bits=3), column_mux=2, bit_order=[1, 2, 0])
    assert drawing(geometry) == ["0.2 1.2 0.0 1.0 0.1 1.1"]


@given(geometries())
def test_every_cell_has_a_place_of_its_own(geometry):
    cells = np.arange(geometry.memory.cells)
    bank, row, column = geometry.physical(cells)
    places = list(zip(bank.tolist(), row.tolist(), column.tolist(), strict=True))
    bits = geometry.memory.word_bits
    assert places == [place(geometry, cell // bits, cell % bits) for cell in cells.tolist()]
    everywhere = [(b, r, c) for b in range(geometry.banks) for r in range(geometry.rows) for c in range(geometry.columns)]
    assert sorted(places) == everywhere
    assert geometry.logical(bank, row, column).tolist() == cells.tolist()
    again = geometry.physical(geometry.logical(*np.array(everywhere).T))
    assert list(zip(*(axis.tolist() for axis in again), strict=True)) == everywhere


@given(geometries(), st.integers(0, 2**32))
def test_maps_of_the_arrays_hold_the_same_faults(geometry, seed):
    rng = np.random.default_rng(seed)
    cells = np.flatnonzero(rng.random(geometry.memory.cells) < 0.4)
    chip = FaultMap(geometry.memory, cells, rng.integers(0, 2, len(cells)), "a", {"voltage": "0.55 V"})
    physical = geometry.to_physical(chip)
    expected = {}
    for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
        bank, row, column = place(geometry, *divmod(cell, geometry.memory.word_bits))
        expected[physical.memory.cell(word=bank * geometry.rows + row, bit=column)] = value
    assert dict(zip(physical.cells.tolist(), physical.stuck_at.tolist(), strict=True)) == expected
    assert physical.memory == geometry.physical_memory
    assert (physical.memory.words, physical.memory.word_bits) == (geometry.banks * geometry.rows, geometry.columns)
    assert (physical.memory.banks, physical.memory.words_per_bank) == (geometry.banks, geometry.rows)
    assert (physical.chip, physical.metadata) == ("a", {"voltage": "0.55 V"})
    back = geometry.to_logical(physical)
    assert back == chip
    assert back.memory.banks == geometry.banks


def test_a_map_without_banks_is_taken_as_the_geometry_says():
    geometry = ArrayGeometry(MEMORY, column_mux=2)
    plain = FaultMap(Memory(words=8, word_bits=2), [8], [1])
    assert geometry.to_physical(plain).memory.banks == 2
    assert geometry.to_logical(FaultMap(Memory(words=4, word_bits=4), [8], [1])).cells.tolist() == [8]


def test_shapes():
    geometry = ArrayGeometry(MEMORY, column_mux=2)
    bank, row, column = geometry.physical(np.arange(16).reshape(4, 4))
    assert bank.shape == row.shape == column.shape == (4, 4)
    assert geometry.logical(bank, row, column).tolist() == np.arange(16).reshape(4, 4).tolist()
    assert [int(axis) for axis in geometry.physical(11)] == [1, 0, 3]
    assert int(geometry.logical(1, 0, 3)) == 11
    for nothing in ([], np.empty((0, 3))):
        assert [axis.shape for axis in geometry.physical(nothing)] == [np.shape(nothing)] * 3
        assert geometry.logical(nothing, 0, 1).shape == np.shape(nothing)
    assert all(axis.dtype == np.int64 for axis in geometry.physical(np.array([3], dtype=np.uint8)))
    # A narrow type must not overflow in the arithmetic.
    wide = ArrayGeometry(Memory(words=1000, word_bits=2), column_mux=4)
    assert wide.logical(np.uint8([0]), np.uint8([249]), np.uint8([7])).tolist() == [1999]


def test_sizes():
    geometry = ArrayGeometry(Memory(words=48, word_bits=5, banks=3), column_mux=8)
    assert (geometry.banks, geometry.rows, geometry.columns) == (3, 2, 40)


def test_equality_is_by_content():
    def geometry(memory=MEMORY, **options):
        return ArrayGeometry(memory, **options)

    different = [
        geometry(),
        geometry(Memory(words=8, word_bits=2)),
        geometry(Memory(words=8, word_bits=2, banks=4)),
        geometry(Memory(words=8, word_bits=3, banks=2)),
        geometry(column_mux=2),
        geometry(interleaved_banks=True),
        geometry(word_order=ROTATED),
        geometry(word_order=ROTATED[::-1]),
        geometry(bit_order=[1, 0]),
    ]
    assert len(set(different)) == len(different)
    assert all((a == b) == (a is b) for a in different for b in different)
    assert geometry(word_order=ROTATED) == geometry(word_order=np.array(ROTATED, dtype=np.uint8))
    assert hash(geometry(word_order=ROTATED)) == hash(geometry(word_order=tuple(ROTATED)))
    assert geometry(word_order=range(8), bit_order=[0, 1]) == geometry()
    assert geometry(word_order=range(8)).word_order is None
    assert geometry() != "geometry"
    for other in different:
        assert copy.deepcopy(other) == pickle.loads(pickle.dumps(other)) == other


def test_orders_are_copied_and_read_only():
    order = np.array(ROTATED)
    geometry = ArrayGeometry(MEMORY, word_order=order)
    order[:] = 0
    assert geometry.word_order.tolist() == ROTATED
    with pytest.raises(ValueError, match="read-only"):
        geometry.word_order[0] = 0


@given(geometries())
def test_the_description_makes_the_geometry_again(geometry):
    told = json.loads(json.dumps(geometry.description()))
    memory = Memory(words=told.pop("words"), word_bits=told.pop("word_bits"), banks=told.pop("banks"))
    assert ArrayGeometry(memory, **told) == geometry


def test_what_is_said_to_people():
    assert str(ArrayGeometry(Memory(words=8, word_bits=2))) == "8 words × 2 bits, as 8 rows × 2 columns"
    geometry = ArrayGeometry(MEMORY, column_mux=2, interleaved_banks=True, word_order=ROTATED, bit_order=[1, 0])
    assert str(geometry) == (
        "8 words × 2 bits in 2 banks, each of 2 rows × 4 columns, column mux 2, interleaved banks, "
        "words in an order of their own, bits in an order of their own"
    )
    assert repr(geometry) == f"ArrayGeometry({geometry})"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"column_mux": 0}, ValueError, "column_mux must be at least 1, got 0"),
        ({"column_mux": 3}, ValueError, "column_mux must divide the 4 words of a bank, got 3"),
        ({"column_mux": 8}, ValueError, "column_mux must divide the 4 words of a bank, got 8"),
        ({"column_mux": 2.0}, TypeError, "column_mux must be an integer, got 2.0"),
        ({"interleaved_banks": "false"}, TypeError, "interleaved_banks must be True or False, got 'false'"),
        ({"word_order": [0, 1]}, ValueError, r"word_order must be a permutation of 0 to 7, got shape \(2,\)"),
        ({"word_order": 3}, ValueError, r"word_order must be a permutation of 0 to 7, got shape \(\)"),
        ({"word_order": [0, 1, 2, 2, 4, 5, 6, 7]}, ValueError, "word_order must be a permutation of 0 to 7, got one without 3"),
        ({"word_order": [0, 1, 2, 3, 4, 5, 6, 8]}, ValueError, "word_order must be a permutation of 0 to 7, got one without 7"),
        (
            {"word_order": [-1, 1, 2, 3, 4, 5, 6, 7]},
            ValueError,
            "word_order must be a permutation of 0 to 7, got one without 0",
        ),
        ({"bit_order": [1, 1]}, ValueError, "bit_order must be a permutation of 0 to 1, got one without 0"),
        ({"bit_order": [1.0, 0.0]}, TypeError, "bit_order must hold integers, got float64"),
        ({"bit_order": [True, False]}, TypeError, "bit_order must hold integers, got bool"),
    ],
)
def test_bad_geometry(options, error, message):
    with pytest.raises(error, match=message):
        ArrayGeometry(MEMORY, **options)


def test_options_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        ArrayGeometry(MEMORY, 2)


@pytest.mark.parametrize(
    ("cells", "error", "message"),
    [
        ([0, 16], ValueError, "cell 16 is outside the memory's 0 to 15"),
        ([0, -1], ValueError, "cell -1 is outside the memory's 0 to 15"),
        (np.array([2**63], dtype=np.uint64), ValueError, "cell 9223372036854775808 is outside the memory's 0 to 15"),
        ([0.5], TypeError, "cell must hold integers, got float64"),
        ([True], TypeError, "cell must hold integers, got bool"),
    ],
)
def test_bad_cells(cells, error, message):
    with pytest.raises(error, match=message):
        ArrayGeometry(MEMORY).physical(cells)


@pytest.mark.parametrize(
    ("places", "error", "message"),
    [
        (([2], [0], [0]), ValueError, "bank 2 is outside the memory's 0 to 1"),
        (([-1], [0], [0]), ValueError, "bank -1 is outside the memory's 0 to 1"),
        (([1], [2], [0]), ValueError, "row 2 is outside the bank's 0 to 1"),
        (([1], [-3], [0]), ValueError, "row -3 is outside the bank's 0 to 1"),
        (([1], [0], [4]), ValueError, "column 4 is outside the bank's 0 to 3"),
        (([1], [0], [-1]), ValueError, "column -1 is outside the bank's 0 to 3"),
        (([1], ["0"], [0]), TypeError, "row must hold integers, got <U1"),
        (
            ([1, 0], [1, 0], [1, 0, 2]),
            ValueError,
            r"bank, row and column must have shapes that broadcast, got \(2,\), \(2,\) and \(3,\)",
        ),
    ],
)
def test_bad_places(places, error, message):
    with pytest.raises(error, match=message):
        ArrayGeometry(MEMORY, column_mux=2).logical(*places)


def test_maps_of_another_memory():
    geometry = ArrayGeometry(MEMORY, column_mux=2)
    chip = FaultMap(Memory(words=4, word_bits=4), [1], [0], "a")
    with pytest.raises(ValueError, match="chip 'a' has 4 words × 4 bits, the geometry 8 words × 2 bits in 2 banks"):
        geometry.to_physical(chip)
    chip = FaultMap(MEMORY, [1], [0], "a")
    with pytest.raises(
        ValueError, match="chip 'a' has 8 words × 2 bits in 2 banks, the geometry's arrays 4 words × 4 bits in 2 banks"
    ):
        geometry.to_logical(chip)


def test_the_cost_goes_with_the_faults_and_not_with_the_cells():
    # 2**53 cells: anything that touched them all would never end.
    memory = Memory(words=2**47, word_bits=64, banks=2**10)
    geometry = ArrayGeometry(memory, column_mux=8, interleaved_banks=True, bit_order=range(63, -1, -1))
    (chip,) = random_fault_maps(memory, chips=1, fault_rate=1e-12, seed=0)
    assert geometry.to_logical(geometry.to_physical(chip)) == chip
