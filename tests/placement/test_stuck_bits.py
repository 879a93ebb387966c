"""Stored bits and stuck bits, once more bit by bit with ``Placement.cell`` alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import fault_maps, images

import tremap_brevitas as tm
from tremap_brevitas import codes


def bits_of(placement):
    """(layer, weight, bit, cell) of every bit of every weight."""
    for layer in placement.layers:
        for weight in range(layer.size):
            for bit in range(layer.bit_width):
                yield layer, weight, bit, placement.cell(layer.name, weight, bit=bit)


@given(st.data(), images())
def test_bit_by_bit(data, image):
    placement = image.placement
    fault_map = data.draw(fault_maps(placement.memory))
    stuck = dict(zip(fault_map.cells.tolist(), fault_map.stuck_at.tolist(), strict=True))
    expected: dict[tuple[str, int], list[int]] = {}
    for layer, weight, bit, cell in bits_of(placement):
        if cell in stuck:
            expected.setdefault((layer.name, weight), [0, 0])[stuck[cell]] |= 1 << bit
    merged = placement.stuck_bits(fault_map)
    assert [b.layer.name for b in merged] == [x.name for x in placement.layers if any(x.name == name for name, _ in expected)]
    masks = {
        (b.layer.name, weight): [sa0, sa1]
        for b in merged
        for weight, sa0, sa1 in zip(b.weight.tolist(), b.sa0.tolist(), b.sa1.tolist(), strict=True)
    }
    assert masks == expected
    for bits in merged:
        assert (np.diff(bits.weight) > 0).all()
        assert (bits.weight.dtype, bits.sa0.dtype, bits.sa1.dtype) == (np.int64, np.int32, np.int32)
        trained = image.codes[bits.layer.name].reshape(-1)[bits.weight]
        options = {"bit_width": bits.layer.bit_width, "encoding": bits.layer.encoding}
        assert np.array_equal(bits.read_back(trained), codes.read_back(trained, sa0=bits.sa0, sa1=bits.sa1, **options))
        stored = codes.encode(trained, **options)
        assert np.array_equal(bits.activated(trained), stored ^ ((stored | bits.sa1) & ~bits.sa0))


@given(images())
def test_stored_bits(image):
    memory, words = image.placement.memory, image.words()
    stored = image.stored(np.arange(memory.cells)[::-1])
    assert stored.shape == (image.placement.tiles, memory.cells)
    for tile, row in enumerate(stored[:, ::-1].tolist()):
        for cell, value in enumerate(row):
            word, bit = divmod(cell, memory.word_bits)
            assert words[tile * memory.words + word] >> bit & 1 == value
    assert image.stored([]).shape == (image.placement.tiles, 0)
    for cell in (-1, memory.cells):
        with pytest.raises(ValueError, match="are not all inside the memory"):
            image.stored([0, cell])


def test_a_map_of_another_memory():
    net = tm.placement.linear_placement([tm.placement.LayerCodes("fc", (2,), 8, "binary")], tm.Memory(words=1, word_bits=16))
    with pytest.raises(ValueError, match="is of a memory of 2 words × 8 bits, the placement's has 1 word × 16 bits"):
        net.stuck_bits(tm.FaultMap(tm.Memory(words=2, word_bits=8), [], []))
