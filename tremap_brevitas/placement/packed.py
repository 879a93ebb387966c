"""Convert codes to the packed bits of a memory, and back: whole arrays at once, millions of codes in a fraction of a second.

Packed bits: cell ``c`` of tile ``t`` is bit ``n % 8`` of byte ``n // 8``, ``n = t * cells + c``. Cells without a code are 0.
"""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.codes import decode, encode
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.placement.layer import PlacedLayer
from tremap_brevitas.placement.placement import Placement
from tremap_brevitas.printable import counted

Bits = NDArray[np.uint8]


def packed_codes(placement: Placement, codes: Mapping[str, NDArray[Any]]) -> Bits:
    """Return the bits of a memory that holds these codes."""
    width, total = placement.memory.word_bits, placement.tiles * placement.memory.words
    if width % 8:
        cells = np.zeros((total, width), dtype=np.uint8)
        for layer in placement.layers:
            cells[layer.first_word : layer.first_word + layer.words] = _cells(layer, width, _stored(layer, codes))
        return np.packbits(cells.reshape(-1), bitorder="little")
    rows = np.zeros((total, width // 8), dtype=np.uint8)
    for layer in placement.layers:
        stored, mine = _stored(layer, codes), rows[layer.first_word : layer.first_word + layer.words]
        if _whole_bytes(layer):
            mine[:, : layer.codes_per_word * layer.bit_width // 8] = stored.view(np.uint8).reshape(layer.words, -1)
        else:
            mine[:] = np.packbits(_cells(layer, width, stored), axis=1, bitorder="little")
    return rows.reshape(-1)


def unpacked_codes(placement: Placement, bits: Bits) -> dict[str, NDArray[np.int32]]:
    """Return the codes that a memory of these bits holds, by layer: the inverse of ``packed_codes``."""
    return {layer.name: _codes(layer, placement.memory.word_bits, bits) for layer in placement.layers}


def _whole_bytes(layer: PlacedLayer) -> bool:
    return layer.bit_width in (8, 16)


def _stored(layer: PlacedLayer, codes: Mapping[str, NDArray[Any]]) -> NDArray[np.unsignedinteger]:
    """Return the stored bits of the code at each position, also at positions without a weight: one byte each, or two."""
    flat = codes[layer.name].reshape(-1)
    ordered = flat if layer.order is None else flat[layer.order]
    stored = np.zeros(layer.words * layer.codes_per_word, dtype="<u1" if layer.bit_width <= 8 else "<u2")
    stored[: layer.size] = encode(ordered, bit_width=layer.bit_width, encoding=layer.encoding)
    return stored


def _cells(layer: PlacedLayer, width: int, stored: NDArray[np.unsignedinteger]) -> Bits:
    """Return the cells of the layer's words, (words, width)."""
    bytes_ = stored.view(np.uint8).reshape(len(stored), -1)
    cells = np.zeros((layer.words, width), dtype=np.uint8)
    bits = np.unpackbits(bytes_, axis=1, count=layer.bit_width, bitorder="little")
    cells[:, : layer.codes_per_word * layer.bit_width] = bits.reshape(layer.words, -1)
    return cells


def _codes(layer: PlacedLayer, width: int, bits: Bits) -> NDArray[np.int32]:
    begin, end = layer.first_word * width, (layer.first_word + layer.words) * width
    some, used = bits[begin // 8 : -(-end // 8)], layer.codes_per_word * layer.bit_width
    kind = "<u1" if layer.bit_width <= 8 else "<u2"
    if width % 8 == 0 and _whole_bytes(layer):
        rows = some.reshape(layer.words, width // 8)[:, : used // 8]
    else:
        cells = np.unpackbits(some, bitorder="little")[begin % 8 :][: end - begin].reshape(layer.words, width)[:, :used]
        rows = np.packbits(cells.reshape(-1, layer.bit_width), axis=1, bitorder="little")
    stored = np.ascontiguousarray(rows).reshape(-1).view(kind)[: layer.size]
    values = decode(stored, bit_width=layer.bit_width, encoding=layer.encoding)
    return (values if layer.positions is None else values[layer.positions]).reshape(layer.shape)


def after_stuck_cells(placement: Placement, bits: Bits, chip: FaultMap) -> Bits:
    """Return the bits that a chip reads after these were written to it: a stuck cell has its stuck value in every tile."""
    read = bits.copy()
    for tile in range(placement.tiles):
        for value in (0, 1):
            cell = chip.cells[chip.stuck_at == value].astype(np.int64) + tile * placement.memory.cells
            mask = np.left_shift(1, cell & 7).astype(np.uint8)
            if value:
                np.bitwise_or.at(read, cell >> 3, mask)
            else:
                np.bitwise_and.at(read, cell >> 3, ~mask)
    return read


def words_of_bits(bits: Bits, *, words: int, width: int) -> list[int]:
    """Return every word as a number."""
    rows = np.packbits(np.unpackbits(bits, count=words * width, bitorder="little").reshape(words, width), 1, bitorder="little")
    if width > 64:
        return [int.from_bytes(row.tobytes(), "little") for row in rows]
    wide = np.zeros((words, 8), dtype=np.uint8)
    wide[:, : rows.shape[1]] = rows
    numbers: list[int] = wide.view("<u8")[:, 0].tolist()
    return numbers


def bits_of_words(words: Sequence[int], *, width: int) -> Bits:
    """Return the bits of words given as numbers.

    Raises:
        ValueError: If one is too wide; names the first.
    """
    size = -(-width // 8)
    rows = _rows(words, width)
    if rows is None:
        wide = next((i for i, word in enumerate(words) if not 0 <= word < 1 << width), None)
        if wide is not None:
            raise ValueError(f"word {wide} is {words[wide]:#x}, which does not fit into {counted(width, 'bit')}")
        rows = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in words), dtype=np.uint8).reshape(-1, size)
    if width % 8 == 0:
        return rows.reshape(-1)
    return np.packbits(np.unpackbits(rows, axis=1, count=width, bitorder="little").reshape(-1), bitorder="little")


def _rows(words: Sequence[int], width: int) -> Bits | None:
    """Return the bytes of words that fit, word by word, lowest byte first; None if only Python's integers are wide enough."""
    if width > 64:
        return None
    try:
        numbers = np.frombuffer(array.array("Q", words), dtype=np.uint64)  # refuses all but integers of 64 bits
    except (OverflowError, TypeError):
        return None
    if width < 64 and len(numbers) and int(numbers.max()) >> width:
        return None
    return np.ascontiguousarray(numbers.astype("<u8").view(np.uint8).reshape(-1, 8)[:, : -(-width // 8)])
