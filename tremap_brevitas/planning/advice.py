"""Find the cheapest preparation that was measured to be good enough for a fleet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tremap_brevitas.planning.evidence import AS_THEY_LIE, Measured, bits_of, measurements, union_rate

Basis = Literal["measured", "above", "extrapolated"]
NETWORK = "resnet20"


@dataclass(frozen=True)
class Option:
    """One way to prepare the chips.

    Attributes:
        preparation: Name of the preparation.
        measured: The measurements that support it.
        basis: ``"measured"``: at this rate, width and number of chips. ``"above"``: with more stuck cells, or more chips, than
            asked for, so that the figures are a lower bound. ``"extrapolated"``: no measurement is at this rate or above.
        holds: Whether every chip measured stays within the limit, with two seeds or more, without extrapolation.
        times: Number of preparations that the fleet needs.
    """

    preparation: str
    measured: Measured
    basis: Basis
    holds: bool
    times: int

    @property
    def cost(self) -> tuple[int, int, int, float]:
        """For the whole fleet: optimizer steps, images with labels, images without, seconds of one core."""
        first = self.measured.first
        return self.times * first.steps, first.labels, first.images, self.times * self.measured.seconds


@dataclass(frozen=True)
class Advice:
    """An answer, and its basis.

    Attributes:
        rate: Share of each chip's cells that are stuck.
        bits: Bits of a code.
        chips: Chips of the fleet.
        one_image: Whether all of them are written with the same image.
        within: Points below the healthy network that every chip may lose.
        options: Every preparation with figures, the cheapest first.
        notes: Remarks on figures that are of another case than the one asked for.
    """

    rate: float
    bits: int
    chips: int
    one_image: bool
    within: float
    options: tuple[Option, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> Option | None:
        """The cheapest that holds; None if none does."""
        return next((option for option in self.options if option.holds), None)


def advise(rate: float, *, bits: int, chips: int, one_image: bool = False, within: float = 0.5) -> Advice:
    """Find the cheapest preparation that was measured to keep every chip within some points of the healthy network.

    The figures are of ResNet-20 on CIFAR-10 with random stuck cells. A preparation is cheaper if it takes fewer
    optimizer steps, then fewer labels, then fewer images, then less time.

    Args:
        rate: Share of each chip's cells that are stuck, between 0 and 1.
        bits: Bits of a code.
        chips: Chips of the fleet.
        one_image: Whether all of them are to be written with the same image.
        within: Points that every chip may lose.

    Raises:
        ValueError: If a number is out of range.

    Examples:
        >>> advice = advise(1e-3, bits=8, chips=20)
        >>> advice.best.preparation, advice.best.basis
        ('nearest', 'measured')
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must lie between 0 and 1, got {rate}")
    for name, value in (("bits", bits), ("chips", chips)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    if not (math.isfinite(within) and within >= 0):
        raise ValueError(f"within must be 0 or more points, got {within}")
    every = [one for one in measurements() if one.first.network.partition("-")[0] == NETWORK]
    width, notes = _width({bits_of(one.first.network) for one in every}, bits)
    size = chips if one_image else 1
    by_name: dict[str, list[Measured]] = {}
    for one in every:
        fits = (
            one.first.preparation == AS_THEY_LIE if size > 1 and one.first.chips == 1 else (one.first.chips > 1) == (size > 1)
        )
        if one.bits == width and fits:
            by_name.setdefault(one.first.preparation, []).append(one)
    options = [
        _option(name, some, rate, size, 1 if one_image else chips, within, bits < width) for name, some in by_name.items()
    ]
    options.sort(key=lambda option: option.cost)
    if options and all(option.basis == "extrapolated" for option in options):
        notes.append(
            "more stuck cells, or more chips, than were measured: the figures are of the nearest case, which is milder"
        )
    elif any(option.basis == "above" for option in options):
        notes.append("between cases: where the case is marked 'above', the figures are of more stuck cells or chips than asked")
    return Advice(rate, bits, chips, one_image, within, tuple(options), tuple(notes))


def _width(measured: Iterable[int], bits: int) -> tuple[int, list[str]]:
    """Return the measured width to use, the largest that is not above, since fewer bits do more harm; and a note."""
    widths = sorted(measured)
    width = max((w for w in widths if w <= bits), default=widths[0])
    if width == bits:
        return width, []
    which = "which lose more" if width < bits else "which lose less: an extrapolation"
    return width, [f"{bits} bits were not measured: the figures are of {width} bits, {which}"]


def _option(name: str, some: Sequence[Measured], rate: float, size: int, times: int, within: float, fewer_bits: bool) -> Option:
    any_size = name == AS_THEY_LIE
    larger = [one for one in some if one.first.rate >= rate and (any_size or one.first.chips >= size)]
    if larger:
        chosen = min(larger, key=lambda one: one.stuck)
        same = chosen.first.rate == rate and (any_size or chosen.first.chips == size)
        basis: Basis = "measured" if same else "above"
    else:
        asked, basis = union_rate(rate, size), "extrapolated"
        chosen = min(some, key=lambda one: (one.stuck < asked, abs(one.stuck - asked)))
    if fewer_bits:
        basis = "extrapolated"
    holds = basis != "extrapolated" and chosen.seeds > 1 and chosen.worst >= -within - 1e-9
    return Option(name, chosen, basis, holds, times)
