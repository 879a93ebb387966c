"""What a line about a failing read says: which cells are stuck, and at what."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.formats.text import Cells, Rows
from tremap_brevitas.faults.memory import Memory

_NOTHING_FAILED = "expected and read are the same, so nothing failed"


def words_of(
    table: Rows, names: list[str], memory: Memory, base: int, first_address: int, address_step: int
) -> NDArray[np.int64]:
    """Word that each line is about.

    Raises:
        FormatError: If an address is no number, lies outside the memory, or between two words.
    """
    column = names.index("address")
    address = table.integers(column, base=base, what="address")
    word, rest = np.divmod(address - first_address, address_step)
    outside = (word < 0) | (word >= memory.words)
    if outside.any():
        row = int(np.argmax(outside))
        raise table.fail(
            row, f"address {table.text(row, column)} is word {word[row]}, outside the memory of {memory.words} words"
        )
    if rest.any():
        row = int(np.argmax(rest != 0))
        raise table.fail(row, f"address {table.text(row, column)} is no multiple of {address_step} from {first_address:#x} on")
    return word


def take(table: Rows, names: list[str], words: NDArray[np.int64], memory: Memory, base: int, cells: Cells) -> None:
    """Put the stuck cells that some lines tell of to the others.

    Raises:
        FormatError: If a line is not of the format.
    """
    if "bit" in names:
        _take_bits(table, names, words, memory, cells)
    elif base == 10 and table.text(0, names.index("expected"))[:2].lower() != "0x":
        _take_decimal(table, names, words, memory, cells)
    else:
        _take_words(table, names, words, memory, cells)


def _take_bits(table: Rows, names: list[str], words: NDArray[np.int64], memory: Memory, cells: Cells) -> None:
    bit = table.integers(names.index("bit"), base=10, what="bit")
    if np.any(bit >= memory.word_bits):
        row = int(np.argmax(bit >= memory.word_bits))
        raise table.fail(row, f"bit {bit[row]} is outside the word of {memory.word_bits} bits")
    kinds = [name for name in ("stuck_at", "read", "expected") if name in names]
    given = {name: table.integers(names.index(name), base=10, what=name) for name in kinds}
    for name, value in given.items():
        if np.any(value > 1):
            row = int(np.argmax(value > 1))
            raise table.fail(row, f"{name} {value[row]} is neither 0 nor 1")
    if "read" in given and "expected" in given and np.any(given["read"] == given["expected"]):
        raise table.fail(int(np.argmax(given["read"] == given["expected"])), _NOTHING_FAILED)
    stuck = given["stuck_at"] if "stuck_at" in given else given["read"] if "read" in given else 1 - given["expected"]
    for polarity in (0, 1):
        cells.add((words * memory.word_bits + bit)[stuck == polarity], polarity)


def _take_words(table: Rows, names: list[str], words: NDArray[np.int64], memory: Memory, cells: Cells) -> None:
    """Hexadecimal words of any width, digit by digit."""
    expected_digits, read_digits = (list(table.digits(names.index(n), base=16, what=n)) for n in ("expected", "read"))
    zero = np.zeros(len(table), dtype=np.uint8)
    different = np.zeros(len(table), dtype=bool)
    for place in range(max(len(expected_digits), len(read_digits))):
        expected = expected_digits[place] if place < len(expected_digits) else zero
        read = read_digits[place] if place < len(read_digits) else zero
        _check_width(table, expected | read, place, memory)
        wrong = expected ^ read
        hit = np.flatnonzero(wrong)
        different[hit] = True
        if not len(hit):
            continue
        turned, found, low = wrong[hit], read[hit], words[hit] * memory.word_bits + 4 * place
        for bit in range(4):
            mine = (turned >> bit) & 1 == 1
            if mine.any():
                value, at = (found[mine] >> bit) & 1, low[mine] + bit
                cells.add(at[value == 0], 0)
                cells.add(at[value == 1], 1)
    if not different.all():
        raise table.fail(int(np.argmin(different)), _NOTHING_FAILED)


def _take_decimal(table: Rows, names: list[str], words: NDArray[np.int64], memory: Memory, cells: Cells) -> None:
    """Decimal words have no digits that are bits; Python's integers take any width."""
    for name in ("expected", "read"):
        for _ in table.digits(names.index(name), base=10, what=name):
            pass  # checks every one of them
    for row in range(len(table)):
        expected, read = (int(table.text(row, names.index(name))) for name in ("expected", "read"))
        if (expected | read) >> memory.word_bits:
            raise table.fail(row, f"a word of more than {memory.word_bits} bits")
        if expected == read:
            raise table.fail(row, _NOTHING_FAILED)
        wrong = expected ^ read
        while wrong:
            place = wrong.bit_length() - 1
            cells.add(words[row : row + 1] * memory.word_bits + place, read >> place & 1)
            wrong ^= 1 << place


def _check_width(table: Rows, digit: NDArray[np.uint8], place: int, memory: Memory) -> None:
    room = memory.word_bits - 4 * place
    if room < 4:
        wide = digit >= (1 << max(room, 0))
        if wide.any():
            raise table.fail(int(np.argmax(wide)), f"a word of more than {memory.word_bits} bits")
