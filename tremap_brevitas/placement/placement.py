"""Placement: the map between memory cells and the bits of weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tremap_brevitas.archive import load_archive, save_archive
from tremap_brevitas.faults.fault_map import FaultMap, check_memory
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.placement.layer import LayerSites, PlacedLayer, WeightBit
from tremap_brevitas.placement.placement_file import KIND, SCHEMA, Header, parts
from tremap_brevitas.placement.stuck_bits import StuckBits, merged_bits
from tremap_brevitas.printable import counted


@dataclass(frozen=True, eq=False)
class Placement:
    """The location of each bit of each weight of a model in the cells of a memory. Can be saved to a file.

    Usually made by [place][tremap_brevitas.place].

    Args:
        memory: Geometry of the memory.
        layers: The layers, by ascending ``first_word``; their words do not overlap.
        reuse: Whether the memory is loaded tile by tile. Word ``w`` of the layers then lies in word
            ``w % memory.words``, and one cell holds a bit of several weights.

    Raises:
        ValueError: If there is no layer, two have the same name or overlap, a word is too narrow, or the layers
            do not fit and ``reuse`` is False.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> layer = PlacedLayer("fc", (2, 3), 4, "twos_complement", first_word=0, codes_per_word=2)
        >>> placement = Placement(Memory(words=4, word_bits=8), (layer,))
        >>> placement.cell("fc", (1, 0), bit=3)
        15
        >>> [str(bit) for bit in placement.weights_at(15)]
        ['bit 3 of fc.weight[1,0]']
    """

    memory: Memory
    layers: tuple[PlacedLayer, ...]
    reuse: bool = False
    _by_name: dict[str, PlacedLayer] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise ValueError("a placement needs at least one layer")
        object.__setattr__(self, "_by_name", {layer.name: layer for layer in self.layers})
        end, previous = 0, ""
        for layer in self.layers:
            if layer.codes_per_word * layer.bit_width > self.memory.word_bits:
                raise ValueError(
                    f"layer {layer.name!r}: {layer.codes_per_word} codes of {layer.bit_width} bits do not fit into a "
                    f"word of {self.memory.word_bits} bits"
                )
            if layer.first_word < end:
                raise ValueError(
                    f"layer {layer.name!r} begins at word {layer.first_word}, but layer {previous!r} ends at {end}"
                )
            end, previous = layer.first_word + layer.words, layer.name
        if len(self._by_name) != len(self.layers):
            raise ValueError("two layers of a placement have the same name")
        if end > self.memory.words and not self.reuse:
            missing = (end - self.memory.words) * self.memory.word_bits
            raise ValueError(
                f"the weights need {counted(end, 'word')}, but the memory has {self.memory.words} ({self.memory}): {missing} "
                f"bits are missing; take a larger memory, exclude layers, or pass reuse=True for one that is loaded tile by "
                f"tile"
            )

    @property
    def words(self) -> int:
        """Words that the layers take, before any reuse."""
        return self.layers[-1].first_word + self.layers[-1].words

    @property
    def tiles(self) -> int:
        """How many times the memory is loaded; 1 unless it is reused."""
        return -(-self.words // self.memory.words)

    @property
    def weights(self) -> int:
        """Number of weights placed."""
        return sum(layer.size for layer in self.layers)

    def layer(self, name: str) -> PlacedLayer:
        """Return the layer of that name.

        Raises:
            KeyError: If there is none.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"no layer {name!r} in the placement; it has {', '.join(self._by_name)}") from None

    def cell(self, layer: str, index: Sequence[int] | int, *, bit: int) -> int:
        """Return the cell that holds one bit of one weight.

        Args:
            layer: Name of the layer.
            index: Index of the weight, one number for each dimension, or its flat row-major index.
            bit: Bit of the code; 0 is the LSB.

        Raises:
            KeyError: If there is no such layer.
            ValueError: If there is no such weight or bit.
        """
        placed = self.layer(layer)
        try:
            flat = int(np.ravel_multi_index(tuple(np.atleast_1d(index)), _shape_for(index, placed)))
        except ValueError:
            raise ValueError(f"layer {layer!r}: no weight {index} in shape {placed.shape}") from None
        if not 0 <= bit < placed.bit_width:
            raise ValueError(f"layer {layer!r}: no bit {bit} in codes of {placed.bit_width} bits")
        position = flat if placed.positions is None else int(placed.positions[flat])
        word, code = divmod(position, placed.codes_per_word)
        word = (placed.first_word + word) % self.memory.words
        return self.memory.cell(word=word, bit=code * placed.bit_width + bit)

    def weights_at(self, cell: int) -> list[WeightBit]:
        """Return all bits of weights that one cell holds: none for an unused cell, several if the memory is reused.

        Raises:
            ValueError: If the cell is outside the memory.
        """
        return [
            WeightBit(sites.layer.name, tuple(int(i) for i in np.unravel_index(weight, sites.layer.shape)), int(bit))
            for sites in self.sites(np.array([cell]))
            for weight, bit in zip(sites.weight, sites.bit, strict=True)
        ]

    def sites(self, cells: ArrayLike) -> list[LayerSites]:
        """Find the bits of weights that many cells hold: the inverse of [cell][tremap_brevitas.Placement.cell].

        Args:
            cells: Cell indices in ascending order.

        Returns:
            For each layer with a bit in these cells, in the order of the layers, these bits. Cells that hold no bit of a weight
            are left out.

        Raises:
            ValueError: If the cells are not in ascending order or not all inside the memory.
        """
        asked = np.asarray(cells, dtype=np.int64)
        if np.any(asked[1:] < asked[:-1]):
            raise ValueError("cells must be in ascending order")
        if len(asked) and (asked[0] < 0 or asked[-1] >= self.memory.cells):
            raise ValueError(f"cells {asked[0]} to {asked[-1]} are not all inside the memory of {self.memory.cells} cells")
        hit: list[LayerSites] = []
        if not len(asked):
            return hit
        source = None
        if self.tiles > 1:  # the same cells once for each time that the memory is loaded
            source = np.tile(np.arange(len(asked)), self.tiles)
            asked = (asked[None, :] + np.arange(self.tiles)[:, None] * self.memory.cells).reshape(-1)
        width = self.memory.word_bits
        begins = [layer.first_word * width for layer in self.layers]
        ends = [(layer.first_word + layer.words) * width for layer in self.layers]
        starts = np.searchsorted(asked, begins)
        stops = np.searchsorted(asked, ends)
        for layer, begin, start, stop in zip(self.layers, begins, starts, stops, strict=True):
            if start == stop:
                continue
            word, bit = np.divmod(asked[start:stop] - begin, width)
            if layer.codes_per_word > 1:
                code, bit = np.divmod(bit, layer.bit_width)
                position = word * layer.codes_per_word + code
                used = (code < layer.codes_per_word) & (position < layer.size)
            else:
                position, used = word, bit < layer.bit_width
            index = np.arange(start, stop)
            if not used.all():
                position, bit, index = position[used], bit[used], index[used]
                if not len(position):
                    continue
            weight = position if layer.order is None else layer.order[position]
            hit.append(LayerSites(layer, weight, bit, index if source is None else source[index]))
        return hit

    def stuck_bits(self, fault_map: FaultMap) -> list[StuckBits]:
        """Find the weights that a chip's stuck cells hit, each once, with all its stuck bits.

        Args:
            fault_map: A map of this memory.

        Returns:
            For each layer that is hit, in the order of the layers, its weights and their masks.

        Raises:
            ValueError: If the map is of another memory.

        Examples:
            >>> from tremap_brevitas import FaultMap
            >>> layer = PlacedLayer("fc", (2, 3), 4, "twos_complement", first_word=0, codes_per_word=2)
            >>> placement = Placement(Memory(words=4, word_bits=8), (layer,))
            >>> (bits,) = placement.stuck_bits(FaultMap(placement.memory, [12, 15, 16], [0, 1, 1]))
            >>> bits.weight, bits.sa0, bits.sa1
            (array([3, 4]), array([1, 0], dtype=int32), array([8, 1], dtype=int32))
        """
        check_memory(fault_map, self.memory, whose="the placement's")
        return merged_bits(self.sites(fault_map.cells), fault_map.stuck_at)

    def description(self) -> dict[str, Any]:
        """Return everything but the orders, in a form that JSON can store."""
        return {
            "words": self.memory.words,
            "word_bits": self.memory.word_bits,
            "reuse": self.reuse,
            "layers": [layer.description() for layer in self.layers],
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the whole placement, as 64 hexadecimal digits."""
        sha = hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode())
        for layer in self.layers:
            sha.update(b"\0" if layer.order is None else layer.order.astype("<i8").tobytes())
        return sha.hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Placement) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the placement to one compressed file that holds no pickle, atomically."""
        orders = {f"order_{i}": layer.order for i, layer in enumerate(self.layers) if layer.order is not None}
        return save_archive(self, path, kind=KIND, schema=SCHEMA, header=self.description(), arrays=orders)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Placement:
        """Read a placement that [save][tremap_brevitas.Placement.save] wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, is not a placement, has a newer schema, or its content does not match
                its digest.
        """
        return load_archive(path, lambda *said: cls(*parts(*said)), kind=KIND, schema=SCHEMA, header=Header)

    def __str__(self) -> str:
        used = f"{self.words} of {counted(self.memory.words, 'word')}"
        if self.tiles > 1:
            used = f"{self.words} words in {self.tiles} tiles of {self.memory.words}"
        weights, layers = counted(self.weights, "weight"), counted(len(self.layers), "layer")
        lines = [f"{weights} of {layers} in {used} of {self.memory.word_bits} bits"]
        for layer in self.layers:
            shape = "×".join(map(str, layer.shape))
            lines.append(
                f"  words {layer.first_word:>8} to {layer.first_word + layer.words - 1:>8}: {layer.name} ({shape}), "
                f"{layer.bit_width} bits {layer.encoding}, {layer.codes_per_word} codes a word"
                + ("" if layer.order is None else ", own order")
            )
        return "\n".join(lines)


def _shape_for(index: Sequence[int] | int, layer: PlacedLayer) -> tuple[int, ...]:
    return (layer.size,) if isinstance(index, (int, np.integer)) else layer.shape
