"""A slow, obvious, bit-by-bit oracle in plain Python. It shares no code with the package."""

from __future__ import annotations

from functools import lru_cache
from itertools import product


def to_bits(code: int, width: int, encoding: str) -> list[int]:
    """Stored bits of a code, LSB first."""
    if encoding == "sign_magnitude":
        magnitude, sign = abs(code), int(code < 0)
        return [(magnitude // 2**i) % 2 for i in range(width - 1)] + [sign]
    if encoding == "offset_binary":
        code += 2 ** (width - 1)
    elif encoding == "twos_complement" and code < 0:
        code += 2**width
    return [(code // 2**i) % 2 for i in range(width)]


def from_bits(bits: list[int], encoding: str) -> int:
    """Code that stored bits stand for."""
    width = len(bits)
    if encoding == "sign_magnitude":
        magnitude = sum(b * 2**i for i, b in enumerate(bits[:-1]))
        return -magnitude if bits[-1] else magnitude
    value = sum(b * 2**i for i, b in enumerate(bits))
    if encoding == "offset_binary":
        return value - 2 ** (width - 1)
    if encoding == "twos_complement" and bits[-1]:
        return value - 2**width
    return value


def read_back(code: int, stuck: dict[int, int], width: int, encoding: str) -> int:
    """Code that is read after ``code`` was written; ``stuck`` says which bit is stuck at what."""
    bits = to_bits(code, width, encoding)
    for bit, value in stuck.items():
        bits[bit] = value
    return from_bits(bits, encoding)


@lru_cache(maxsize=2000)
def reachable(stuck: tuple[tuple[int, int], ...], width: int, encoding: str) -> frozenset[int]:
    """Codes that can be read at all: what every pattern of the healthy bits stands for. Kept, as tests ask for few of them."""
    values = dict(stuck)
    choices = [(values[bit],) if bit in values else (0, 1) for bit in range(width)]
    return frozenset(from_bits(list(bits), encoding) for bits in product(*choices))


def nearest(code: int, stuck: dict[int, int], width: int, encoding: str) -> int:
    """Nearest code that can be read at all, by trying every one; of two, the smaller magnitude, then the positive one."""

    def rank(candidate: int) -> tuple[int, int, bool]:
        return abs(candidate - code), abs(candidate), candidate < 0

    return min(reachable(tuple(sorted(stuck.items())), width, encoding), key=rank)


def stuck_bits(sa0: int, sa1: int, width: int) -> dict[int, int]:
    """Masks as a dictionary from bit to stuck value."""
    stuck = {}
    for bit in range(width):
        if (sa0 // 2**bit) % 2:
            stuck[bit] = 0
        if (sa1 // 2**bit) % 2:
            stuck[bit] = 1
    return stuck


def linear_layout(
    layers: list[tuple[str, int, int]], words: int, word_bits: int, reuse: bool
) -> dict[int, list[tuple[str, int, int]]]:
    """Cell to [(layer, flat weight, bit)] in the default layout; ``layers`` are (name, weights, bit width)."""
    cells: dict[int, list[tuple[str, int, int]]] = {}
    word = 0
    for name, weights, width in layers:
        slot = 0
        for weight in range(weights):
            if (slot + 1) * width > word_bits:
                word, slot = word + 1, 0
            for bit in range(width):
                physical = word % words if reuse else word
                cells.setdefault(physical * word_bits + slot * width + bit, []).append((name, weight, bit))
            slot += 1
        word += 1
    return cells
