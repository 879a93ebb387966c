"""Codes as packed bits, and what stuck cells make of them, against plain Python bit by bit."""

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import fault_maps, images

import tremap_brevitas as tm
from tremap_brevitas.placement import LayerCodes, linear_placement, words_read


def plain_words(image, chip=None):
    """Every word, tile after tile, as a list of bits, filled weight by weight; then the stuck cells of a chip, one by one."""
    placement, width = image.placement, image.placement.memory.word_bits
    words = [[0] * width for _ in range(placement.tiles * placement.memory.words)]
    for layer in placement.layers:
        order = range(layer.size) if layer.order is None else layer.order.tolist()
        flat = image.codes[layer.name].reshape(-1).tolist()
        for position, weight in enumerate(order):
            word, place = layer.first_word + position // layer.codes_per_word, position % layer.codes_per_word
            for bit, value in enumerate(oracle.to_bits(flat[weight], layer.bit_width, layer.encoding)):
                words[word][place * layer.bit_width + bit] = value
    if chip is not None:
        for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
            for tile in range(placement.tiles):
                words[tile * placement.memory.words + cell // width][cell % width] = value
    return words


def plain_codes(placement, words):
    codes = {}
    for layer in placement.layers:
        order = range(layer.size) if layer.order is None else layer.order.tolist()
        flat = [0] * layer.size
        for position, weight in enumerate(order):
            word, place = layer.first_word + position // layer.codes_per_word, position % layer.codes_per_word
            bits = words[word][place * layer.bit_width : (place + 1) * layer.bit_width]
            flat[weight] = oracle.from_bits(bits, layer.encoding)
        codes[layer.name] = np.reshape(flat, layer.shape)
    return codes


def numbers(words):
    return [sum(bit << n for n, bit in enumerate(word)) for word in words]


@settings(deadline=None)
@given(st.data())
def test_what_comes_back_is_what_plain_python_reads(data):
    image = data.draw(images())
    chip = data.draw(fault_maps(image.placement.memory))
    written, read = plain_words(image), plain_words(image, chip)
    assert image.words() == numbers(written)
    assert words_read(image, chip) == numbers(read)
    expected = plain_codes(image.placement, read)
    for decoded in (image.read_through(chip), tm.MemoryImage.from_words(image.placement, numbers(read))):
        assert all(np.array_equal(decoded.codes[name], codes) for name, codes in expected.items())
    assert tm.placement.certificate(image, chip).bit_exact == all(
        np.array_equal(image.codes[n], c) for n, c in expected.items()
    )


WIDTHS = [(word_bits, bits) for word_bits in (8, 16, 24, 33, 64, 72, 100) for bits in (4, 8, 11, 16) if bits <= word_bits]


@pytest.mark.parametrize(("word_bits", "bits"), WIDTHS)
def test_words_of_any_width(word_bits, bits):
    rng = np.random.default_rng(word_bits * 100 + bits)
    layers = [LayerCodes("a", (5, 3), bits, "twos_complement"), LayerCodes("b", (7,), min(bits, 8), "offset_binary")]
    placement = linear_placement(layers, tm.Memory(words=40, word_bits=word_bits))
    half = 1 << (bits - 1)
    codes = {"a": rng.integers(-half, half, (5, 3)), "b": rng.integers(-8, 8, 7)}
    image = tm.MemoryImage(placement, codes)
    cells = np.flatnonzero(rng.random(placement.memory.cells) < 0.2)
    chip = tm.FaultMap(placement.memory, cells, rng.integers(0, 2, len(cells)), "chip")
    read = plain_words(image, chip)
    assert image.words() == numbers(plain_words(image))
    assert words_read(image, chip) == numbers(read)
    expected = plain_codes(placement, read)
    assert all(np.array_equal(image.read_through(chip).codes[name], codes) for name, codes in expected.items())


@pytest.mark.parametrize("word", [-1, 1 << 12, 1 << 70])
def test_a_word_that_does_not_fit_is_named(word):
    placement = linear_placement([LayerCodes("a", (2,), 12, "binary")], tm.Memory(words=2, word_bits=12))
    with pytest.raises(ValueError, match=f"word 1 is {word:#x}, which does not fit into 12 bits"):
        tm.MemoryImage.from_words(placement, [3, word])


def test_another_memory_is_refused():
    placement = linear_placement([LayerCodes("a", (2,), 12, "binary")], tm.Memory(words=2, word_bits=12))
    image = tm.MemoryImage(placement, {"a": [1, 2]})
    with pytest.raises(ValueError, match="chip 'x' is of a memory of 3 words"):
        image.read_through(tm.FaultMap(tm.Memory(words=3, word_bits=12), [], [], "x"))
