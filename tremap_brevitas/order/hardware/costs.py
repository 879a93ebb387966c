"""Compute the cost of each amount and each flag in words with stuck cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.order.cost import squared_errors, wrong_codes
from tremap_brevitas.order.groups import Index
from tremap_brevitas.order.hardware.contents import Contents
from tremap_brevitas.placement import PlacedLayer

Table = NDArray[np.float64]
Mask = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class StuckWords:
    """Words of a chip that have stuck cells among their data.

    Attributes:
        word: Number of each word where it lies, ascending, (words,).
        line: For each stuck cell, the index of its word, ascending, (cells,).
        bit: Its bit, where it lies.
        value: The value at which it is stuck.
    """

    word: Index
    line: Index
    bit: Index
    value: Index

    @classmethod
    def of(cls, data: FaultMap) -> StuckWords:
        """Find the words with stuck cells in a map of the placement's memory."""
        word, bit = np.divmod(data.cells, data.memory.word_bits)
        words, line = np.unique(word, return_inverse=True)
        return cls(words, line, bit, data.stuck_at.astype(np.int64))

    def at(self, some: NDArray[np.bool_]) -> StuckWords:
        """Select some of the words."""
        cells = some[self.line]
        line = (np.cumsum(some) - 1)[self.line[cells]]
        return StuckWords(self.word[some], line, self.bit[cells], self.value[cells])

    def masks(self, layer: PlacedLayer, amount: int, memory: Memory) -> tuple[Index, Index, Mask, Mask]:
        """Find the codes that stuck cells hit when the words are rotated by an amount.

        Returns:
            Index of the word, ascending, number of the code in it, and masks of its bits that are stuck at 0 and at 1.
        """
        codes = layer.codes_per_word
        code, bit = np.divmod((self.bit - amount) % memory.word_bits, layer.bit_width)
        used = code < codes
        at, bits, value = (self.line * codes + code)[used], np.left_shift(1, bit[used]), self.value[used]
        size = len(self.word) * codes
        # Every bit of a code appears once, so that a sum of bits is their union; floats hold 16 bits exactly.
        sa1 = np.bincount(at, weights=bits * value, minlength=size).astype(np.int32)
        sa0 = np.bincount(at, weights=bits * (1 - value), minlength=size).astype(np.int32)
        hit = np.flatnonzero(sa0 | sa1)
        line, which = np.divmod(hit, codes)
        return line, which, sa0[hit], sa1[hit]


@dataclass(frozen=True, eq=False)
class Costs:
    """Wrong codes and harm, shape (words, candidates, amounts, flags)."""

    wrong: Table
    harm: Table

    def __add__(self, other: Costs) -> Costs:
        return Costs(self.wrong + other.wrong, self.harm + other.harm)


def costs(stuck: StuckWords, held: Contents, rows: Index, *, memory: Memory, amounts: int, flags: int) -> Costs:
    """Compute the cost of storing some words where cells are stuck, with each amount and flag.

    Args:
        stuck: The words that have stuck cells.
        held: Contents of words.
        rows: For each stuck word, the candidates for what it holds, as rows of ``held``, (words, candidates).
        memory: The placement's memory.
        amounts: Number of amounts.
        flags: 1: words are not inverted. 2: not inverted, and inverted.
    """
    shape = (*rows.shape, amounts, flags)
    wrong, harm = np.zeros(shape), np.zeros(shape)
    for number, layer in enumerate(held.formats):
        fits = held.format[rows] == number
        if not fits.any():
            continue
        for amount in range(amounts):
            line, code, sa0, sa1 = stuck.masks(layer, amount, memory)
            if not len(line):
                continue
            where = rows[line]
            stored = held.stored[where, code[:, None]]
            mine = fits[line] & held.used[where, code[:, None]]
            starts = np.flatnonzero(np.append(True, line[1:] != line[:-1]))
            for flag in range(flags):
                zeros, ones = ((sa0, sa1), (sa1, sa0))[flag]
                bad = mine & wrong_codes(stored, zeros[:, None], ones[:, None], layer)
                if not bad.any():
                    continue
                hit, candidate = np.nonzero(bad)
                error = np.zeros(bad.shape)
                error[hit, candidate] = (
                    squared_errors(stored[hit, candidate], zeros[hit], ones[hit], layer)
                    * held.scale[where[hit, candidate], code[hit]]
                )
                wrong[line[starts], :, amount, flag] += np.add.reduceat(bad.astype(np.float64), starts, axis=0)
                harm[line[starts], :, amount, flag] += np.add.reduceat(error, starts, axis=0)
    return Costs(wrong, harm)
