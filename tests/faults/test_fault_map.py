import copy
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from strategies import fault_maps

from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.archive import write_archive
from tremap_brevitas.faults.fault_map import KIND

MEMORY = Memory(words=16, word_bits=8)


def test_sorted_frozen_and_counted():
    chip = FaultMap(MEMORY, [90, 3, 17], [1, 0, 1], "A7", {"voltage": "0.55 V"})
    assert chip.cells.tolist() == [3, 17, 90]
    assert chip.stuck_at.tolist() == [0, 1, 1]
    assert chip.fault_rate == 3 / 128
    with pytest.raises(ValueError, match="read-only"):
        chip.cells[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        chip.chip = "B"
    with pytest.raises(TypeError):
        chip.metadata["voltage"] = "1 V"


def test_the_callers_arrays_are_copied():
    cells = np.array([1, 2])
    chip = FaultMap(MEMORY, cells, [0, 1])
    cells[0] = 99
    assert chip.cells.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("cells", "stuck_at", "message"),
    [
        ([1, 2], [0], "chip 'A7': 2 cells, but 1 stuck value"),
        ([128], [0], "cell 128 is outside the memory of 128 cells"),
        ([-1], [0], "cell -1 is outside"),
        ([5], [2], "cell 5 is stuck at 2, which is neither 0 nor 1"),
        ([5, 5], [1, 1], r"cell 5 appears more than once \(at 1\)"),
        ([5, 5], [0, 1], r"cell 5 appears more than once \(once at 0 and once at 1\)"),
        ([1.0], [0], "cells must hold integers, got float64"),
        ([[1]], [0], "cells must be one-dimensional"),
    ],
)
def test_invalid_maps_cannot_be_made(cells, stuck_at, message):
    with pytest.raises((ValueError, TypeError), match=message):
        FaultMap(MEMORY, cells, stuck_at, "A7")


def test_the_digest_is_of_the_content_alone():
    chip = FaultMap(MEMORY, [3, 17], [0, 1], "A7")
    assert chip.digest == FaultMap(MEMORY, [17, 3], [1, 0], "B2", {"lot": "9"}).digest
    others = [
        FaultMap(MEMORY, [3, 17], [1, 1]),
        FaultMap(MEMORY, [3, 18], [0, 1]),
        FaultMap(MEMORY, [3], [0]),
        FaultMap(Memory(words=8, word_bits=16), [3, 17], [0, 1]),
    ]
    assert chip.digest not in {o.digest for o in others}
    assert len(chip.digest) == 64
    assert chip != FaultMap(MEMORY, [17, 3], [1, 0], "B2")


@given(fault_maps())
def test_saving_and_copying_change_nothing(tmp_path_factory, chip):
    path = chip.save(tmp_path_factory.mktemp("maps") / "chip.npz")
    assert FaultMap.load(path) == chip == copy.deepcopy(chip)


def test_damaged_files(tmp_path):
    chip = FaultMap(MEMORY, [3, 17], [0, 1], "A7")
    header = {"words": 16, "word_bits": 8, "chip": "A7", "metadata": {}, "digest": chip.digest}
    cases = {
        "content has digest": (header, [3, 18], [0, 1]),
        "cell 999 is outside": (header, [3, 999], [0, 1]),
        "missing required field `digest`": ({k: v for k, v in header.items() if k != "digest"}, [3, 17], [0, 1]),
    }
    for message, (head, cells, stuck) in cases.items():
        arrays = {"cells": np.array(cells), "stuck_at": np.array(stuck)}
        write_archive(tmp_path / "bad.npz", kind=KIND, schema=1, header=head, arrays=arrays)
        with pytest.raises(ValueError, match=f"bad.npz: not a tremap fault map, or damaged .*{message}"):
            FaultMap.load(tmp_path / "bad.npz")
    with pytest.raises(FileNotFoundError):
        FaultMap.load(tmp_path / "none.npz")
