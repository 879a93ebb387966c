"""The setting of one chip's hardware: keys, amounts and flags, and the words that it writes and reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.order.hardware.hardware import Hardware
from tremap_brevitas.printable import counted

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class HardwareSetting:
    """How the hardware of one chip is set.

    Rows and groups are those of the chip's own words, counted where the cells are, behind the scrambling of addresses.

    Args:
        hardware: Hardware of the accelerator.
        memory: The memory as the placement has it, without cells for flags and amounts.
        keys: Key of every bank, (banks,); None for all zeros.
        rows: Rows with an amount other than 0, ascending.
        amounts: Their amounts, (rows,).
        inverted: Groups that are stored inverted, ascending.

    Raises:
        TypeError: If an argument holds no integers.
        ValueError: If the memory cannot have the hardware, there are not as many keys as banks, a number is out of its range,
            or rows or groups are not ascending.

    Examples:
        Word 0 lies where word 1 would, turned by one bit, and inverted; bit 4 is its flag, bits 5 and 6 are its amount.

        >>> memory = Memory(words=2, word_bits=4)
        >>> hardware = Hardware(scramble=2, rotate=1, invert=1)
        >>> setting = HardwareSetting(hardware, memory, keys=[1], rows=[1], amounts=[1], inverted=[1])
        >>> [f"{word:07b}" for word in setting.written([0b1001, 0b0101])]
        ['0000101', '0111100']
        >>> setting.read([0b0000101, 0b0111100])
        [9, 5]
    """

    hardware: Hardware
    memory: Memory
    keys: Numbers = None  # type: ignore[assignment]
    rows: Numbers = ()  # type: ignore[assignment]
    amounts: Numbers = ()  # type: ignore[assignment]
    inverted: Numbers = ()  # type: ignore[assignment]

    def __post_init__(self) -> None:
        hardware, words = self.hardware, self.memory.words
        hardware.check(self.memory)
        banks, rows, groups = (words // size if size else 0 for size in (hardware.scramble, hardware.rotate, hardware.invert))
        keys = np.zeros(banks, dtype=np.int64) if self.keys is None else self.keys
        object.__setattr__(self, "keys", _numbers(keys, "keys", below=max(1, hardware.scramble)))
        object.__setattr__(self, "rows", _numbers(self.rows, "rows", below=rows, ascending=True))
        object.__setattr__(self, "amounts", _numbers(self.amounts, "amounts", below=hardware.amount_count(self.memory)))
        object.__setattr__(self, "inverted", _numbers(self.inverted, "inverted", below=groups, ascending=True))
        if len(self.keys) != banks:
            raise ValueError(
                f"{counted(len(self.keys), 'key')}, but the memory has {counted(banks, 'bank')} of {hardware.scramble} words"
            )
        if len(self.rows) != len(self.amounts) or np.any(self.amounts == 0):
            raise ValueError(
                f"{len(self.rows)} rows have amounts other than 0, but {len(self.amounts)} amounts are given, or a 0"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, so that the arrays are read-only again.
        return type(self), (self.hardware, self.memory, self.keys, self.rows, self.amounts, self.inverted)

    @property
    def used(self) -> bool:
        """Whether any word is moved, rotated or inverted."""
        return bool(self.keys.any() or len(self.rows) or len(self.inverted))

    def allowed_by(self, chip: FaultMap) -> HardwareSetting:
        """The same setting, but for flags and amounts that a chip's stuck cells force: the lowest amount that is left.

        Raises:
            ValueError: If the map is not of the chip's memory.
        """
        check_memory(chip, self.chip_memory, whose="the placement's, with its flags and amounts,")
        groups, flags, rows, allowed = stuck_side_cells(self.hardware, self.memory, chip)
        inverted = np.union1d(np.setdiff1d(self.inverted, groups[flags == 0]), groups[flags == 1])
        amounts = dict(zip(self.rows.tolist(), self.amounts.tolist(), strict=True))
        for row, can in zip(rows.tolist(), allowed, strict=True):
            if not can[amounts.get(row, 0)]:
                amounts[row] = int(can.argmax())
        kept = {row: amounts[row] for row in sorted(amounts) if amounts[row]}
        return HardwareSetting(self.hardware, self.memory, self.keys, list(kept), list(kept.values()), inverted)  # type: ignore[arg-type]

    def numbers(self) -> dict[str, list[int]]:
        """Return keys, rows, amounts and inverted groups in a form that JSON can store."""
        return {name: getattr(self, name).tolist() for name in ("keys", "rows", "amounts", "inverted")}

    @property
    def chip_memory(self) -> Memory:
        """Memory of the chip, with cells for flags and amounts."""
        return self.hardware.chip_memory(self.memory)

    def scrambled(self, words: ArrayLike) -> Numbers:
        """Return where words lie, or which words lie there: a key that is applied twice changes nothing."""
        asked = np.asarray(words, dtype=np.int64)
        return asked ^ self.keys[asked // self.hardware.scramble] if self.hardware.scramble else asked

    def amount(self, words: ArrayLike) -> Numbers:
        """Return by how many bits some of the chip's own words are rotated."""
        asked = np.asarray(words, dtype=np.int64)
        if not len(self.rows):
            return np.zeros_like(asked)
        row = asked // self.hardware.rotate
        at = np.minimum(np.searchsorted(self.rows, row), len(self.rows) - 1)
        return np.where(self.rows[at] == row, self.amounts[at], 0)

    def flag(self, words: ArrayLike) -> Numbers:
        """Return whether some of the chip's own words are stored inverted, 0 or 1."""
        asked = np.asarray(words, dtype=np.int64)
        return np.isin(asked // max(1, self.hardware.invert), self.inverted).astype(np.int64)

    def equivalent_map(self, chip: FaultMap) -> FaultMap:
        """Return the stuck cells as the placement's words see them, at the values that those words then read.

        For a network, a chip with this setting is the same as this map without hardware: certificates, compensation and
        ``PlacedModel`` take it.

        Args:
            chip: A map of the chip's memory.

        Returns:
            A map of the placement's memory, with the chip's name.

        Raises:
            ValueError: If the map is of another memory, or a cell of a flag or an amount is stuck at another value than the
                setting has: then no such map exists.
        """
        data = self.hardware.data_faults(chip, self.memory)
        for what, number, says in self._contradictions(chip):
            raise ValueError(f"chip {chip.chip!r}: the {what} {number} is {says}, but a cell of it is stuck at another value")
        word, bit = np.divmod(data.cells, self.memory.word_bits)
        cells = self.scrambled(word) * self.memory.word_bits + (bit - self.amount(word)) % self.memory.word_bits
        return FaultMap(self.memory, cells, data.stuck_at ^ self.flag(word).astype(np.uint8), chip.chip, chip.metadata)

    def _contradictions(self, chip: FaultMap) -> list[tuple[str, int, int]]:
        groups, flags, rows, allowed = stuck_side_cells(self.hardware, self.memory, chip)
        wrong = flags != self.flag(groups * max(1, self.hardware.invert))
        said = [("flag of group", int(group), int(1 - flag)) for group, flag in zip(groups[wrong], flags[wrong], strict=True)]
        amounts = self.amount(rows * max(1, self.hardware.rotate))
        for row, amount, good in zip(rows, amounts, allowed, strict=True):
            if not good[amount]:
                said.append(("amount of row", int(row), int(amount)))
        return said

    def written(self, words: Sequence[int]) -> list[int]:
        """Return the words to write into the chip's cells for these words of the placement.

        Args:
            words: Words of the placement's memory, tile after tile.

        Returns:
            Words of ``chip_memory``, as many.

        Raises:
            ValueError: If they are not as many as the memory has, or a multiple.
        """
        count, width, hardware = self.memory.words, self.memory.word_bits, self.hardware
        self._check_count(words)
        side = dict.fromkeys((self.inverted * max(1, hardware.invert)).tolist(), 1 << width)
        for row, amount in zip(self.rows.tolist(), self.amounts.tolist(), strict=True):
            for k, cell in enumerate(hardware.amount_cells(self.memory, np.array([row]))[0].tolist()):
                word, bit = divmod(cell, self.chip_memory.word_bits)
                side[word] = side.get(word, 0) | (amount >> k & 1) << bit
        moved = self._moved()
        result = []
        for tile in range(len(words) // count):
            held = [words[tile * count + word] for word in self.scrambled(np.arange(count)).tolist()]
            for word, amount, flag in moved:
                held[word] = _rotated(held[word], amount, width) ^ (((1 << width) - 1) * flag)
            for word, bits in side.items():
                held[word] |= bits
            result += held
        return result

    def read(self, words: Sequence[int]) -> list[int]:
        """Return the words of the placement from the words that the chip returns, flags and amounts included.

        Raises:
            ValueError: If they are not as many as the memory has, or a multiple.
        """
        count, width, hardware = self.memory.words, self.memory.word_bits, self.hardware
        self._check_count(words)
        whole, spread = (1 << width) - 1, hardware.spread(self.memory)
        amount_at, amount_bits = width + bool(hardware.invert), self.hardware.amount_bits(self.memory)
        result: list[int] = []
        for tile in range(len(words) // count):
            given = words[tile * count : (tile + 1) * count]
            data = [word & whole for word in given]
            for first in range(0, count, hardware.rotate or count):
                amount = 0
                for k in range(amount_bits):
                    word, bit = divmod(k, spread)
                    amount |= (given[first + word] >> (amount_at + bit) & 1) << k
                if amount:
                    for word in range(first, first + hardware.rotate):
                        data[word] = _rotated(data[word], -amount, width)
            for first in range(0, count, hardware.invert or count):
                if hardware.invert and given[first] >> width & 1:
                    for word in range(first, first + hardware.invert):
                        data[word] ^= whole
            result += [data[word] for word in self.scrambled(np.arange(count)).tolist()]
        return result

    def _moved(self) -> list[tuple[int, int, int]]:
        """Return the words that are rotated or inverted, with amount and flag."""
        pieces = [
            (numbers[:, None] * size + np.arange(size)).reshape(-1)
            for numbers, size in ((self.rows, self.hardware.rotate), (self.inverted, self.hardware.invert))
        ]
        words = np.unique(np.concatenate(pieces))
        return list(zip(words.tolist(), self.amount(words).tolist(), self.flag(words).tolist(), strict=True))

    def _check_count(self, words: Sequence[int]) -> None:
        if not words or len(words) % self.memory.words:
            raise ValueError(f"{counted(len(words), 'word')}, but the memory has {self.memory.words}")

    def __str__(self) -> str:
        parts = []
        if self.hardware.scramble:
            parts.append(f"{np.count_nonzero(self.keys)} of {len(self.keys)} banks scrambled")
        if self.hardware.rotate:
            parts.append(f"{len(self.rows)} of {self.memory.words // self.hardware.rotate} rows rotated")
        if self.hardware.invert:
            parts.append(f"{len(self.inverted)} of {self.memory.words // self.hardware.invert} groups inverted")
        return ", ".join(parts) or "no hardware"

    def __repr__(self) -> str:
        return f"HardwareSetting({self})"


def stuck_side_cells(hardware: Hardware, memory: Memory, chip: FaultMap) -> tuple[Numbers, Numbers, Numbers, NDArray[np.bool_]]:
    """Return the flags and amounts that stuck cells leave possible.

    Returns:
        Groups whose flag is stuck, ascending; the value of each; rows whose amount is in part stuck, ascending; and which
        amounts each of them can have, (rows, amounts).
    """
    wide = hardware.chip_memory(memory)
    word, bit = np.divmod(chip.cells, wide.word_bits)
    side = bit >= memory.word_bits
    word, bit, value = word[side], bit[side] - memory.word_bits, chip.stuck_at[side].astype(np.int64)
    groups, flags = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    if hardware.invert:
        flag = (bit == 0) & (word % hardware.invert == 0)
        groups, flags = word[flag] // hardware.invert, value[flag]
    rows, allowed = np.empty(0, dtype=np.int64), np.empty((0, hardware.amount_count(memory)), dtype=np.bool_)
    if hardware.rotate:
        place = bit - bool(hardware.invert)
        row, within = np.divmod(word, hardware.rotate)
        k = within * hardware.spread(memory) + place
        mine = (place >= 0) & (k < hardware.amount_bits(memory))
        rows, at = np.unique(row[mine], return_inverse=True)
        allowed = np.ones((len(rows), hardware.amount_count(memory)), dtype=np.bool_)
        amounts = np.arange(allowed.shape[1])
        for number, which, stuck in zip(at, k[mine], value[mine], strict=True):
            allowed[number] &= (amounts >> which & 1) == stuck
    return groups, flags, rows, allowed


def _rotated(word: int, amount: int, width: int) -> int:
    """Rotate the low bits of a word upwards by an amount."""
    amount %= width
    return (word << amount | word >> (width - amount)) & ((1 << width) - 1)


def _numbers(values: ArrayLike, name: str, *, below: int, ascending: bool = False) -> Numbers:
    array = np.array(values)
    if array.size == 0:
        array = np.empty(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers in one dimension, got {array.dtype} of shape {array.shape}")
    kept = array.astype(np.int64)
    if kept.size and not 0 <= kept.min() <= kept.max() < below:
        raise ValueError(f"{name} must be from 0 to {below - 1}, got {kept.min()} to {kept.max()}")
    if ascending and np.any(np.diff(kept) <= 0):
        raise ValueError(f"{name} must be ascending")
    kept.flags.writeable = False
    return kept
