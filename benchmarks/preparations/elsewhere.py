"""What is run beside the ResNets under uniform maps: networks of other kinds, and other maps. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.preparations.cases import (
    AS_THEY_LIE,
    BATCHNORM,
    COMPENSATED,
    FIRST,
    NEAREST,
    ORDER,
    ORDER_COMPENSATED,
    RETRAINED,
    SEEDS,
    SIGNS,
    UNIFORM,
    Case,
    cases,
)

CHIPS = 1  # of each seed: every seed has another network too
RATES = (2e-2, 6e-3, 1e-1, 1e-3, 4e-2)  # the ones that matter most first
GROUP_RATE = 6e-3
GROUPS = (20, 5)
DIGITS = {
    "digits-mobilenet": "depthwise, like MobileNet",
    "digits-transformer": "small transformer",
    "digits-perchannel": "depthwise, float scales per channel",
    "digits-groupwise": "CNN, a scale for 8 weights",
}
NOT_FOR = {  # preparations that have no place in a network
    "digits-transformer": (BATCHNORM, SIGNS),  # it has no BatchNorm
    "digits-groupwise": (SIGNS,),  # turning the sign finds BatchNorms by name, which the quick start's network has not
}

CLUSTERED, REPAIRED, SECDED = "clustered", "after spares", "behind SECDED"
MAPS = {CLUSTERED: (6e-3, 2e-2, 1e-3), SECDED: (6e-3, 1e-3, 1e-4), REPAIRED: (1e-3, 1e-4, 6e-3)}
BOARDS = {"measured: kc705b_bram_0.55V": 1.7281864466292135e-05, "measured: kc705b_bram_0.57V": 1.7830495084269664e-06}
ON_MAPS = (NEAREST, COMPENSATED, ORDER, AS_THEY_LIE)


def on_digits(network: str) -> Iterator[Case]:
    """Cases of a small network; what trains comes last."""
    first = [name for name in (*FIRST, ORDER_COMPENSATED, BATCHNORM, SIGNS) if name not in NOT_FOR.get(network, ())]
    for rate in RATES:
        yield from _chips(network, rate, UNIFORM, first)
    for name in (COMPENSATED, NEAREST):
        yield from (Case(network, GROUP_RATE, name, seed, chips, None) for chips in GROUPS for seed in SEEDS)
    for rate in RATES:
        yield from _chips(network, rate, UNIFORM, (RETRAINED,))


def on_maps(network: str) -> Iterator[Case]:
    """Cases of maps that are not uniform."""
    by_turns = sorted((place, kind, rate) for kind, rates in MAPS.items() for place, rate in enumerate(rates))
    for place, kind, rate in by_turns:
        yield from _chips(network, rate, kind, ON_MAPS)
        if place == 0 and kind == SECDED:
            for board, stuck in BOARDS.items():
                yield from _chips(network, stuck, board, ON_MAPS)


def listed(networks: Sequence[str], *, maps: bool) -> list[Case]:
    """Cases of these networks: under uniform maps, or under all others."""
    if maps:
        return [case for network in networks for case in on_maps(network)]
    small = [case for network in networks if network in DIGITS for case in on_digits(network)]
    every = [*cases([network for network in networks if network not in DIGITS]), *small]
    return sorted(every, key=lambda case: case.cost.steps > 0)


def _chips(network: str, rate: float, kind: str, names: Iterable[str]) -> Iterator[Case]:
    for name in names:
        yield from (Case(network, rate, name, seed, 1, chip, kind) for seed in SEEDS for chip in range(CHIPS))
