import pytest

from tremap_brevitas import FaultMap, Memory, MergedFaultMap, merge


def test_cells_count_from_the_lsb_of_word_0():
    memory = Memory(words=4, word_bits=8)
    assert memory.cells == 32
    assert [memory.cell(word=w, bit=b) for w, b in ((0, 0), (0, 7), (1, 0), (3, 7))] == [0, 7, 8, 31]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"words": 0, "word_bits": 8}, ValueError, "words must be at least 1, got 0"),
        ({"words": 8, "word_bits": -1}, ValueError, "word_bits must be at least 1, got -1"),
        ({"words": 1.5, "word_bits": 8}, TypeError, "words must be an integer, got 1.5"),
    ],
)
def test_bad_geometry(arguments, error, message):
    with pytest.raises(error, match=message):
        Memory(**arguments)


def test_bad_cell():
    with pytest.raises(ValueError, match="word 4 is outside the memory's 0 to 3"):
        Memory(words=4, word_bits=8).cell(word=4, bit=0)
    with pytest.raises(ValueError, match="bit 8 is outside the word's 0 to 7"):
        Memory(words=4, word_bits=8).cell(word=0, bit=8)


def test_banks_divide_the_words_and_change_nothing_else(tmp_path):
    memory = Memory(words=12, word_bits=8, banks=3)
    assert memory.words_per_bank == 4
    assert memory == Memory(words=12, word_bits=8)
    assert hash(memory) == hash(Memory(words=12, word_bits=8))
    assert str(memory) == "12 words × 8 bits in 3 banks"
    with pytest.raises(ValueError, match="12 words cannot be divided into 5 equal banks"):
        Memory(words=12, word_bits=8, banks=5)
    chip = FaultMap(memory, [3], [1], "a")
    assert FaultMap.load(chip.save(tmp_path / "a.npz")).memory.banks == 3
    merged = merge([chip], on_conflict="error")
    assert MergedFaultMap.load(merged.save(tmp_path / "m.npz")).memory.banks == 3
