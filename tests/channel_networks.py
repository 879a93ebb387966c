"""Small networks with groups of channels, and what an order means in plain Python."""

from __future__ import annotations

import dataclasses

import numpy as np
import oracle
from hypothesis import strategies as st
from strategies import ENCODINGS

from tremap_brevitas import FaultMap, Memory, MemoryImage
from tremap_brevitas.codes import code_range
from tremap_brevitas.order import ChannelGroup, Side
from tremap_brevitas.placement import LayerCodes, Placement, linear_placement


def each(channels, start=0):
    return np.arange(start, start + channels)[:, None]


def groups_of_a_chain(a, b, pixels):
    """Two hidden groups: first (a, 2, 3) -> second (b, a, 3) -> last (2, b * pixels), flattened; a depthwise layer beside."""
    return (
        ChannelGroup("a", a, (Side("first", 0, each(a)), Side("deep", 0, each(a)), Side("second", 1, each(a)))),
        ChannelGroup(
            "b",
            b,
            (Side("second", 0, each(b)), Side("last", 1, np.arange(b * pixels).reshape(b, pixels))),
            (Side("second.bias", 0, each(b)),),
        ),
    )


def groups_of_heads(heads, inner):
    """Channels within each head, then whole heads; the middle layer is grouped: each head's outputs see its inputs only."""
    groups = [
        ChannelGroup(
            f"in head {h}",
            inner,
            (Side("first", 0, each(inner, h * inner)), Side("middle", 1, each(inner), (0, np.arange(h * 2, h * 2 + 2)))),
        )
        for h in range(heads)
    ]
    whole = np.arange(heads * inner).reshape(heads, inner)
    outer = np.arange(heads * 2).reshape(heads, 2)
    return (*groups, ChannelGroup("heads", heads, (Side("first", 0, whole), Side("middle", 0, outer), Side("last", 1, outer))))


@st.composite
def networks(draw):
    """(image, groups): small networks of both kinds in random encodings, widths, memories and orders of codes."""
    if draw(st.booleans()):
        a, b, pixels = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 2))
        groups = groups_of_a_chain(a, b, pixels)
        shapes = {"first": (a, 2, 3), "deep": (a, 1, 2), "second": (b, a, 2), "last": (2, b * pixels)}
    else:
        heads, inner = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        groups = groups_of_heads(heads, inner)
        shapes = {"first": (heads * inner, 2), "middle": (heads * 2, inner), "last": (2, heads * 2)}
    word_bits = draw(st.integers(2, 40))
    layers = [
        LayerCodes(name, shape, draw(st.integers(2, min(12, word_bits))), draw(st.sampled_from(ENCODINGS)))
        for name, shape in shapes.items()
    ]
    needed = linear_placement(layers, Memory(1000, word_bits)).words
    words = draw(st.integers(1, needed + 2))
    placement = linear_placement(layers, Memory(words, word_bits), reuse=words < needed)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if draw(st.booleans()):
        own = tuple(dataclasses.replace(layer, order=rng.permutation(layer.size)) for layer in placement.layers)
        placement = Placement(placement.memory, own, placement.reuse)
    return random_image(placement, rng), groups


def random_image(placement, rng):
    codes = {}
    for layer in placement.layers:
        low, high = code_range(bit_width=layer.bit_width, encoding=layer.encoding)
        codes[layer.name] = rng.integers(low, high + 1, size=layer.shape)
    return MemoryImage(placement, codes)


def random_chip(memory, rng, rate):
    cells = np.flatnonzero(rng.random(memory.cells) < rate)
    return FaultMap(memory, cells, rng.integers(0, 2, len(cells)), "chip")


def random_orders(groups, rng):
    return {group.name: rng.permutation(group.channels) for group in groups}


def plainly_ordered(codes, groups, orders):
    """What ``in_order`` must give, element by element: every group in turn, slot s gets channel orders[s]."""
    now = {name: {at: int(array[at]) for at in np.ndindex(array.shape)} for name, array in codes.items()}
    for group in groups:
        for side in group.sides:
            before = dict(now[side.layer])
            for at in before:
                for slot in range(group.channels):
                    for part in range(side.index.shape[1]):
                        inside = side.within is None or at[side.within[0]] in side.within[1]
                        if at[side.axis] == side.index[slot, part] and inside:
                            source = list(at)
                            source[side.axis] = int(side.index[orders[group.name][slot], part])
                            now[side.layer][at] = before[tuple(source)]
    result = {}
    for name, array in codes.items():
        result[name] = np.array([now[name][at] for at in np.ndindex(array.shape)]).reshape(array.shape)
    return result


def plainly_wrong(codes, placement, chip):
    """Codes that differ when the nearest ones are written, cell by cell: {(layer, flat weight): (wanted, read)}."""
    stuck: dict[tuple[str, int], dict[int, int]] = {}
    for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
        for hit in placement.weights_at(cell):
            flat = int(np.ravel_multi_index(hit.index, placement.layer(hit.layer).shape))
            stuck.setdefault((hit.layer, flat), {})[hit.bit] = value
    wrong = {}
    for (name, flat), bits in stuck.items():
        layer = placement.layer(name)
        wanted = int(codes[name].reshape(-1)[flat])
        read = oracle.nearest(wanted, bits, layer.bit_width, layer.encoding)
        if read != wanted:
            wrong[name, flat] = (wanted, read)
    return wrong
