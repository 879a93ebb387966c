"""Means of an accelerator to move words and bits, and their cost in cells."""

from __future__ import annotations

import operator
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap, Memory
from tremap_brevitas.faults.fault_map import check_memory


@dataclass(frozen=True)
class Hardware:
    """Circuits between the words that a network is placed in and the cells of a chip. Each is there only if it is asked for.

    - *Address scrambling*: word ``i`` of a bank lies in the bank's cells of word ``i ^ key``. Each bank of each chip has a key
      of its own, of as many bits as a bank's address has lines. Costs one XOR gate a line, and a register of that many bits a
      bank, which stands outside the memory (with fuses, or loaded with the network) and is taken to be healthy. A table with a
      place for every word would reach further, but costs as many bits for each *word*.
    - *Rotation*: a barrel shifter in the path of the data turns every word by itself: bit ``b`` of a word lies in cell
      ``(b + amount) % word_bits``. The bits of one word are turned, and not those of a whole physical row, since columns are
      multiplexed: only the bits of one word ever reach the sense amplifiers together. The amount is that of the word's row,
      of ``rotate`` words one after the other. Costs log2(amounts) cells a row.
    - *Inversion*: the words of a group of ``invert`` are stored with all bits inverted if their flag is set. Costs one cell a
      group.

    Amounts and flags are cells of the memory and may be stuck, too. The words of a chip, and of its fault map, are therefore
    wider than the placement's: the flag of a group is bit ``word_bits`` of its first word; above it, the amount of a row is
    spread over the row's words, lowest bits first, as few bits a word as it takes. Cells there that hold neither are ignored.

    A reused memory keeps keys, amounts and flags from tile to tile.

    Args:
        scramble: Words of a bank, a power of two that divides the memory's words; 0: addresses are not scrambled.
        rotate: Words of a row, which share an amount; 1: each word has its own; 0: words are not rotated.
        amounts: How many amounts there are, from 0 bits up: a power of two. None: the largest that is not more than
            ``word_bits``.
        invert: Words of a group, which share a flag; 1: each word has its own; 0: words are not inverted.

    Raises:
        TypeError: If an argument is not an integer.
        ValueError: If one is negative, ``scramble`` or ``amounts`` is not a power of two above 1, there are amounts without
            rotation, or rows, groups and banks do not lie within each other: of any two, one must divide the other, and a bank
            holds whole rows and groups.

    Examples:
        >>> memory = Memory(words=4096, word_bits=32)
        >>> hardware = Hardware(scramble=1024, rotate=4, invert=1)
        >>> hardware.chip_memory(memory)
        Memory(words=4096, word_bits=35, banks=1)
        >>> hardware.cells(memory), hardware.key_bits(memory), f"{hardware.overhead(memory):.1%}"
        (9216, 40, '7.1%')
        >>> print(hardware)
        scrambled addresses in banks of 1024 words, rotation of rows of 4 words, inversion of each word
    """

    _: KW_ONLY
    scramble: int = 0
    rotate: int = 0
    amounts: int | None = None
    invert: int = 0

    def __post_init__(self) -> None:
        for name in ("scramble", "rotate", "amounts", "invert"):
            value = getattr(self, name)
            if value is None and name == "amounts":
                continue
            try:
                value = operator.index(value)
            except TypeError:
                raise TypeError(f"{name} must be an integer, got {value!r}") from None
            if value < 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
            object.__setattr__(self, name, value)
        for name in ("scramble", "amounts"):
            value = getattr(self, name)
            if value is not None and (value & (value - 1) or value == 1 or (name == "amounts" and not value)):
                raise ValueError(f"{name} must be a power of two above 1, got {value}")
        if self.amounts is not None and not self.rotate:
            raise ValueError(f"amounts={self.amounts} are of rotation, but rotate is 0")
        for inner in ("rotate", "invert"):
            size = getattr(self, inner)
            if size and self.scramble % size:
                raise ValueError(f"{inner}={size} does not divide the bank of scramble={self.scramble} words")
        low, high = sorted((self.rotate, self.invert))
        if low and high % low:
            raise ValueError(f"of rotate={self.rotate} and invert={self.invert} neither divides the other")

    def __bool__(self) -> bool:
        return bool(self.scramble or self.rotate or self.invert)

    def check(self, memory: Memory) -> None:
        """Check that a memory can have this hardware.

        Raises:
            ValueError: If its words cannot be divided so, or are too narrow for the amounts.
        """
        for name in ("scramble", "rotate", "invert"):
            size = getattr(self, name)
            if size and memory.words % size:
                raise ValueError(f"{name}={size} does not divide the {memory.words} words of the memory")
        if self.rotate and not 1 < self.amount_count(memory) <= memory.word_bits:
            raise ValueError(f"a word of {memory.word_bits} bits cannot be rotated by {self.amount_count(memory)} amounts")

    def amount_count(self, memory: Memory) -> int:
        """Return the number of amounts by which a word can be rotated, 0 included; 1 if it cannot be."""
        if not self.rotate:
            return 1
        return (1 << (memory.word_bits.bit_length() - 1)) if self.amounts is None else self.amounts

    def amount_bits(self, memory: Memory) -> int:
        """Return the number of cells that the amount of a row takes."""
        return self.amount_count(memory).bit_length() - 1

    def spread(self, memory: Memory) -> int:
        """Return the number of bits of each word that are kept for the amount of its row."""
        return -(-self.amount_bits(memory) // self.rotate) if self.rotate else 0

    def chip_memory(self, memory: Memory) -> Memory:
        """Return the memory of the chip and of its fault map, with cells for flags and amounts above each word."""
        extra = bool(self.invert) + self.spread(memory)
        return Memory(words=memory.words, word_bits=memory.word_bits + extra, banks=memory.banks)

    def cells(self, memory: Memory) -> int:
        """Return the number of cells that flags and amounts take."""
        rows = memory.words // self.rotate if self.rotate else 0
        return rows * self.amount_bits(memory) + (memory.words // self.invert if self.invert else 0)

    def key_bits(self, memory: Memory) -> int:
        """Return the number of bits that the keys of all banks take, outside the memory."""
        return memory.words // self.scramble * (self.scramble.bit_length() - 1) if self.scramble else 0

    def overhead(self, memory: Memory) -> float:
        """Return cells and key bits over the cells that the memory has without them."""
        return (self.cells(memory) + self.key_bits(memory)) / memory.cells

    def flag_cells(self, memory: Memory, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the cells of the chip's memory that hold the flags of some groups."""
        return groups * self.invert * self.chip_memory(memory).word_bits + memory.word_bits

    def amount_cells(self, memory: Memory, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the cells of the chip's memory that hold the amounts of some rows, shape (rows, bits), lowest bit first."""
        word, bit = np.divmod(np.arange(self.amount_bits(memory)), max(1, self.spread(memory)))
        word = rows[:, None] * self.rotate + word
        return word * self.chip_memory(memory).word_bits + memory.word_bits + bool(self.invert) + bit

    def data_faults(self, chip: FaultMap, memory: Memory) -> FaultMap:
        """Return a chip's stuck cells without flags and amounts, as a map of the placement's memory with no hardware in use.

        Raises:
            ValueError: If the map is not of the chip's memory.
        """
        wide = self.chip_memory(memory)
        check_memory(chip, wide, whose="the placement's, with its flags and amounts,")
        word, bit = np.divmod(chip.cells, wide.word_bits)
        data = bit < memory.word_bits
        cells = word[data] * memory.word_bits + bit[data]
        return FaultMap(memory, cells, chip.stuck_at[data], chip.chip, chip.metadata)

    def __str__(self) -> str:
        def of(words: int, name: str) -> str:
            return "each word" if words == 1 else f"{name} of {words} words"

        parts = [f"scrambled addresses in banks of {self.scramble} words"] if self.scramble else []
        if self.rotate:
            amounts = "" if self.amounts is None else f" by {self.amounts} amounts"
            parts.append(f"rotation of {of(self.rotate, 'rows')}{amounts}")
        if self.invert:
            parts.append(f"inversion of {of(self.invert, 'groups')}")
        return ", ".join(parts) or "no hardware"
