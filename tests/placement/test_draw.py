"""What is drawn is where the bits are."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import images, placements

from tremap_brevitas.placement.draw import drawn_words


@given(placements() | images().map(lambda image: image.placement), st.data())
def test_every_bit_is_where_it_is_drawn(placement, data):
    word = data.draw(st.integers(0, placement.memory.words - 1))
    drawn = {}
    for line in drawn_words(placement, [word]).splitlines():
        if line.startswith("word"):
            continue
        high, low, name, index = re.fullmatch(r" +(\d+) … +(\d+)  (?:unused|(\S+)\.weight\[(.*)\], \w+)", line).groups()
        for bit in range(int(low), int(high) + 1):
            drawn.setdefault(bit, set())
            if name:
                drawn[bit].add((name, tuple(map(int, index.split(","))), bit - int(low)))
    assert sorted(drawn) == list(range(placement.memory.word_bits))
    for bit, weights in drawn.items():
        bits = placement.weights_at(placement.memory.cell(word=word, bit=bit))
        assert weights == {(w.layer, w.index, w.bit) for w in bits}


@given(placements())
def test_no_such_word(placement):
    with pytest.raises(ValueError, match="is outside the memory's 0 to"):
        drawn_words(placement, [placement.memory.words])
