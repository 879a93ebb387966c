"""A file that says its own memory is never read as one of another."""

import pytest

from tremap_brevitas import FaultMap, Memory, read_fault_map
from tremap_brevitas.faults.formats import FormatError, write_csv_map

MEMORY = Memory(words=32, word_bits=4, banks=2)


@pytest.mark.parametrize("ending", ["csv", "npz"])
@pytest.mark.parametrize("other", [Memory(words=64, word_bits=8), Memory(words=32, word_bits=8), Memory(words=64, word_bits=4)])
def test_another_memory_is_refused(tmp_path, ending, other):
    chip = FaultMap(MEMORY, [0, 4, 17], [1, 0, 1], chip="X2")
    path = write_csv_map(chip, tmp_path / "X2.csv") if ending == "csv" else chip.save(tmp_path / "X2.npz")
    said = rf"X2\.{ending}: is of a memory of {MEMORY}, expected {other}"
    with pytest.raises(FormatError, match=said):
        read_fault_map(path, memory=other)
    assert read_fault_map(path, memory=Memory(words=32, word_bits=4)) == chip
    assert read_fault_map(path, memory=Memory(words=32, word_bits=4)).memory.banks == 2


def test_half_of_a_memory_counts_as_well(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("# tremap fault map\n# word_bits=4\naddress,bit,stuck_at\n1,0,1\n")
    assert read_fault_map(path, memory=MEMORY).cells.tolist() == [4]
    with pytest.raises(FormatError, match="is of a memory of word_bits=4, expected 64 words × 8 bits"):
        read_fault_map(path, memory=Memory(words=64, word_bits=8))
