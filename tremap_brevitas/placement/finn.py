"""FINN's layout: one memory a layer, a word for each step of its matrix-vector unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.placement.image import MemoryImage
from tremap_brevitas.placement.layer import PlacedLayer
from tremap_brevitas.placement.linear import LayerCodes
from tremap_brevitas.placement.placement import Placement


def finn_placement(layers: Iterable[LayerCodes], memory: Memory, *, folding: Mapping[str, tuple[int, int]]) -> Placement:
    """Place layers as FINN's matrix-vector units (MVAU, ``internal_decoupled``) hold their weights.

    A unit multiplies by a matrix of ``MH`` rows (outputs) and ``MW`` columns (inputs): a linear layer's weight as it is, a
    convolution's with its columns in the order kernel row, kernel column, input channel. In every step it takes ``PE`` rows by
    ``SIMD`` columns, one word of ``PE * SIMD`` codes; all columns of the first ``PE`` rows come first. Within a word the
    columns of a row lie side by side, the first in the lowest bits, and so do the rows::

        PE = 2, SIMD = 2, MH = 4, MW = 4, 8-bit codes:   bit 31 … 24 | 23 … 16 | 15 … 8 | 7 … 0
                                               word 0:      [1,1]    |  [1,0]  | [0,1]  | [0,0]
                                               word 1:      [1,3]    |  [1,2]  | [0,3]  | [0,2]
                                               word 2:      [3,1]    |  [3,0]  | [2,1]  | [2,0]

    Source: ``MVAU.get_hw_compatible_weight_tensor`` and ``make_weight_file`` of FINN (mode ``decoupled_verilog_dat``). Every
    layer's memory of ``MH * MW / (PE * SIMD)`` words is a stretch of words here, in the order of ``layers``. The codes keep
    the bit width that the layer has: FINN's ``minimize_weight_bit_width`` would move every stuck bit and must stay off.

    Args:
        layers: The layers: linear ones, and convolutions that are neither grouped nor transposed. (A grouped convolution's
            shape does not give it away; FINN lowers those to another unit.)
        memory: The words of all layers' memories together; a word is as wide as the widest unit's.
        folding: ``(PE, SIMD)`` of each layer by name, as in FINN's folding configuration.

    Raises:
        ValueError: If a layer has no folding, PE does not divide its outputs or SIMD its inputs, or a word is too wide.

    Examples:
        >>> layers = [LayerCodes("fc", (4, 4), 8, "twos_complement")]
        >>> placement = finn_placement(layers, Memory(words=4, word_bits=32), folding={"fc": (2, 2)})
        >>> [str(w) for w in placement.weights_at(2 * 32 + 8)]
        ['bit 0 of fc.weight[2,1]']
    """
    layers = list(layers)
    unknown = set(folding) - {layer.name for layer in layers}
    if unknown:
        raise ValueError(f"folding of layers {sorted(unknown)}, but there are {', '.join(layer.name for layer in layers)}")
    placed = []
    word = 0
    for layer in layers:
        if layer.name not in folding:
            raise ValueError(f"layer {layer.name!r}: no folding for it; give its (PE, SIMD)")
        order, codes_per_word = _order(layer, *folding[layer.name])
        if codes_per_word * layer.bit_width > memory.word_bits:
            raise ValueError(
                f"layer {layer.name!r}: PE × SIMD = {codes_per_word} codes of {layer.bit_width} bits do not fit into a word of "
                f"{memory.word_bits}"
            )
        found = PlacedLayer(layer.name, layer.shape, layer.bit_width, layer.encoding, word, codes_per_word, order)
        placed.append(found)
        word += found.words
    return Placement(memory, tuple(placed))


def finn_dat(image: MemoryImage, layer: str) -> str:
    """One layer's memory as FINN's ``memblock.dat``: one word a line, hexadecimal, of ``PE * SIMD * bit_width`` bits.

    The bits are padded to a multiple of four.

    Raises:
        KeyError: If the placement has no such layer.
    """
    placed = image.placement.layer(layer)
    bits = placed.codes_per_word * placed.bit_width
    words = image.words()[placed.first_word : placed.first_word + placed.words]
    return "".join(f"{word & ((1 << bits) - 1):0{-(-bits // 4)}x}\n" for word in words)


def _order(layer: LayerCodes, pe: int, simd: int) -> tuple[NDArray[np.int64], int]:
    if len(layer.shape) < 2:
        raise ValueError(f"layer {layer.name!r}: a weight of shape {layer.shape} is no matrix")
    outputs, inputs = layer.shape[0], math.prod(layer.shape[1:])
    if pe < 1 or simd < 1 or outputs % pe or inputs % simd:
        raise ValueError(f"layer {layer.name!r}: PE {pe} must divide its {outputs} outputs, SIMD {simd} its {inputs} inputs")
    index = np.arange(outputs * inputs).reshape(layer.shape)
    matrix = np.moveaxis(index, 1, -1).reshape(outputs, inputs)  # channels last
    # (row step, PE, column step, SIMD) -> words by row step, then column step; inside a word by PE, then SIMD.
    steps = matrix.reshape(outputs // pe, pe, inputs // simd, simd).transpose(0, 2, 1, 3)
    return steps.reshape(-1).astype(np.int64), pe * simd
