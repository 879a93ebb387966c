"""The codes of a network as written to the memory, and the words that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tremap_brevitas.codes import code_range, decode, encode
from tremap_brevitas.placement.layer import PlacedLayer
from tremap_brevitas.placement.placement import Placement
from tremap_brevitas.printable import counted

Array = NDArray[Any]


class MemoryImage:
    """The codes of a network as they are written to a memory, before stuck cells take effect.

    Args:
        placement: Where each code lies.
        codes: Integer array in the shape of the weight for each layer of the placement, by the layer's name.

    Raises:
        ValueError: If a layer is missing or unknown, or an array has the wrong shape or a code that does not fit.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> layer = PlacedLayer("fc", (3,), 4, "twos_complement", first_word=0, codes_per_word=2)
        >>> image = MemoryImage(Placement(Memory(words=2, word_bits=8), (layer,)), {"fc": [1, -1, 7]})
        >>> [f"{word:02x}" for word in image.words()]
        ['f1', '07']
    """

    def __init__(self, placement: Placement, codes: Mapping[str, ArrayLike]) -> None:
        names = [layer.name for layer in placement.layers]
        if set(codes) != set(names):
            raise ValueError(f"codes of layers {sorted(codes)}, but the placement has {sorted(names)}")
        self.placement = placement
        self.codes: Mapping[str, Array] = MappingProxyType(
            {layer.name: _checked(layer, codes[layer.name]) for layer in placement.layers}
        )

    @classmethod
    def from_words(cls, placement: Placement, words: Sequence[int]) -> MemoryImage:
        """Decode words, tile after tile, into codes: the inverse of [words][tremap_brevitas.MemoryImage.words].

        Raises:
            ValueError: If there are not exactly as many words as the placement has, or one is too wide.

        Examples:
            >>> from tremap_brevitas import Memory
            >>> layer = PlacedLayer("fc", (3,), 4, "twos_complement", first_word=0, codes_per_word=2)
            >>> image = MemoryImage.from_words(Placement(Memory(words=2, word_bits=8), (layer,)), [0xF1, 0x07])
            >>> image.codes["fc"].tolist()
            [1, -1, 7]
        """
        width, expected = placement.memory.word_bits, placement.tiles * placement.memory.words
        if len(words) != expected:
            raise ValueError(f"{counted(len(words), 'word')}, but the placement has {expected}")
        wide = next((i for i, word in enumerate(words) if not 0 <= word < 1 << width), None)
        if wide is not None:
            raise ValueError(f"word {wide} is {words[wide]:#x}, which does not fit into {counted(width, 'bit')}")
        size = -(-width // 8)
        packed = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in words), dtype=np.uint8)
        rows = np.unpackbits(packed.reshape(expected, size), axis=1, count=width, bitorder="little")
        codes = {}
        for layer in placement.layers:
            used = rows[layer.first_word : layer.first_word + layer.words, : layer.codes_per_word * layer.bit_width]
            bits = used.reshape(-1, layer.bit_width)[: layer.size].astype(np.int64)
            stored = bits @ (1 << np.arange(layer.bit_width))
            values = decode(stored, bit_width=layer.bit_width, encoding=layer.encoding)
            ordered = values if layer.positions is None else values[layer.positions]
            codes[layer.name] = ordered.reshape(layer.shape)
        return cls(placement, codes)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """All bits, packed: cell ``c`` of tile ``t`` is bit ``n % 8`` of byte ``n // 8``, ``n = t * cells + c``.

        Unused cells are 0.
        """
        width = self.placement.memory.word_bits
        total = self.placement.tiles * self.placement.memory.words
        unpacked = np.zeros((total, width), dtype=np.uint8)
        for layer in self.placement.layers:
            codes = self.codes[layer.name].reshape(-1)
            ordered = codes if layer.order is None else codes[layer.order]
            stored = encode(ordered, bit_width=layer.bit_width, encoding=layer.encoding).astype("<u2")
            bits = np.unpackbits(stored.view(np.uint8).reshape(-1, 2), axis=1, count=layer.bit_width, bitorder="little")
            row = np.zeros((layer.words * layer.codes_per_word, layer.bit_width), dtype=np.uint8)
            row[: layer.size] = bits
            used = layer.codes_per_word * layer.bit_width
            unpacked[layer.first_word : layer.first_word + layer.words, :used] = row.reshape(layer.words, used)
        packed = np.packbits(unpacked.reshape(-1), bitorder="little")
        packed.flags.writeable = False
        return packed

    def stored(self, cells: ArrayLike) -> NDArray[np.uint8]:
        """Return the bit stored in each of these cells; 0 in a cell that no weight uses.

        Args:
            cells: Cell indices of the memory, in any order, (cells,).

        Returns:
            Zeros and ones, (tiles, cells): a reused memory stores another bit in each tile.

        Raises:
            ValueError: If a cell is outside the memory.

        Examples:
            >>> from tremap_brevitas import Memory
            >>> layer = PlacedLayer("fc", (3,), 4, "twos_complement", first_word=0, codes_per_word=2)
            >>> image = MemoryImage(Placement(Memory(words=2, word_bits=8), (layer,)), {"fc": [1, -1, 7]})
            >>> image.stored([0, 1, 4, 10, 11])
            array([[1, 0, 1, 1, 0]], dtype=uint8)
        """
        asked, size = np.asarray(cells, dtype=np.int64), self.placement.memory.cells
        if asked.size and not 0 <= asked.min() <= asked.max() < size:
            raise ValueError(f"cells {asked.min()} to {asked.max()} are not all inside the memory of {counted(size, 'cell')}")
        cell = asked + size * np.arange(self.placement.tiles)[:, None]
        return (self.bits[cell >> 3] >> (cell & 7).astype(np.uint8)) & 1

    def words(self) -> list[int]:
        """Return every word as a number, tile after tile."""
        width = self.placement.memory.word_bits
        total = self.placement.tiles * self.placement.memory.words
        rows = np.unpackbits(self.bits, count=total * width, bitorder="little").reshape(total, width)
        return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(rows, axis=1, bitorder="little")]

    @cached_property
    def squares(self) -> Mapping[str, float]:
        """Sum of the squared codes of each layer, the reference for its errors."""
        return MappingProxyType({name: float(np.square(codes, dtype=np.float64).sum()) for name, codes in self.codes.items()})

    @cached_property
    def digest(self) -> str:
        """SHA-256 over placement and codes, as 64 hexadecimal digits."""
        sha = hashlib.sha256(self.placement.digest.encode())
        for codes in self.codes.values():
            sha.update(codes.astype("<i4").tobytes())
        return sha.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        # MappingProxyType cannot be pickled or deep-copied; a plain dict says the same.
        return type(self), (self.placement, dict(self.codes))

    def __repr__(self) -> str:
        codes, layers = counted(self.placement.weights, "code"), counted(len(self.codes), "layer")
        return f"MemoryImage({codes} of {layers}, {self.placement.memory})"


def _checked(layer: PlacedLayer, codes: ArrayLike) -> Array:
    array = np.asarray(codes)
    if array.shape != layer.shape:
        raise ValueError(f"layer {layer.name!r}: codes of shape {array.shape}, but the placement holds {layer.shape}")
    low, high = code_range(bit_width=layer.bit_width, encoding=layer.encoding)
    if array.dtype.kind not in "iu":
        raise ValueError(f"layer {layer.name!r}: codes must be integers, got {array.dtype}")
    if array.min() < low or array.max() > high:
        raise ValueError(
            f"layer {layer.name!r}: codes from {array.min()} to {array.max()}, but {counted(layer.bit_width, 'bit')} "
            f"{layer.encoding} hold {low} to {high}"
        )
    kept: Array = array.astype(np.min_scalar_type(low if low < 0 else high), order="C")
    kept.flags.writeable = False
    return kept
