"""Physical location of a memory's words and bits in the cell array."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tremap_brevitas.archive import load_json, save_json
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.permutation import inverse, permutation


@dataclass(frozen=True, eq=False, repr=False)
class ArrayGeometry:
    """Mapping of a memory's logical addresses (word, bit) to its physical arrays, one for each bank.

    Logical word ``w`` is physical word ``p = word_order[w]``. Contiguous banks hold ``words_per_bank`` physical words each, so
    ``p`` is word ``i = p % words_per_bank`` of bank ``p // words_per_bank``; with interleaved banks it is word
    ``i = p // banks`` of bank ``p % banks``. Bit ``b`` of that word lies in row ``i // column_mux`` and column
    ``bit_order[b] * column_mux + i % column_mux``: the columns that share the sense amplifier of one bit lie side by side.

    A geometry is a value: two with the same memory, banks included, and the same layout are equal. An order that moves nothing
    is stored as None.

    Args:
        memory: The memory as it is addressed.
        column_mux: Words that share one physical row; ``words_per_bank`` must be divisible by it.
        interleaved_banks: Whether neighbouring words lie in neighbouring banks.
        word_order: Physical number of each word, a permutation; None for the word's own. This describes scrambled addresses.
        bit_order: Physical position of each bit of a word, a permutation; None for the bit's own.

    Raises:
        TypeError: If ``column_mux`` or an order is not of integers, or ``interleaved_banks`` not a bool.
        ValueError: If ``column_mux`` is below 1 or does not divide the words of a bank, or an order is not a permutation.

    Examples:
        >>> geometry = ArrayGeometry(Memory(words=16, word_bits=2, banks=2), column_mux=4)
        >>> print(geometry)
        16 words × 2 bits in 2 banks, each of 2 rows × 8 columns, column mux 4
        >>> bank, row, column = geometry.physical([geometry.memory.cell(word=13, bit=1)])
        >>> bank, row, column
        (array([1]), array([1]), array([5]))
        >>> geometry.logical(bank, row, column)
        array([27])
    """

    memory: Memory
    _: KW_ONLY
    column_mux: int = 1
    interleaved_banks: bool = False
    word_order: NDArray[np.int64] | None = None
    bit_order: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        try:
            mux = operator.index(self.column_mux)
        except TypeError:
            raise TypeError(f"column_mux must be an integer, got {self.column_mux!r}") from None
        if mux < 1:
            raise ValueError(f"column_mux must be at least 1, got {mux}")
        if self.memory.words_per_bank % mux:
            raise ValueError(f"column_mux must divide the {self.memory.words_per_bank} words of a bank, got {mux}")
        # The string "false" of some file would count as true.
        if not isinstance(self.interleaved_banks, (bool, np.bool_)):
            raise TypeError(f"interleaved_banks must be True or False, got {self.interleaved_banks!r}")
        object.__setattr__(self, "column_mux", mux)
        object.__setattr__(self, "interleaved_banks", bool(self.interleaved_banks))
        object.__setattr__(self, "word_order", permutation(self.word_order, "word_order", self.memory.words))
        object.__setattr__(self, "bit_order", permutation(self.bit_order, "bit_order", self.memory.word_bits))

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, so that the orders are read-only again.
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.kw_only}
        return partial(type(self), **options), (self.memory,)

    @property
    def banks(self) -> int:
        """Number of banks, each with its own array."""
        return self.memory.banks

    @property
    def rows(self) -> int:
        """Physical rows of one bank."""
        return self.memory.words_per_bank // self.column_mux

    @property
    def columns(self) -> int:
        """Physical columns of one bank."""
        return self.memory.word_bits * self.column_mux

    @cached_property
    def physical_memory(self) -> Memory:
        """The arrays as a memory: word ``bank * rows + row`` is a row, and its bits are the columns."""
        return Memory(words=self.banks * self.rows, word_bits=self.columns, banks=self.banks)

    def physical(self, cells: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the physical locations of cells.

        Args:
            cells: Indices of cells, an array of any shape.

        Returns:
            Bank, row and column of each, in the shape of ``cells``.

        Raises:
            TypeError: If ``cells`` does not hold integers.
            ValueError: If a cell is outside the memory.
        """
        word, bit = np.divmod(_within(cells, "cell", "memory", self.memory.cells), self.memory.word_bits)
        if self.word_order is not None:
            word = self.word_order[word]
        if self.bit_order is not None:
            bit = self.bit_order[bit]
        if self.interleaved_banks:
            index, bank = np.divmod(word, self.banks)
        else:
            bank, index = np.divmod(word, self.memory.words_per_bank)
        row, place = np.divmod(index, self.column_mux)
        return bank, row, bit * self.column_mux + place

    def logical(self, bank: ArrayLike, row: ArrayLike, column: ArrayLike) -> NDArray[np.int64]:
        """Return the cells at physical locations; the inverse of ``physical``.

        Args:
            bank: Banks, an array of any shape. The shapes of the three broadcast, so that one bank, one row and all columns are
                the cells of a row.
            row: Rows of these banks.
            column: Columns of these banks.

        Returns:
            The index of each cell.

        Raises:
            TypeError: If an argument does not hold integers.
            ValueError: If a bank, row or column is out of range, or the shapes do not broadcast.
        """
        bank = _within(bank, "bank", "memory", self.banks)
        row = _within(row, "row", "bank", self.rows)
        column = _within(column, "column", "bank", self.columns)
        try:
            np.broadcast_shapes(bank.shape, row.shape, column.shape)
        except ValueError:
            raise ValueError(
                f"bank, row and column must have shapes that broadcast, got {bank.shape}, {row.shape} and {column.shape}"
            ) from None
        bit, place = np.divmod(column, self.column_mux)
        index = row * self.column_mux + place
        word = index * self.banks + bank if self.interleaved_banks else bank * self.memory.words_per_bank + index
        if self._word_at is not None:
            word = self._word_at[word]
        if self._bit_at is not None:
            bit = self._bit_at[bit]
        return word * self.memory.word_bits + bit

    def to_physical(self, fault_map: FaultMap) -> FaultMap:
        """Return a fault map with physical locations.

        Args:
            fault_map: A map of ``memory``. Its number of banks does not matter: the geometry says where the banks are.

        Returns:
            A map of ``physical_memory``, with the chip's name and the metadata of ``fault_map``.

        Raises:
            ValueError: If the map is of another memory.

        Examples:
            >>> geometry = ArrayGeometry(Memory(words=16, word_bits=2, banks=2), column_mux=4)
            >>> geometry.to_physical(FaultMap(geometry.memory, cells=[27], stuck_at=[1], chip="A7"))
            FaultMap(chip 'A7', 4 words × 8 bits in 2 banks, 1 fault: 0 stuck at 0, 1 stuck at 1, rate 3.12e-02)
        """
        _check_memory(fault_map, self.memory, "the geometry")
        bank, row, column = self.physical(fault_map.cells)
        cells = (bank * self.rows + row) * self.columns + column
        return FaultMap(self.physical_memory, cells, fault_map.stuck_at, fault_map.chip, fault_map.metadata)

    def to_logical(self, fault_map: FaultMap) -> FaultMap:
        """Return a fault map with logical addresses; the inverse of ``to_physical``.

        Args:
            fault_map: A map of ``physical_memory``, such as a tester's that counts rows and columns.

        Returns:
            A map of ``memory``, with the chip's name and the metadata of ``fault_map``.

        Raises:
            ValueError: If the map is of another memory.
        """
        _check_memory(fault_map, self.physical_memory, "the geometry's arrays")
        line, column = np.divmod(fault_map.cells, self.columns)
        bank, row = np.divmod(line, self.rows)
        cells = self.logical(bank, row, column)
        return FaultMap(self.memory, cells, fault_map.stuck_at, fault_map.chip, fault_map.metadata)

    def description(self) -> dict[str, Any]:
        """Return all settings in a form that JSON can store."""
        return {
            "words": self.memory.words,
            "word_bits": self.memory.word_bits,
            "banks": self.memory.banks,
            "column_mux": self.column_mux,
            "interleaved_banks": self.interleaved_banks,
            "word_order": None if self.word_order is None else self.word_order.tolist(),
            "bit_order": None if self.bit_order is None else self.bit_order.tolist(),
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the description to a JSON file, atomically."""
        return save_json(path, self.description())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ArrayGeometry:
        """Read a JSON file with an object of ``words``, ``word_bits`` and any other settings that are not the default.

        Raises:
            FileNotFoundError, ValueError: If there is no such file, or it holds anything else.

        Examples:
            >>> import tempfile
            >>> file = Path(tempfile.mkdtemp()) / "array.json"
            >>> file.write_text('{"words": 16, "word_bits": 2, "banks": 2, "column_mux": 4, "bit_order": [1, 0]}') > 0
            True
            >>> print(ArrayGeometry.load(file))
            16 words × 2 bits in 2 banks, each of 2 rows × 8 columns, column mux 4, bits in an order of their own
        """
        return load_json(path, cls.of_description, what="the geometry of an array", content=dict[str, Any])

    @classmethod
    def of_description(cls, content: Mapping[str, Any]) -> ArrayGeometry:
        """The inverse of ``description``; what is missing is the default, anything else a TypeError or ValueError."""
        sizes = ("words", "word_bits", "banks")
        if missing := [name for name in sizes[:2] if name not in content]:
            raise ValueError(f"it needs {missing[0]!r}")
        memory = Memory(**{name: content[name] for name in sizes if name in content})
        return cls(memory, **{name: value for name, value in content.items() if name not in sizes})

    @cached_property
    def _word_at(self) -> NDArray[np.int64] | None:
        return inverse(self.word_order)

    @cached_property
    def _bit_at(self) -> NDArray[np.int64] | None:
        return inverse(self.bit_order)

    @cached_property
    def _content(self) -> tuple[Any, ...]:
        # Memories that differ in their banks alone are equal; their geometries are not.
        orders = (None if order is None else order.tobytes() for order in (self.word_order, self.bit_order))
        return (self.memory, self.banks, self.column_mux, self.interleaved_banks, *orders)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ArrayGeometry):
            return NotImplemented
        return self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def __repr__(self) -> str:
        return f"ArrayGeometry({self})"

    def __str__(self) -> str:
        each = "each of" if self.banks > 1 else "as"
        said = [f"{self.memory}, {each} {self.rows} rows × {self.columns} columns"]
        if self.column_mux > 1:
            said.append(f"column mux {self.column_mux}")
        if self.interleaved_banks:
            said.append("interleaved banks")
        if self.word_order is not None:
            said.append("words in an order of their own")
        if self.bit_order is not None:
            said.append("bits in an order of their own")
        return ", ".join(said)


def _check_memory(fault_map: FaultMap, memory: Memory, whose: str) -> None:
    if fault_map.memory != memory:
        raise ValueError(f"chip {fault_map.chip!r} has {fault_map.memory}, {whose} {memory}")


def _within(values: ArrayLike, name: str, whole: str, count: int) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size == 0:
        return np.empty(array.shape, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got {array.dtype}")
    for bad in (array.min(), array.max()):
        if not 0 <= bad < count:
            raise ValueError(f"{name} {bad} is outside the {whole}'s 0 to {count - 1}")
    return array.astype(np.int64)
