"""The codes of a network as written to the memory, and the words that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tremap_brevitas.codes import code_range
from tremap_brevitas.faults.fault_map import FaultMap, check_memory
from tremap_brevitas.placement.layer import PlacedLayer
from tremap_brevitas.placement.packed import after_stuck_cells, bits_of_words, packed_codes, unpacked_codes, words_of_bits
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
        expected = placement.tiles * placement.memory.words
        if len(words) != expected:
            raise ValueError(f"{counted(len(words), 'word')}, but the placement has {expected}")
        return cls(placement, unpacked_codes(placement, bits_of_words(words, width=placement.memory.word_bits)))

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """All bits, packed: cell ``c`` of tile ``t`` is bit ``n % 8`` of byte ``n // 8``, ``n = t * cells + c``.

        Unused cells are 0.
        """
        packed = packed_codes(self.placement, self.codes)
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
        memory = self.placement.memory
        return words_of_bits(self.bits, words=self.placement.tiles * memory.words, width=memory.word_bits)

    def read_through(self, chip: FaultMap) -> MemoryImage:
        """Return the image that a chip reads after this one was written to it.

        Every cell is written and read back, whichever weight it holds. This is an independent proof of a certificate, which
        looks only at weights with stuck bits.

        Raises:
            ValueError: If the map is of another memory.

        Examples:
            >>> from tremap_brevitas import FaultMap, Memory
            >>> layer = PlacedLayer("fc", (3,), 4, "twos_complement", first_word=0, codes_per_word=2)
            >>> image = MemoryImage(Placement(Memory(words=2, word_bits=8), (layer,)), {"fc": [1, -1, 7]})
            >>> image.read_through(FaultMap(image.placement.memory, cells=[0, 7, 15], stuck_at=[0, 0, 1])).codes["fc"]
            array([0, 7, 7], dtype=int8)
        """
        check_memory(chip, self.placement.memory, whose="the image's")
        return MemoryImage(self.placement, unpacked_codes(self.placement, after_stuck_cells(self.placement, self.bits, chip)))

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
        # MappingProxyType cannot be pickled or deep-copied; a plain dict holds the same.
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
