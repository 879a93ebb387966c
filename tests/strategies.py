"""What hypothesis draws: memories, fault maps, codes and stuck patterns."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import strategies as st

from tremap_brevitas import FaultMap, Memory, MemoryImage
from tremap_brevitas.codes import code_range
from tremap_brevitas.placement import LayerCodes, Placement, linear_placement

ENCODINGS = ("twos_complement", "binary", "offset_binary", "sign_magnitude")

memories = st.builds(Memory, words=st.integers(1, 40), word_bits=st.integers(1, 40))


@st.composite
def fault_maps(draw: st.DrawFn, memory: Memory | None = None) -> FaultMap:
    memory = memory or draw(memories)
    stuck = draw(st.dictionaries(st.integers(0, memory.cells - 1), st.integers(0, 1), max_size=min(60, memory.cells)))
    return FaultMap(memory, list(stuck), list(stuck.values()), draw(st.sampled_from(["", "a", "b"])))


@st.composite
def groups(draw: st.DrawFn, min_size: int = 1) -> list[FaultMap]:
    """Fault maps of one small memory, so that they overlap and conflict; some chips come twice, with other metadata."""
    memory = Memory(words=draw(st.integers(1, 6)), word_bits=draw(st.integers(1, 6)))
    chips = draw(st.lists(fault_maps(memory), min_size=min_size, max_size=5))
    again = [dataclasses.replace(chip, metadata={"again": "yes"}) for chip in chips if len(chips) < 5 and draw(st.booleans())]
    return [*chips, *again][:5]


@st.composite
def stuck_codes(draw: st.DrawFn, min_width: int = 1, max_width: int = 16) -> tuple[list[int], int, int, int, str]:
    """(codes, sa0, sa1, bit width, encoding)."""
    encoding = draw(st.sampled_from(ENCODINGS))
    width = draw(st.integers(max(min_width, 2 if encoding == "sign_magnitude" else 1), max_width))
    low, high = code_range(bit_width=width, encoding=encoding)
    digits = draw(st.lists(st.sampled_from([0, 0, 1, 2]), min_size=width, max_size=width))
    sa0 = sum(1 << i for i, d in enumerate(digits) if d == 1)
    sa1 = sum(1 << i for i, d in enumerate(digits) if d == 2)
    return draw(st.lists(st.integers(low, high), min_size=1, max_size=6)), sa0, sa1, width, encoding


@st.composite
def placements(draw: st.DrawFn, reuse: bool | None = None) -> Placement:
    """Linear placements that fit exactly, or with room to spare, or only when reused."""
    word_bits = draw(st.integers(4, 40))
    layers = draw(
        st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, min(16, word_bits))), min_size=1, max_size=4)
    )
    specs = [LayerCodes(f"layer{i}", (a, b), w, "twos_complement") for i, (a, b, w) in enumerate(layers)]
    fits = linear_placement(specs, Memory(words=1000, word_bits=word_bits)).words
    if reuse is None:
        reuse = draw(st.booleans())
    words = draw(st.integers(1, fits)) if reuse else draw(st.integers(fits, fits + 5))
    return linear_placement(specs, Memory(words=words, word_bits=word_bits), reuse=reuse)


@st.composite
def images(draw: st.DrawFn) -> MemoryImage:
    """Random codes in small memories, some of them reused, some with an order of their own."""
    word_bits = draw(st.integers(2, 70))
    specs = []
    for i in range(draw(st.integers(1, 3))):
        encoding = draw(st.sampled_from(ENCODINGS))
        specs.append(LayerCodes(f"l{i}", (draw(st.integers(1, 9)),), draw(st.integers(2, min(16, word_bits))), encoding))
    needed = linear_placement(specs, Memory(500, word_bits)).words
    words = draw(st.integers(1, needed + 2))
    placement = linear_placement(specs, Memory(words, word_bits), reuse=words < needed)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if draw(st.booleans()):
        layers = tuple(dataclasses.replace(layer, order=rng.permutation(layer.size)) for layer in placement.layers)
        placement = Placement(placement.memory, layers, placement.reuse)
    codes = {}
    for layer in placement.layers:
        low, high = code_range(bit_width=layer.bit_width, encoding=layer.encoding)
        codes[layer.name] = rng.integers(low, high + 1, size=layer.shape)
    return MemoryImage(placement, codes)
