"""Find the setting of one chip's hardware that is best for given orders of the network's channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.order.groups import Index
from tremap_brevitas.order.hardware.choose import Choice, Units, choose
from tremap_brevitas.order.hardware.contents import Contents, contents
from tremap_brevitas.order.hardware.costs import Costs, StuckWords, Table, costs
from tremap_brevitas.order.hardware.hardware import Hardware
from tremap_brevitas.order.hardware.setting import HardwareSetting, stuck_side_cells
from tremap_brevitas.order.network import Network
from tremap_brevitas.order.search import Aim

_ENTRIES = 1 << 21  # entries of a table that is made at once
_BANKS = 32  # banks whose contents are looked up at once


class Settler:
    """Finds keys, amounts and flags for one chip.

    Only words with stuck cells are considered. Amounts and flags are settled together, exactly, for each row or group. A
    key is sought for banks in which codes are wrong with their best amounts and flags: the lowest that leaves none, or the
    one that leaves fewest.

    Args:
        network: The network.
        chip: A map of the chip's memory.
        hardware: Hardware of the accelerator.
        aim: As in ``SearchOptions``.

    Raises:
        ValueError: If the memory cannot have the hardware, or the map is of another memory.
    """

    def __init__(self, network: Network, chip: FaultMap, hardware: Hardware, *, aim: Aim = "wrong_codes") -> None:
        self.network, self.chip, self.hardware, self.aim = network, chip, hardware, aim
        self.memory = network.image.placement.memory
        hardware.check(self.memory)
        self.stuck = StuckWords.of(hardware.data_faults(chip, self.memory))
        self.units = Units.of(hardware)
        self._groups, self._flags, self._rows, self._allowed = stuck_side_cells(hardware, self.memory, chip)

    def start(self) -> HardwareSetting:
        """Return the setting that uses only what stuck flags and amounts force."""
        return HardwareSetting(self.hardware, self.memory).allowed_by(self.chip)

    def settle(self, orders: Sequence[Index], before: HardwareSetting) -> HardwareSetting:
        """Return the best setting for these orders.

        Args:
            orders: Orders of the groups of channels.
            before: A setting; its keys are kept where nothing is wrong with them.
        """
        keys = np.array(before.keys)
        rows, groups = _Numbers(self.start().rows, self.start().amounts), _Numbers(self.start().inverted)
        every = np.ones(len(self.stuck.word), dtype=np.bool_)
        left = self._settle_words(orders, keys, every, rows, groups)
        if self.hardware.scramble and len(left.outer):
            banks = self._better_keys(orders, keys, left)
            some = np.isin(self.stuck.word // self.hardware.scramble, banks)
            self._settle_words(orders, keys, some, rows, groups)
        return HardwareSetting(self.hardware, self.memory, keys, *rows.settled(), groups.settled()[0])

    def _settle_words(
        self, orders: Sequence[Index], keys: Index, some: NDArray[np.bool_], rows: _Numbers, groups: _Numbers
    ) -> Choice:
        """Choose amounts and flags of some words; return the units in which codes stay wrong."""
        # Nearly all words are right without being rotated: amounts are tried on the others alone.
        stages = [1, self._amounts] if self._amounts > 1 else [1]
        bad: list[Choice] = []
        for amounts in stages:
            bad = []
            for part in self._parts(some, self._amounts if amounts > 1 else 1):
                choice = self._choice(orders, self.stuck.at(part), keys, amounts)
                rows.note(choice.rows, choice.amounts[:, 0])
                groups.note(choice.groups, choice.flags[:, 0])
                wrong = (choice.wrong[:, 0] > 0) | (choice.harm[:, 0] > 0)
                if wrong.any():
                    bad.append(_at(choice, wrong))
            some = np.isin(self.stuck.word // self.units.outer, np.concatenate([c.outer for c in bad] or [_NONE]))
        return _joined(bad)

    def _choice(self, orders: Sequence[Index], stuck: StuckWords, keys: Index, amounts: int) -> Choice:
        words = self._scrambled(stuck.word, keys)
        rows = np.arange(len(words))[:, None]
        table = self._table(stuck, [contents(self.network, orders, words, tile=t) for t in self._tiles], rows, amounts)
        return choose(table, stuck.word, self.units)

    def _table(self, stuck: StuckWords, held: list[Contents], rows: Index, amounts: int) -> Costs:
        """Return the costs over all tiles; infinite where a stuck flag or amount forbids a choice."""
        flags = 2 if self.hardware.invert else 1
        first, *more = (costs(stuck, tile, rows, memory=self.memory, amounts=amounts, flags=flags) for tile in held)
        table = sum(more, first)
        if self.aim == "error":
            table = Costs(np.zeros_like(table.wrong), table.harm)
        if len(self._groups):
            at, mine = _looked_up(self._groups, stuck.word // self.hardware.invert)
            table.wrong[mine, :, :, 1 - self._flags[at[mine]]] = np.inf
        if len(self._rows):
            at, mine = _looked_up(self._rows, stuck.word // self.hardware.rotate)
            forbidden = ~self._allowed[at[mine]][:, :amounts]
            table.wrong[mine] = np.where(forbidden[:, None, :, None], np.inf, table.wrong[mine])
        return table

    def _better_keys(self, orders: Sequence[Index], keys: Index, left: Choice) -> Index:
        """Change the keys of banks in which codes are wrong; return the banks whose key changed."""
        size = self.hardware.scramble
        bank_of = left.outer * self.units.outer // size
        banks, at = np.unique(bank_of, return_inverse=True)
        wrong, harm = (np.bincount(at, weights=v[:, 0]).astype(np.float64) for v in (left.wrong, left.harm))
        changed = []
        for begin in range(0, len(banks), _BANKS):
            some = slice(begin, begin + _BANKS)
            best = self._best_keys(orders, keys, banks[some], wrong[some], harm[some])
            changed.append(banks[some][best != keys[banks[some]]])
            keys[banks[some]] = best
        return np.concatenate(changed)

    def _best_keys(self, orders: Sequence[Index], keys: Index, banks: Index, wrong: Table, harm: Table) -> Index:
        size = self.hardware.scramble
        words = (banks[:, None] * size + np.arange(size)).reshape(-1)
        held = [contents(self.network, orders, words, tile=tile) for tile in self._tiles]
        best, wrong, harm = keys[banks], np.array(wrong), np.array(harm)
        open_ = np.ones(len(banks), dtype=np.bool_)  # banks that are not right yet
        key = 0
        while key < size and open_.any():
            stuck = self.stuck.at(np.isin(self.stuck.word // size, banks[open_]))
            number = np.searchsorted(banks, stuck.word // size)
            each = len(stuck.word) * self._amounts * (2 if self.hardware.invert else 1)
            tried = np.arange(key, min(size, key + max(1, min(max(16, key), _ENTRIES // each))))
            rows = number[:, None] * size + ((stuck.word % size)[:, None] ^ tried)
            choice = choose(self._table(stuck, held, rows, self._amounts), stuck.word, self.units)
            of_bank = np.searchsorted(banks, choice.outer * self.units.outer // size)
            starts = np.flatnonzero(np.append(True, of_bank[1:] != of_bank[:-1]))
            numbers = of_bank[starts]
            now_wrong, now_harm = (np.add.reduceat(values, starts, axis=0) for values in (choice.wrong, choice.harm))
            fewest = now_wrong.min(axis=1, keepdims=True)
            column = np.where(now_wrong == fewest, now_harm, np.inf).argmin(axis=1)
            line = np.arange(len(numbers))
            now_wrong, now_harm = now_wrong[line, column], now_harm[line, column]
            better = (now_wrong < wrong[numbers]) | ((now_wrong == wrong[numbers]) & (now_harm < harm[numbers] * (1 - 1e-9)))
            improved = numbers[better]
            best[improved], wrong[improved], harm[improved] = tried[column[better]], now_wrong[better], now_harm[better]
            open_ &= (wrong > 0) | (harm > 0)
            key += len(tried)
        return best

    def _parts(self, some: NDArray[np.bool_], amounts: int) -> Iterator[NDArray[np.bool_]]:
        """Split some of the words into parts whose table is not too large, and that divide no unit."""
        chosen = np.flatnonzero(some)
        if not len(chosen):
            return
        unit = self.stuck.word[chosen] // self.units.outer
        number = np.cumsum(np.append(0, unit[1:] != unit[:-1]))
        first = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
        part = first[number] // max(1, _ENTRIES // (amounts * 2))
        for n in np.unique(part):
            mask = np.zeros(len(some), dtype=np.bool_)
            mask[chosen[part == n]] = True
            yield mask

    def _scrambled(self, words: Index, keys: Index) -> Index:
        return words ^ keys[words // self.hardware.scramble] if self.hardware.scramble else words

    @property
    def _amounts(self) -> int:
        return self.hardware.amount_count(self.memory)

    @property
    def _tiles(self) -> range:
        return range(self.network.image.placement.tiles)


_NONE: Index = np.empty(0, dtype=np.int64)


class _Numbers:
    """A number for each row, or group; 0 if none was noted."""

    def __init__(self, places: Index, values: Index | None = None) -> None:
        self._values = dict(zip(places.tolist(), (np.ones_like(places) if values is None else values).tolist(), strict=True))

    def note(self, places: Index, values: Index) -> None:
        self._values.update(zip(places.tolist(), values.tolist(), strict=True))

    def settled(self) -> tuple[Index, Index]:
        """Return places with another number than 0, ascending, and the numbers."""
        kept = sorted((place, value) for place, value in self._values.items() if value)
        places, values = zip(*kept, strict=True) if kept else ((), ())
        return np.array(places, dtype=np.int64), np.array(values, dtype=np.int64)


def _looked_up(numbers: Index, asked: Index) -> tuple[Index, NDArray[np.bool_]]:
    """Return the position of each number asked for among ascending ones, and whether it is there."""
    at = np.minimum(np.searchsorted(numbers, asked), len(numbers) - 1)
    return at, numbers[at] == asked


def _at(choice: Choice, some: NDArray[np.bool_]) -> Choice:
    return Choice(choice.outer[some], choice.wrong[some], choice.harm[some], _NONE, _NONE, _NONE, _NONE)


def _joined(choices: list[Choice]) -> Choice:
    if not choices:
        return Choice(_NONE, np.zeros((0, 1)), np.zeros((0, 1)), _NONE, _NONE, _NONE, _NONE)
    outer, wrong, harm = (np.concatenate([getattr(c, name) for c in choices]) for name in ("outer", "wrong", "harm"))
    return Choice(outer, wrong, harm, _NONE, _NONE, _NONE, _NONE)
