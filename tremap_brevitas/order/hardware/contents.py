"""Look up the stored codes of some words when the channels are in given orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.order.groups import Index
from tremap_brevitas.order.network import Network
from tremap_brevitas.placement import PlacedLayer


@dataclass(frozen=True, eq=False)
class Contents:
    """The codes of some words.

    Attributes:
        formats: A layer for each way in which words are divided into codes: bit width, encoding and codes a word.
        format: For each word, which of them it has; -1 if nothing lies there, (words,).
        stored: Stored bits of its codes, lowest first, (words, codes).
        scale: Cost of a squared error of one LSB in each of them; 0 where there is no code, (words, codes).
        used: Whether there is a code, (words, codes).
    """

    formats: tuple[PlacedLayer, ...]
    format: Index
    stored: NDArray[np.unsignedinteger]
    scale: NDArray[np.float64]
    used: NDArray[np.bool_]


def formats_of(network: Network) -> tuple[PlacedLayer, ...]:
    """Return a layer for each way in which words are divided into codes."""
    first: dict[tuple[int, str, int], PlacedLayer] = {}
    for layer in network.image.placement.layers:
        first.setdefault((layer.bit_width, layer.encoding, layer.codes_per_word), layer)
    return tuple(first.values())


def contents(network: Network, orders: Sequence[Index], words: Index, *, tile: int = 0) -> Contents:
    """Look up what lies in some words of the placement's memory.

    Args:
        network: The network.
        orders: Orders of its groups of channels.
        words: Numbers of words.
        tile: Tile of a memory that is reused.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> from tremap_brevitas.placement import LayerCodes, MemoryImage, linear_placement
        >>> placement = linear_placement([LayerCodes("fc", (3,), 4, "binary")], Memory(words=3, word_bits=8))
        >>> network = Network(MemoryImage(placement, {"fc": [1, 2, 3]}), ())
        >>> held = contents(network, [], np.array([0, 1, 2]))
        >>> held.stored.tolist(), held.used.tolist()
        ([[1, 2], [3, 0], [0, 0]], [[True, True], [True, False], [False, False]])
    """
    formats = formats_of(network)
    keys = [(layer.bit_width, layer.encoding, layer.codes_per_word) for layer in formats]
    shape = (len(words), max(layer.codes_per_word for layer in formats))
    of_word = np.full(len(words), -1)
    stored = np.zeros(shape, dtype=network.stored.dtype)
    scale, used = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    asked = words + tile * network.image.placement.memory.words
    begins = [entry.layer.first_word for entry in network.layers]
    at = np.searchsorted(begins, asked, side="right") - 1
    for number in np.unique(at[at >= 0]):
        entry = network.layers[number]
        layer = entry.layer
        here = np.flatnonzero((at == number) & (asked < layer.first_word + layer.words))
        position = (asked[here] - layer.first_word)[:, None] * layer.codes_per_word + np.arange(layer.codes_per_word)
        row, code = np.nonzero(position < layer.size)
        weight = position[row, code]
        if layer.order is not None:
            weight = layer.order[weight]
        source = entry.source(entry.coordinates(weight), orders)
        of_word[here] = keys.index((layer.bit_width, layer.encoding, layer.codes_per_word))
        stored[here[row], code] = network.stored[source]
        used[here[row], code] = True
        scale[here[row], code] = network.scales[number]
        if network.importance is not None:
            scale[here[row], code] *= network.importance[source]
    return Contents(formats, of_word, stored, scale, used)
