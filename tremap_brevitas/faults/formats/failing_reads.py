"""Find the stuck cells and their values from the lines of a log of failing reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults.formats.cells import Cells
from tremap_brevitas.faults.formats.columns import LogForm
from tremap_brevitas.faults.formats.table import Rows
from tremap_brevitas.faults.formats.text import FormatError
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.printable import counted

_NOTHING_FAILED = "expected and read are the same, so nothing failed (passed='skip' skips such lines)"


class FailingReads:
    """Converts log lines to stuck cells.

    Args:
        names: Our names of the columns.
        memory: Geometry.
        form: How the log is written.

    Raises:
        ValueError: If the constant ``expected`` is not a word, or not a bit.
    """

    def __init__(self, names: Sequence[str], memory: Memory, form: LogForm) -> None:
        self.names, self.memory, self.form = list(names), memory, form
        self._bitwise = "bit" in names
        self._base = form.base or (10 if self._bitwise else 16)
        self._unpadded = form.pattern is not None if form.unpadded is None else form.unpadded
        self._expected = self._constant()
        self._width: int | None = None  # digits of the words read, if the expected word is a constant
        self._marked = False
        self._bare: dict[str, int] = {}  # the first line with numbers without 0x, by their kind
        self._lettered: set[str] = set()

    def take(self, table: Rows, cells: Cells) -> None:
        """Add the stuck cells described by some lines.

        Raises:
            FormatError: If a line is not of the format.
        """
        words = self._words(table)
        self._note(table)
        if self._bitwise:
            self._take_bits(table, words, cells)
        elif self._base == 16 or all(table.marked(self.names.index(n)).all() for n in ("expected", "read") if n in self.names):
            self._take_words(table, words, cells)
        else:
            self._take_decimal(table, words, cells)

    def check_end(self, table: Rows, name: str) -> None:
        """Check the last number of a file that has no final line end, because it may have been cut short.

        Raises:
            FormatError: If nothing shows that it is complete.
        """
        row = len(table) - 1
        if name not in self.names or name == "stuck_at" or name.startswith("("):
            return
        column = self.names.index(name)
        if name in ("expected", "read"):
            both = {"expected", "read"} <= set(self.names)  # of one length, as was seen
            hexadecimal = self._base == 16 or bool(table.marked(column)[row])
            full = hexadecimal and 4 * table.widths(column)[row] >= self.memory.word_bits
            if self._bitwise or full or (hexadecimal and both and not self._unpadded):
                return
        raise table.fail(
            row,
            f"the file ends without a line end, so that {name} {table.text(row, column)!r} may have been cut short; end the "
            f"line if it is whole",
        )

    def finish(self, path: str) -> None:
        """Run the checks that need the whole file.

        Raises:
            FormatError: If some numbers begin with ``0x`` and the base of the others is unknown.
        """
        for kind, line in self._bare.items():
            if self._marked and kind not in self._lettered:
                raise FormatError(
                    f"{path}:{line}: {kind} without 0x, but other numbers of the file have it; give base, 16 or 10, of those "
                    f"without"
                )

    def _constant(self) -> int | None:
        given = self.form.expected
        if given is None:
            return None
        bits = 1 if self._bitwise else self.memory.word_bits
        try:
            value = int(given, 16 if given[:2].lower() == "0x" else self._base) if isinstance(given, str) else int(given)
        except ValueError:
            raise ValueError(f"expected must be a number of base {self._base}, got {given!r}") from None
        if value < 0 or value >> bits:
            raise ValueError(f"expected must be a word of {counted(bits, 'bit')}, got {given!r}")
        return value

    def _words(self, table: Rows) -> NDArray[np.int64]:
        """Return the word that each line is about."""
        column = self.names.index("address")
        address = table.integers(column, base=self._base, what="address")
        word, rest = np.divmod(address - self.form.first_address, self.form.address_step)
        if "bank" in self.names:
            size, said = self.memory.words_per_bank, f"the bank of {counted(self.memory.words_per_bank, 'word')}"
        else:
            size, said = self.memory.words, f"the memory of {counted(self.memory.words, 'word')}"
        outside = (word < 0) | (word >= size)
        if outside.any():
            row = int(np.argmax(outside))
            raise table.fail(row, f"address {table.text(row, column)} is word {word[row]}, outside {said}")
        if rest.any():
            row = int(np.argmax(rest != 0))
            first, step = self.form.first_address, self.form.address_step
            raise table.fail(row, f"address {table.text(row, column)} is not a multiple of {step} from {first:#x} on")
        if "bank" not in self.names:
            return word
        bank = table.integers(self.names.index("bank"), base=10, what="bank")
        if np.any(bank >= self.memory.banks):
            row = int(np.argmax(bank >= self.memory.banks))
            raise table.fail(
                row, f"bank {bank[row]}, but the memory has {self.memory.banks} (ignore=bank if addresses count through all)"
            )
        return bank * size + word

    def _note(self, table: Rows) -> None:
        """Record which numbers have the prefix ``0x`` and which do not."""
        if self.form.base is not None:
            return
        for name, kind in (("address", "an address"), ("expected", "a word"), ("read", "a word")):
            if name not in self.names or (self._bitwise and name != "address"):
                continue
            column = self.names.index(name)
            marked = table.marked(column)
            self._marked = self._marked or bool(marked.any())
            bare = ~marked & (table.widths(column) > 1)  # a single digit is the same number in any base
            if bare.any():
                self._bare.setdefault(kind, int(table.lines[np.argmax(bare)]))
                if kind not in self._lettered and table.subset(bare).lettered(column):
                    self._lettered.add(kind)

    def _take_bits(self, table: Rows, words: NDArray[np.int64], cells: Cells) -> None:
        bit = table.integers(self.names.index("bit"), base=10, what="bit")
        if np.any(bit >= self.memory.word_bits):
            row = int(np.argmax(bit >= self.memory.word_bits))
            raise table.fail(row, f"bit {bit[row]} is outside the word of {self.memory.word_bits} bits")
        given: dict[str, NDArray[np.int64]] = {}
        for name, constant in (("stuck_at", self.form.stuck_at), ("read", None), ("expected", self._expected)):
            if name in self.names:
                given[name] = table.integers(self.names.index(name), base=10, what=name)
                if np.any(given[name] > 1):
                    row = int(np.argmax(given[name] > 1))
                    raise table.fail(row, f"{name} {given[name][row]} is neither 0 nor 1")
            elif constant is not None:
                given[name] = np.full(len(table), constant, dtype=np.int64)
        failed = np.ones(len(table), dtype=bool)
        if "read" in given and "expected" in given:
            failed = given["read"] != given["expected"]
            self._check_failed(table, failed)
        stuck = given["stuck_at"] if "stuck_at" in given else given["read"] if "read" in given else 1 - given["expected"]
        for name, right in (("read", given.get("read", stuck)), ("expected", 1 - given.get("expected", 1 - stuck))):
            wrong = failed & (stuck != right)
            if wrong.any():
                row = int(np.argmax(wrong))
                raise table.fail(row, f"stuck_at {stuck[row]} contradicts {name} {given[name][row]}")
        for polarity in (0, 1):
            cells.add((words * self.memory.word_bits + bit)[failed & (stuck == polarity)], polarity)

    def _take_words(self, table: Rows, words: NDArray[np.int64], cells: Cells) -> None:
        """Process hexadecimal words of any width, digit by digit."""
        read_column = self.names.index("read")
        read_digits = list(table.digits(read_column, base=16, what="read"))
        widths = table.widths(read_column)
        zero = np.zeros(len(table), dtype=np.uint8)
        if self._expected is None:
            column = self.names.index("expected")
            expected_digits = list(table.digits(column, base=16, what="expected"))
            self._check_length(table, widths, table.widths(column), "expected")
        else:
            expected_digits = [zero + int(digit, 16) for digit in reversed(f"{self._expected:x}")]
            self._width = int(widths[0]) if self._width is None else self._width
            self._check_length(table, widths, np.full(len(table), self._width), "that of the first line")
        different = np.zeros(len(table), dtype=bool)
        for place in range(max(len(expected_digits), len(read_digits))):
            expected = expected_digits[place] if place < len(expected_digits) else zero
            read = read_digits[place] if place < len(read_digits) else zero
            self._check_width(table, expected | read, place)
            wrong = expected ^ read
            hit = np.flatnonzero(wrong)
            different[hit] = True
            if not len(hit):
                continue
            turned, digits, low = wrong[hit], read[hit], words[hit] * self.memory.word_bits + 4 * place
            for bit in range(4):
                mine = (turned >> bit) & 1 == 1
                if mine.any():
                    value, at = (digits[mine] >> bit) & 1, low[mine] + bit
                    cells.add(at[value == 0], 0)
                    cells.add(at[value == 1], 1)
        self._check_failed(table, different)

    def _take_decimal(self, table: Rows, words: NDArray[np.int64], cells: Cells) -> None:
        """Process decimal words with Python's integers, because decimal digits are not groups of bits."""
        given = {name: self._numbers(table, name) for name in ("expected", "read") if name in self.names}
        for row, read in enumerate(given["read"]):
            expected = given["expected"][row] if self._expected is None else self._expected
            if (expected | read) >> self.memory.word_bits:
                raise table.fail(row, f"a word of more than {counted(self.memory.word_bits, 'bit')}")
            wrong = expected ^ read
            if not wrong and self.form.passed == "error":
                raise table.fail(row, _NOTHING_FAILED)
            while wrong:
                place = wrong.bit_length() - 1
                cells.add(words[row : row + 1] * self.memory.word_bits + place, read >> place & 1)
                wrong ^= 1 << place

    def _numbers(self, table: Rows, name: str) -> list[int]:
        column = self.names.index(name)
        marked = table.marked(column)
        for base, chosen in ((16, marked), (10, ~marked)):
            for _ in table.subset(chosen).digits(column, base=base, what=name):
                pass  # checks every one of them
        return [int(table.text(row, column), 16 if marked[row] else 10) for row in range(len(table))]

    def _check_failed(self, table: Rows, failed: NDArray[np.bool_]) -> None:
        if self.form.passed == "error" and not failed.all():
            raise table.fail(int(np.argmin(failed)), _NOTHING_FAILED)

    def _check_length(self, table: Rows, widths: NDArray[np.int64], others: NDArray[np.int64], whose: str) -> None:
        if not self._unpadded and np.any(widths != others):
            row = int(np.argmax(widths != others))
            raise table.fail(
                row,
                f"read has {counted(widths[row], 'digit')}, but {whose} has {others[row]}: a word that was cut short, or words "
                f"without leading zeros (unpadded=True)",
            )

    def _check_width(self, table: Rows, digit: NDArray[np.uint8], place: int) -> None:
        left = self.memory.word_bits - 4 * place
        if left < 4:
            wide = digit >= (1 << max(left, 0))
            if wide.any():
                raise table.fail(int(np.argmax(wide)), f"a word of more than {counted(self.memory.word_bits, 'bit')}")
