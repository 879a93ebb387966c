"""FINN's layout: one memory for each layer, one word for each step of its matrix-vector unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.placement.image import MemoryImage
from tremap_brevitas.placement.layer import PlacedLayer
from tremap_brevitas.placement.linear import LayerCodes
from tremap_brevitas.placement.placement import Placement
from tremap_brevitas.printable import counted

Folding: TypeAlias = tuple[int, int] | Mapping[str, Any]
KEYS = ("PE", "SIMD", "input_shape", "unit")


def finn_placement(layers: Iterable[LayerCodes], memory: Memory, *, folding: Mapping[str, Folding]) -> Placement:
    """Place layers as FINN's units store their weights (MVAU and VVAU, ``internal_decoupled``).

    A matrix-vector unit (MVAU) multiplies by a matrix of ``MH`` rows (outputs) and ``MW`` columns (inputs). In every step it
    takes ``PE`` rows by ``SIMD`` columns, one word of ``PE * SIMD`` codes; all columns of the first ``PE`` rows come first.
    Within a word the columns of a row lie side by side, the first in the lowest bits, and so do the rows::

        PE = 2, SIMD = 2, MH = 4, MW = 4, 8-bit codes:   bit 31 … 24 | 23 … 16 | 15 … 8 | 7 … 0
                                               word 0:      [1,1]    |  [1,0]  | [0,1]  | [0,0]
                                               word 1:      [1,3]    |  [1,2]  | [0,3]  | [0,2]
                                               word 2:      [3,1]    |  [3,0]  | [2,1]  | [2,0]

    The matrix of a linear layer is its weight; behind a flattened feature map FINN reorders its columns, so that the channel
    runs fastest (``RemoveCNVtoFCFlatten``). That of a convolution has its columns in the order kernel row, kernel column,
    input channel; a transposed one is turned by 180° before. A depthwise convolution goes to another unit (VVAU), whose rows
    are the channels and whose columns are the kernel; with ``SIMD`` above 1 its HLS and RTL variants differ in the order of the
    codes inside a word.

    Source: ``get_hw_compatible_weight_tensor`` and ``make_weight_file`` of FINN (mode ``decoupled_verilog_dat``),
    ``RemoveCNVtoFCFlatten``, ``InferPixelPaddingDeconv`` and qonnx' ``LowerConvsToMatMul``. Every layer's memory of
    ``MH * MW / (PE * SIMD)`` words is a stretch of words here, in the order of ``layers``. The codes keep the bit width that
    the layer has: FINN's ``minimize_weight_bit_width`` would move every stuck bit and must stay off. FINN may also negate whole
    output channels; ``export/finn/check.py`` finds those in its model.

    Args:
        layers: The layers. ``LayerCodes`` must give the groups, transposed and channels, which the shape does not show;
            [place][tremap_brevitas.place] fills them in.
        memory: The words of all layers' memories together; a word is as wide as the widest unit's.
        folding: For each layer by name ``(PE, SIMD)``, or a mapping with the keys ``"PE"``, ``"SIMD"`` and, where needed,
            ``"input_shape"``: of a linear layer, ``(channels, height, width)`` of the feature map that was flattened before it,
            or ``(columns,)`` if there was none; ``"unit"``: of a depthwise convolution with SIMD above 1, ``"VVAU_hls"`` or
            ``"VVAU_rtl"``.

    Raises:
        ValueError: If a layer has no folding, PE does not divide its outputs or SIMD its inputs, a word is too wide, FINN has
            no unit for the layer, or an ``"input_shape"`` or ``"unit"`` is needed and missing, or is wrong.

    Examples:
        >>> layers = [LayerCodes("fc", (4, 4), 8, "twos_complement")]
        >>> placement = finn_placement(layers, Memory(words=4, word_bits=32), folding={"fc": (2, 2)})
        >>> [str(w) for w in placement.weights_at(2 * 32 + 8)]
        ['bit 0 of fc.weight[2,1]']

        Two channels of 1 × 2 pixels, flattened: in the memory the channel runs fastest.

        >>> folding = {"fc": {"PE": 1, "SIMD": 4, "input_shape": (2, 1, 2)}}
        >>> placement = finn_placement(layers, Memory(words=4, word_bits=32), folding=folding)
        >>> [placement.cell("fc", (0, column), bit=0) // 8 for column in range(4)]
        [0, 2, 1, 3]
    """
    layers = list(layers)
    unknown = set(folding) - {layer.name for layer in layers}
    if unknown:
        raise ValueError(
            f"folding names unknown layers: {', '.join(map(repr, sorted(unknown)))}; there are "
            f"{', '.join(layer.name for layer in layers)}"
        )
    maps = any(len(layer.shape) > 2 for layer in layers)
    placed = []
    word = 0
    for layer in layers:
        if layer.name not in folding:
            raise ValueError(f"layer {layer.name!r}: no folding for it; give its (PE, SIMD)")
        if maps and layer.channels is None:
            layer = layer._replace(channels=0)  # its columns may be a feature map's: then the folding must give its shape
        order, codes_per_word = _order(layer, folding[layer.name])
        if codes_per_word * layer.bit_width > memory.word_bits:
            raise ValueError(
                f"layer {layer.name!r}: PE × SIMD = {codes_per_word} codes of {layer.bit_width} bits do not fit into a word of "
                f"{memory.word_bits}"
            )
        placed_layer = PlacedLayer(layer.name, layer.shape, layer.bit_width, layer.encoding, word, codes_per_word, order)
        placed.append(placed_layer)
        word += placed_layer.words
    return Placement(memory, tuple(placed))


def finn_dat(image: MemoryImage, layer: str) -> str:
    """Format one layer's memory as FINN's ``memblock.dat``: hexadecimal words of ``PE * SIMD * bit_width`` bits.

    The bits are padded to a multiple of four.

    Raises:
        KeyError: If the placement has no such layer.
    """
    placed = image.placement.layer(layer)
    bits = placed.codes_per_word * placed.bit_width
    words = image.words()[placed.first_word : placed.first_word + placed.words]
    return "".join(f"{word & ((1 << bits) - 1):0{-(-bits // 4)}x}\n" for word in words)


def is_depthwise(layer: LayerCodes) -> bool:
    """Check whether FINN makes a VVAU of a layer: a convolution with one input channel per output channel."""
    return len(layer.shape) > 2 and not layer.transposed and layer.shape[:2] == (layer.groups, 1)


def finn_matrix(layer: LayerCodes, channels: int | None = None) -> NDArray[np.int64]:
    """Return the matrix of a layer's unit: flat, row-major indices of the weight, one row for each output.

    Args:
        layer: The layer.
        channels: Channels of the flattened feature map that makes up a linear layer's columns; None to keep their order.

    Raises:
        ValueError: If FINN has no unit for the layer.
    """
    where = f"layer {layer.name!r}"
    if len(layer.shape) < 2:
        raise ValueError(f"{where}: a weight of shape {layer.shape} is not a matrix")
    if len(layer.shape) > (4 if layer.groups == 1 or is_depthwise(layer) else 0):
        what = "transposed convolution" if layer.transposed else "convolution"
        raise ValueError(
            f"{where}: a {what} of {counted(layer.groups, 'group')}, weight {layer.shape}; FINN has units for convolutions of "
            f"one or two dimensions and one group, and for depthwise ones with as many outputs as inputs"
        )
    index = np.arange(math.prod(layer.shape), dtype=np.int64).reshape(layer.shape)
    if layer.transposed:
        if len(layer.shape) != 4:
            raise ValueError(f"{where}: FINN has only two-dimensional transposed convolutions, but its weight is {layer.shape}")
        index = np.flip(index, (2, 3)).swapaxes(0, 1)
    elif is_depthwise(layer):
        return index.reshape(layer.groups, -1)
    elif channels is not None and len(layer.shape) == 2:
        index = index.reshape(layer.shape[0], channels, -1)
    return np.moveaxis(index, 1, -1).reshape(index.shape[0], -1)  # channels last


def _order(layer: LayerCodes, folding: Folding) -> tuple[NDArray[np.int64], int]:
    said: Mapping[str, Any] = folding if isinstance(folding, Mapping) else dict(zip(KEYS, folding, strict=False))
    if not {"PE", "SIMD"} <= set(said) <= set(KEYS) or len(said) != len(folding) or (said is not folding and len(said) > 2):
        raise ValueError(
            f"layer {layer.name!r}: folding {folding!r}; give (PE, SIMD) or a mapping with some of {', '.join(KEYS)}"
        )
    pe, simd = int(said["PE"]), int(said["SIMD"])
    matrix = finn_matrix(layer, flattened_channels(layer, said.get("input_shape")))
    outputs, inputs = matrix.shape
    if pe < 1 or simd < 1 or outputs % pe or inputs % simd:
        raise ValueError(f"layer {layer.name!r}: PE {pe} must divide its {outputs} outputs, SIMD {simd} its {inputs} inputs")
    # (row step, PE, column step, SIMD) -> words by row step, then column step; inside a word by PE, then SIMD.
    steps = matrix.reshape(outputs // pe, pe, inputs // simd, simd).transpose(0, 2, 1, 3)
    if _unit(layer, simd, said.get("unit")) == "VVAU_hls":
        steps = np.flip(steps, -1)
    return steps.reshape(-1).astype(np.int64), pe * simd


def flattened_channels(layer: LayerCodes, input_shape: Iterable[int] | None) -> int | None:
    """Return the channels of the flattened feature map before a linear layer; None if unknown or not linear.

    Args:
        layer: The layer.
        input_shape: Shape given in the folding, or None.

    Raises:
        ValueError: If it is needed and missing, or wrong.
    """
    where = f"layer {layer.name!r}"
    if len(layer.shape) != 2:
        if input_shape is not None:
            raise ValueError(f"{where}: input_shape {input_shape} is for linear layers, its weight has shape {layer.shape}")
        return None
    columns = layer.shape[1]
    if input_shape is None:
        if layer.channels == 0:
            raise ValueError(
                f"{where}: its {columns} columns may be a flattened feature map, whose order FINN changes; give its "
                f'shape in the folding: "input_shape": (channels, height, width), or ({columns},) if there is no feature map'
            )
        if layer.channels and columns % layer.channels:
            raise ValueError(f"{where}: {columns} columns are not a feature map of {counted(layer.channels, 'channel')}")
        return layer.channels
    shape = tuple(int(n) for n in input_shape)
    if not shape or math.prod(shape) != columns or min(shape) < 1:
        raise ValueError(
            f"{where}: input_shape {shape} has {counted(math.prod(shape), 'number')}, its weight {counted(columns, 'column')}"
        )
    if layer.channels and shape[0] != layer.channels:
        raise ValueError(
            f"{where}: input_shape {shape} has {counted(shape[0], 'channel')}, but its input in the model has {layer.channels}"
        )
    return shape[0]


def _unit(layer: LayerCodes, simd: int, unit: str | None) -> str:
    """Return the kind of unit that FINN makes."""
    kind = "VVAU" if is_depthwise(layer) else "MVAU"
    if unit is not None and unit not in (f"{kind}_hls", f"{kind}_rtl"):
        raise ValueError(f"layer {layer.name!r}: unit {unit!r}; FINN makes a {kind}_hls or {kind}_rtl of it")
    if kind == "VVAU" and simd > 1 and unit is None:
        raise ValueError(
            f"layer {layer.name!r}: depthwise with SIMD {simd}; the order in a word depends on the unit: give it in "
            f'the folding, "unit": "VVAU_hls" or "VVAU_rtl"'
        )
    return unit or kind
