"""Draw a memory layout as text, to compare it with a data sheet."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tremap_brevitas.placement.layer import PlacedLayer, parameter_of
from tremap_brevitas.placement.placement import Placement


def drawn_words(placement: Placement, words: Iterable[int]) -> str:
    """Show which weight's code lies in which bits of some words, from the highest bit down.

    Args:
        placement: The placement.
        words: Numbers of the words to draw.

    Raises:
        ValueError: If there is no such word.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> layers = [LayerCodes("conv1", (2, 1, 1, 3), 8, "twos_complement"), LayerCodes("fc", (2, 2), 4, "binary")]
        >>> placement = linear_placement(layers, Memory(words=8, word_bits=20))
        >>> print(drawn_words(placement, [1, 3]))
        word 1
          19 … 16  unused
          15 …  8  conv1.weight[1,0,0,0], twos_complement
           7 …  0  conv1.weight[0,0,0,2], twos_complement
        word 3
          19 … 16  unused
          15 … 12  fc.weight[1,1], binary
          11 …  8  fc.weight[1,0], binary
           7 …  4  fc.weight[0,1], binary
           3 …  0  fc.weight[0,0], binary
    """
    lines = []
    for word in words:
        placement.memory.cell(word=word, bit=0)  # raises an error if there is no such word
        for tile in range(placement.tiles):
            lines.append(f"word {word}" + (f", tile {tile}" if placement.tiles > 1 else ""))
            lines += _drawn(placement, word + tile * placement.memory.words)
    return "\n".join(lines)


def _drawn(placement: Placement, word: int) -> list[str]:
    width = placement.memory.word_bits
    digits = len(str(width - 1))
    layer = next((x for x in placement.layers if x.first_word <= word < x.first_word + x.words), None)
    fields: list[tuple[int, int, str]] = []
    end = 0
    if layer is not None:
        first = (word - layer.first_word) * layer.codes_per_word
        for code in range(min(layer.codes_per_word, layer.size - first)):
            end = (code + 1) * layer.bit_width
            fields.append((end - 1, end - layer.bit_width, f"{_weight(layer, first + code)}, {layer.encoding}"))
    if end < width:
        fields.append((width - 1, end, "unused"))
    return [f"  {high:>{digits}} … {low:>{digits}}  {text}" for high, low, text in reversed(fields)]


def _weight(layer: PlacedLayer, position: int) -> str:
    weight = position if layer.order is None else int(layer.order[position])
    return parameter_of(layer.name, tuple(int(i) for i in np.unravel_index(weight, layer.shape)))
