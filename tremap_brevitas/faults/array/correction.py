"""Stuck cells that remain visible behind a single-error-correcting code (SECDED)."""

from __future__ import annotations

import numpy as np

from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.memory import Memory


def check_bits_of(data_bits: int) -> int:
    """Return the number of check bits that a SECDED code needs for this many data bits.

    Hamming's bound, ``2 ** r >= data_bits + r + 1``, and one parity bit more (R. W. Hamming, Bell System Technical Journal,
    1950).

    Raises:
        ValueError: If there is no bit of data.

    Examples:
        >>> [(data, check_bits_of(data)) for data in (8, 16, 32, 64)]
        [(8, 5), (16, 6), (32, 7), (64, 8)]
    """
    if data_bits < 1:
        raise ValueError(f"data_bits must be at least 1, got {data_bits}")
    hamming = 1
    while 2**hamming < data_bits + hamming + 1:
        hamming += 1
    return hamming + 1


def corrected(fault_map: FaultMap, *, data_bits: int) -> FaultMap:
    """Return the map of the faults that remain visible behind a code that corrects one wrong bit in each word.

    A word with one stuck cell is always read correctly. A word with more may be read wrongly, and the code then does not
    correct its data: all stuck cells among them stay in the map. That is the worst case: where all but one of them agree with
    the stored bits, the code corrects the last.

    Args:
        fault_map: The map of the whole memory: ``data_bits`` of data in the low bits of each word, check bits above them.
        data_bits: Bits of data in each word.

    Returns:
        A map of a memory of as many words of ``data_bits`` cells, the same chip and metadata.

    Raises:
        ValueError: If the words have no check bits, or too few to correct one wrong bit.

    Examples:
        >>> memory = Memory(words=2, word_bits=39)
        >>> cells = [memory.cell(word=0, bit=5), memory.cell(word=1, bit=6), memory.cell(word=1, bit=38)]
        >>> behind = corrected(FaultMap(memory, cells, stuck_at=[1, 1, 0]), data_bits=32)
        >>> behind.memory.word_bits, behind.cells == behind.memory.cell(word=1, bit=6)
        (32, array([ True]))
    """
    memory = fault_map.memory
    check_bits = memory.word_bits - data_bits
    needed = check_bits_of(data_bits) - 1
    if check_bits < needed:
        raise ValueError(
            f"words of {memory.word_bits} cells have {max(check_bits, 0)} check bits beside {data_bits} bits of data; to "
            f"correct one wrong bit takes {needed}, and to detect two one more"
        )
    word, bit = np.divmod(fault_map.cells, memory.word_bits)
    stuck = np.bincount(word, minlength=memory.words)
    kept = (stuck[word] > 1) & (bit < data_bits)
    seen = Memory(words=memory.words, word_bits=data_bits, banks=memory.banks)
    cells = word[kept] * data_bits + bit[kept]
    return FaultMap(seen, cells, fault_map.stuck_at[kept], fault_map.chip, fault_map.metadata)


def rate_behind(fault_rate: float, *, data_bits: int, check_bits: int | None = None) -> float:
    """Return the share of data bits that stay stuck behind the code, for randomly located faults.

    A cell stays if another of its word is stuck too: ``rate * (1 - (1 - rate) ** (word_bits - 1))``.

    Args:
        fault_rate: Stuck cells over all cells, 0 to 1.
        data_bits: Bits of data in each word.
        check_bits: Check bits in each word; None for the fewest that correct one wrong bit and detect two.

    Raises:
        ValueError: If the rate is not from 0 to 1.

    Examples:
        >>> [f"{rate_behind(rate, data_bits=32):.1e}" for rate in (1e-4, 1e-3, 6e-3, 2e-2)]
        ['3.8e-07', '3.7e-05', '1.2e-03', '1.1e-02']
    """
    if not 0 <= fault_rate <= 1:
        raise ValueError(f"fault_rate must be from 0 to 1, got {fault_rate}")
    others = data_bits + (check_bits_of(data_bits) if check_bits is None else check_bits) - 1
    return fault_rate * (1 - (1 - fault_rate) ** others)
