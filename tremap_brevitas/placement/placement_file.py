"""What the file of a placement says, and what a placement is made of when it is read again."""

from __future__ import annotations

from typing import Any

import msgspec
from numpy.typing import NDArray

from tremap_brevitas.codes import Encoding
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.placement.layer import PlacedLayer

KIND = "tremap placement"
SCHEMA = 2  # 1: no digest


class LayerHeader(msgspec.Struct):
    """What the file says of a layer beside its order."""

    name: str
    shape: tuple[int, ...]
    bit_width: int
    encoding: Encoding
    first_word: int
    codes_per_word: int


class Header(msgspec.Struct):
    """What the file says beside the orders of its layers."""

    schema: int
    words: int
    word_bits: int
    reuse: bool
    layers: list[LayerHeader]
    digest: str | None = None


def parts(header: Header, arrays: dict[str, NDArray[Any]]) -> tuple[Memory, tuple[PlacedLayer, ...], bool]:
    """Memory, layers and reuse of the placement that a file holds.

    Args:
        header: What the file says.
        arrays: The orders, as ``order_0`` for the first layer; layers without one have their weights in row-major order.

    Raises:
        ValueError: If an order is no layer's, a layer is not valid, or the header says no digest where its schema has one.
    """
    layers = tuple(
        PlacedLayer(**msgspec.structs.asdict(layer), order=arrays.pop(f"order_{i}", None))
        for i, layer in enumerate(header.layers)
    )
    if arrays:
        raise ValueError(f"it holds {', '.join(arrays)}, which is the order of none of its {len(layers)} layers")
    if header.schema > 1 and header.digest is None:
        raise ValueError("its header says no digest")
    return Memory(words=header.words, word_bits=header.word_bits), layers, header.reuse
