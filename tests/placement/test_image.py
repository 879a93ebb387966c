"""Memory images: golden words, readable by eye, and every bit where the placement says."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import placements

from tremap_brevitas import Memory, MemoryImage
from tremap_brevitas.placement import LayerCodes, PlacedLayer, Placement, linear_placement


def test_golden_words():
    layers = [LayerCodes("conv", (2, 2), 8, "twos_complement"), LayerCodes("fc", (3,), 4, "binary")]
    image = MemoryImage(
        linear_placement(layers, Memory(words=4, word_bits=24)), {"conv": [[1, -1], [-128, 127]], "fc": [1, 15, 8]}
    )
    #                                          -128 -1 1        127       fc: 8 15 1    unused
    assert [f"{w:06x}" for w in image.words()] == ["80ff01", "00007f", "0008f1", "000000"]


def test_an_order_of_ones_own():
    layer = PlacedLayer("fc", (4,), 4, "twos_complement", 0, 4, np.array([3, 2, 1, 0]))
    image = MemoryImage(Placement(Memory(words=1, word_bits=16), (layer,)), {"fc": [1, 2, 3, 4]})
    assert [f"{w:04x}" for w in image.words()] == ["1234"]


@given(placements(), st.integers(0, 2**32))
def test_every_cell_holds_its_bit(placement, seed):
    rng = np.random.default_rng(seed)
    codes = {
        layer.name: rng.integers(-(1 << (layer.bit_width - 1)), 1 << (layer.bit_width - 1), size=layer.shape)
        for layer in placement.layers
    }
    image = MemoryImage(placement, codes)
    words = image.words()
    memory = placement.memory
    for layer in placement.layers:
        for weight, code in enumerate(codes[layer.name].reshape(-1)):
            for bit, value in enumerate(oracle.to_bits(int(code), layer.bit_width, "twos_complement")):
                word = layer.first_word + weight // layer.codes_per_word
                in_word = placement.cell(layer.name, weight, bit=bit) % memory.word_bits
                assert (words[word] >> in_word) & 1 == value
    assert sum(w.bit_count() for w in words) == int(np.unpackbits(image.bits).sum())


def test_bad_codes():
    placement = linear_placement([LayerCodes("fc", (2,), 4, "twos_complement")], Memory(words=1, word_bits=8))
    for codes, message in (
        ({"other": [1, 2]}, "codes of layers .'other'., but the placement has .'fc'."),
        ({"fc": [1, 2, 3]}, r"layer 'fc': codes of shape \(3,\), but the placement holds \(2,\)"),
        ({"fc": [1, 8]}, "layer 'fc': codes from 1 to 8, but 4 bits twos_complement hold -8 to 7"),
        ({"fc": [1.0, 2.0]}, "layer 'fc': codes must be integers"),
    ):
        with pytest.raises(ValueError, match=message):
            MemoryImage(placement, codes)
    assert MemoryImage(placement, {"fc": [1, 2]}).digest != MemoryImage(placement, {"fc": [1, 3]}).digest
