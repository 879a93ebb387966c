"""The default layout: layers one after the other, weights in row-major order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tremap_brevitas.codes import Encoding
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.placement.layer import PlacedLayer
from tremap_brevitas.placement.placement import Placement


class LayerCodes(NamedTuple):
    """Description of a layer for a layout: its name, the number and format of its codes, and its operator.

    Attributes:
        name: Dotted name of the layer.
        shape: Shape of its weight.
        bit_width: Bits of a code.
        encoding: How a code is stored.
        groups: Groups of a convolution.
        transposed: Whether it is a transposed convolution, whose weight begins with its input channels.
        channels: For a linear layer behind a flattened feature map (by channel, then row, then column): the channels of that
            map. Without a feature map: the number of columns. None if nobody gave it, 0 if the model was traced and it
            remained unknown.
    """

    name: str
    shape: tuple[int, ...]
    bit_width: int
    encoding: Encoding
    groups: int = 1
    transposed: bool = False
    channels: int | None = None


def linear_placement(layers: Iterable[LayerCodes], memory: Memory, *, reuse: bool = False) -> Placement:
    """Place layers one after the other, each starting at a word boundary.

    As many whole codes a word as fit, the first in the lowest bits, LSB first::

        word_bits = 16, 5-bit codes:   bit 15 | 14 … 10 | 9 … 5  | 4 … 0
                              word 0:  unused | code 2  | code 1 | code 0
                              word 1:  unused | code 5  | code 4 | code 3

    Args:
        layers: The layers, in their order in the memory.
        memory: The memory.
        reuse: Whether layers that do not fit wrap round to word 0, tile by tile.

    Raises:
        ValueError: If a code is wider than a word, or the layers do not fit and ``reuse`` is False.

    Examples:
        >>> layers = [LayerCodes("conv", (2, 5), 5, "twos_complement"), LayerCodes("fc", (3,), 8, "binary")]
        >>> print(linear_placement(layers, Memory(words=10, word_bits=16)))
        13 weights of 2 layers in 6 of 10 words of 16 bits
          words        0 to        3: conv (2×5), 5 bits twos_complement, 3 codes a word
          words        4 to        5: fc (3), 8 bits binary, 2 codes a word
    """
    placed: list[PlacedLayer] = []
    word = 0
    for name, shape, bit_width, encoding, *_ in layers:
        if bit_width > memory.word_bits:
            raise ValueError(f"layer {name!r}: a code of {bit_width} bits does not fit into a word of {memory.word_bits}")
        layer = PlacedLayer(name, shape, bit_width, encoding, word, memory.word_bits // bit_width)
        placed.append(layer)
        word += layer.words
    return Placement(memory, tuple(placed), reuse)
