"""The header of a placement file, and the parts of a placement read from it."""

from __future__ import annotations

from typing import Any

import msgspec
from numpy.typing import NDArray

from tremap_brevitas.codes import Encoding
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.placement.layer import PlacedLayer
from tremap_brevitas.printable import counted

KIND = "tremap placement"
SCHEMA = 2  # 1: no digest


class LayerHeader(msgspec.Struct):
    """Header of one layer: everything but its order."""

    name: str
    shape: tuple[int, ...]
    bit_width: int
    encoding: Encoding
    first_word: int
    codes_per_word: int


class Header(msgspec.Struct):
    """Header of the file: everything but the orders of the layers."""

    schema: int
    words: int
    word_bits: int
    reuse: bool
    layers: list[LayerHeader]
    digest: str | None = None


def parts(header: Header, arrays: dict[str, NDArray[Any]]) -> tuple[Memory, tuple[PlacedLayer, ...], bool]:
    """Return memory, layers and reuse of the placement that a file holds.

    Args:
        header: Header of the file.
        arrays: The orders, as ``order_0`` for the first layer; layers without one have their weights in row-major order.

    Raises:
        ValueError: If an order belongs to no layer, a layer is not valid, or the header lacks the digest that its schema needs.
    """
    layers = tuple(
        PlacedLayer(**msgspec.structs.asdict(layer), order=arrays.pop(f"order_{i}", None))
        for i, layer in enumerate(header.layers)
    )
    if arrays:
        raise ValueError(f"it holds {', '.join(arrays)}, which belongs to none of its {counted(len(layers), 'layer')}")
    if header.schema > 1 and header.digest is None:
        raise ValueError("its header has no digest")
    return Memory(words=header.words, word_bits=header.word_bits), layers, header.reuse
