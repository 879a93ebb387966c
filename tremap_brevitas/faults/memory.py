"""The weight memory: a number of words, each of the same number of cells."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field

from tremap_brevitas.printable import counted


@dataclass(frozen=True)
class Memory:
    """A weight SRAM of ``words`` × ``word_bits`` cells.

    The cell that holds bit ``b`` of word ``w`` has the index ``w * word_bits + b``; bit 0 is the least
    significant bit of the word.

    Args:
        words: Number of words, at least 1.
        word_bits: Cells in a word, at least 1.
        banks: Number of equal banks that the words are divided into, the first words in the first. Faults cluster in banks, so
            that statistics, generators and pictures use them. The index of a cell does not depend on banks, and two memories
            that differ only in banks are equal.

    Raises:
        TypeError: If an argument is not an integer.
        ValueError: If an argument is below 1, or the words cannot be divided into so many banks.

    Examples:
        >>> memory = Memory(words=1024, word_bits=32)
        >>> memory.cells
        32768
        >>> memory.cell(word=2, bit=5)
        69
    """

    words: int
    word_bits: int
    banks: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        for name in ("words", "word_bits", "banks"):
            try:
                value = operator.index(getattr(self, name))
            except TypeError:
                raise TypeError(f"{name} must be an integer, got {getattr(self, name)!r}") from None
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
            object.__setattr__(self, name, value)
        if self.words % self.banks:
            raise ValueError(f"{counted(self.words, 'word')} cannot be divided into {self.banks} equal banks")

    @property
    def words_per_bank(self) -> int:
        """Number of words in a bank."""
        return self.words // self.banks

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.words * self.word_bits

    def cell(self, *, word: int, bit: int) -> int:
        """Return the index of one cell.

        Raises:
            ValueError: If there is no such word or bit.
        """
        if not 0 <= word < self.words:
            raise ValueError(f"word {word} is outside the memory's 0 to {self.words - 1}")
        if not 0 <= bit < self.word_bits:
            raise ValueError(f"bit {bit} is outside the word's 0 to {self.word_bits - 1}")
        return word * self.word_bits + bit

    def __str__(self) -> str:
        banks = f" in {self.banks} banks" if self.banks > 1 else ""
        return f"{counted(self.words, 'word')} × {counted(self.word_bits, 'bit')}{banks}"
