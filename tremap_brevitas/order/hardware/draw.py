"""Draw the words of one chip as text: in its order, scrambled, rotated, inverted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tremap_brevitas.order.chip_order import ChipOrder
from tremap_brevitas.order.network import Network
from tremap_brevitas.placement.layer import parameter_of
from tremap_brevitas.printable import counted


def drawn_chip(order: ChipOrder) -> str:
    """Describe what is special about a chip: channels that moved, and the setting of its hardware."""
    lines = [f"chip {order.chip!r}: {counted(order.moved, 'channel')} moved"]
    if order.spares is not None and len(order.spares.repair):
        lines += [f"  spare lines for {line}" for line in str(order.spares.repair).splitlines()]
    if order.hardware is not None:
        hardware, memory = order.hardware.hardware, order.hardware.memory
        cost = f"{hardware.cells(memory)} cells, {hardware.key_bits(memory)} bits of keys: {hardware.overhead(memory):.1%}"
        lines += [f"  {hardware} ({cost})", f"  {order.hardware}"]
    return "\n".join(lines)


def drawn_chip_words(order: ChipOrder, words: Iterable[int]) -> str:
    """Draw which weight's code lies in which cells of some of a chip's words, from the highest bit down.

    Args:
        order: The chip's order.
        words: Numbers of the chip's own words.

    Raises:
        ValueError: If there is no such word.

    Examples:
        >>> from tremap_brevitas import FaultMap, Memory, MemoryImage
        >>> from tremap_brevitas.order import Hardware, solve
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> placement = linear_placement([LayerCodes("fc", (2, 2), 4, "binary")], Memory(words=2, word_bits=8))
        >>> image, hardware = MemoryImage(placement, {"fc": [[15, 15], [0, 0]]}), Hardware(scramble=2, invert=1)
        >>> chip = FaultMap(hardware.chip_memory(placement.memory), cells=[0, 1, 8], stuck_at=[0, 0, 0], chip="A7")
        >>> print(drawn_chip_words(solve(image, [], chip, hardware=hardware), [0]))
        word 0: holds word 1
          8        flag: 0
          7 …  4   fc.weight[1,1]
          3 …  0   fc.weight[1,0]
    """
    pieces = _Pieces(order)
    lines = []
    for word in words:
        order.memory.cell(word=word, bit=0)  # raises an error if there is no such word
        for tile in range(order.network.placement.tiles):
            lines.append(pieces.title(word, tile))
            lines += _runs([pieces.cell(word, bit, tile) for bit in range(order.memory.word_bits)])
    return "\n".join(lines)


def drawn_chip_cell(order: ChipOrder, cell: int) -> str:
    """Describe what one of a chip's cells holds.

    Raises:
        ValueError: If there is no such cell.
    """
    if not 0 <= cell < order.memory.cells:
        raise ValueError(f"cell {cell} is outside the memory of {order.memory.cells} cells")
    word, bit = divmod(cell, order.memory.word_bits)
    pieces, held = _Pieces(order), []
    for tile in range(order.network.placement.tiles):
        what, number = pieces.cell(word, bit, tile)
        held.append(what if number is None else f"bit {number} of {what}")
    inverted = ", inverted" if order.hardware is not None and order.hardware.flag([word])[0] else ""
    inverted = inverted if bit < order.network.placement.memory.word_bits else ""
    return f"cell {cell}, bit {bit} of word {word}: {'; '.join(held)}{inverted}"


class _Pieces:
    """Looks up what single cells hold."""

    def __init__(self, order: ChipOrder) -> None:
        self.order, self.setting = order, order.hardware
        self.placement = order.network.placement
        network = Network(order.network, order.groups)
        self.entries = {entry.layer.name: entry for entry in network.layers}
        self.orders = [order.orders[group.name] for group in order.groups]

    def title(self, word: int, tile: int) -> str:
        said = f"word {word}" + (f", tile {tile}" if self.placement.tiles > 1 else "")
        if self.setting is None:
            return said
        held, amount, flag = (int(f([word])[0]) for f in (self.setting.scrambled, self.setting.amount, self.setting.flag))
        more = [f"holds word {held}"] if held != word else []
        more += [f"rotated by {amount}"] if amount else []
        more += ["inverted"] if flag else []
        return f"{said}: {', '.join(more)}" if more else said

    def cell(self, word: int, bit: int, tile: int) -> tuple[str, int | None]:
        """Return what a cell holds, and which bit of it."""
        width = self.placement.memory.word_bits
        if bit >= width:
            return self._side(word, bit)
        if self.setting is not None:
            bit = int(bit - self.setting.amount([word])[0]) % width
            word = int(self.setting.scrambled([word])[0])
        word += tile * self.placement.memory.words
        layer = next((x for x in self.placement.layers if x.first_word <= word < x.first_word + x.words), None)
        if layer is None or bit >= layer.codes_per_word * layer.bit_width:
            return "unused", None
        position = (word - layer.first_word) * layer.codes_per_word + bit // layer.bit_width
        if position >= layer.size:
            return "unused", None
        slot = position if layer.order is None else int(layer.order[position])
        entry = self.entries[layer.name]
        weight = int(entry.source(entry.coordinates(np.array([slot])), self.orders)[0]) - entry.offset
        index = tuple(int(i) for i in np.unravel_index(weight, layer.shape))
        return parameter_of(layer.name, index), bit % layer.bit_width

    def _side(self, word: int, bit: int) -> tuple[str, int | None]:
        assert self.setting is not None
        hardware, memory = self.setting.hardware, self.setting.memory
        cell = word * self.order.memory.word_bits + bit
        if hardware.invert and cell == hardware.flag_cells(memory, np.array([word // hardware.invert]))[0]:
            return f"flag: {self.setting.flag([word])[0]}", None
        if hardware.rotate:
            row = word // hardware.rotate
            at = np.flatnonzero(hardware.amount_cells(memory, np.array([row]))[0] == cell)
            if len(at):
                return f"amount of row {row}: {self.setting.amount([word])[0]}", int(at[0])
        return "no cell", None


def _runs(cells: list[tuple[str, int | None]]) -> list[str]:
    """Return lines for cells that hold the same, from the highest down; a rotated code may be in two pieces."""
    lines: list[str] = []
    begin = 0
    for end in range(1, len(cells) + 1):
        last, number = cells[end - 1]
        follows = end < len(cells) and cells[end][0] == last
        if follows and (number is None or cells[end][1] == number + 1):
            continue
        first = cells[begin][1]
        whole = first is None or first == 0
        bits = f"{end - 1:>2} … {begin:>2}" if end - 1 > begin else f"{begin:>2}     "
        lines.append(f" {bits}   {last}" + ("" if whole else f", from bit {first}"))
        begin = end
    return lines[::-1]
