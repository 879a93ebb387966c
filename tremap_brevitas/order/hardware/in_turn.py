"""Search for the setting of a chip's hardware and for the order of its channels in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.order.groups import Index
from tremap_brevitas.order.hardware.hardware import Hardware
from tremap_brevitas.order.hardware.setting import HardwareSetting
from tremap_brevitas.order.hardware.settle import Settler
from tremap_brevitas.order.network import Network
from tremap_brevitas.order.problem import Problem
from tremap_brevitas.order.search import Search, SearchOptions

_PATIENCE = 2  # turns without a better result after which the search ends


@dataclass(frozen=True, eq=False)
class Settled:
    """The best result for a chip.

    Attributes:
        orders: Orders of the groups of channels.
        setting: Setting of the hardware.
        problem: The chip as the placement's words see it.
        wrong, harm: Wrong codes and harm that remain.
    """

    orders: list[Index]
    setting: HardwareSetting
    problem: Problem
    wrong: int
    harm: float


class InTurn:
    """The search for one chip.

    First the hardware alone is set. While codes stay wrong, an order of the channels is sought that serves the words in which
    they are (with scrambled addresses: all words of their banks), whatever it does to others; then the hardware is set anew,
    and words that are wrong by then are served, too, in the next turn. So words that the hardware can serve in nearly any
    order do not bind the channels.

    Args:
        network: The network.
        chip: A map of the chip's memory.
        hardware: Hardware of the accelerator.
        options: How to search for orders.
    """

    def __init__(self, network: Network, chip: FaultMap, hardware: Hardware, options: SearchOptions) -> None:
        self.network, self.chip, self.hardware, self.options = network, chip, hardware, options
        self.settler = Settler(network, chip, hardware, aim=options.aim)
        self.memory = network.image.placement.memory

    def run(self) -> Settled:
        """Return the best result of the search, which is never worse than the hardware alone."""
        orders = self.network.identity
        now = best = self._set(orders, self.settler.start())
        binding = np.zeros(len(self.settler.stuck.word), dtype=np.bool_)
        if self.options.aim == "error":
            binding[:] = True
        idle = 0
        while best.wrong and self.network.groups and idle < _PATIENCE:
            before = int(np.count_nonzero(binding))
            binding |= self._to_be_served(now)
            if np.count_nonzero(binding) == before:
                binding[:] = True
            orders = self._order(now, binding)
            now = self._set(orders, now.setting)
            idle += 1
            if self._score(now) < self._score(best):
                best, idle = now, 0
            elif binding.all():
                now = best
        return best

    def _set(self, orders: list[Index], before: HardwareSetting) -> Settled:
        setting = self.settler.settle(orders, before)
        problem = Problem(self.network, setting.equivalent_map(self.chip))
        return Settled(orders, setting, problem, int(problem.wrong(orders).sum()), float(problem.harm(orders).sum()))

    def _score(self, settled: Settled) -> tuple[float, float]:
        return (float(settled.wrong) if self.options.aim == "wrong_codes" else 0.0), settled.harm

    def _to_be_served(self, now: Settled) -> NDArray[np.bool_]:
        """Return which words with stuck cells the order of channels must serve, since the hardware could not."""
        size = max(self.settler.units.outer, self.hardware.scramble)
        words = now.setting.scrambled(_words(now.problem, now.problem.wrong(now.orders)))
        mask: NDArray[np.bool_] = np.isin(self.settler.stuck.word // size, words // size)
        return mask

    def _order(self, now: Settled, binding: NDArray[np.bool_]) -> list[Index]:
        seen = now.setting.equivalent_map(self.chip)
        word = now.setting.scrambled(seen.cells // self.memory.word_bits)
        kept = np.isin(word, self.settler.stuck.word[binding])
        some = FaultMap(self.memory, seen.cells[kept], seen.stuck_at[kept], seen.chip)
        entropy = int(self.chip.digest[:16], 16)
        return Search(Problem(self.network, some), self.options, entropy=entropy, start=now.orders).run()


def _words(problem: Problem, which: NDArray[np.bool_]) -> Index:
    """Return the words of the placement in which some of the hits are."""
    memory, words = problem.network.image.placement.memory, [np.empty(0, dtype=np.int64)]
    for hits in problem.layers:
        layer = hits.entry.layer
        weight = hits.stuck.weight[which[hits.first : hits.first + len(hits.stuck.weight)]]
        position = weight if layer.positions is None else layer.positions[weight]
        words.append((layer.first_word + position // layer.codes_per_word) % memory.words)
    return np.unique(np.concatenate(words))


def as_it_lies(network: Network, chip: FaultMap, hardware: Hardware) -> int:
    """Count the codes that a chip reads wrongly if nothing is moved and no hardware is used."""
    problem = Problem(network, hardware.data_faults(chip, network.image.placement.memory))
    return int(problem.wrong(network.identity).sum())
