"""Supply voltage against accuracy and energy: a lower one saves energy, and makes more cells stuck."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tremap_brevitas.planning.advice import Advice, Option, advise
from tremap_brevitas.tables import read_number, read_table


@dataclass(frozen=True)
class SupplyPoint:
    """A memory at one supply voltage.

    Attributes:
        voltage: Supply voltage of the memory, in volts.
        rate: Share of its cells that are stuck; 0 for none.
        energy: Energy of the memory, as a share of that at the highest voltage.
    """

    voltage: float
    rate: float
    energy: float


@dataclass(frozen=True)
class SupplyAdvice:
    """What each voltage needs, and how far down each preparation goes.

    Attributes:
        points: Voltages, the highest first.
        advice: For each of them, what the study's rows say; None where no cell is stuck.
    """

    points: tuple[SupplyPoint, ...]
    advice: tuple[Advice | None, ...]

    @property
    def preparations(self) -> tuple[str, ...]:
        """All preparations with figures, the cheapest first."""
        options = {o.preparation: o for advice in self.advice if advice for o in advice.options}
        return tuple(sorted(options, key=lambda name: options[name].cost))

    def option(self, place: int, preparation: str) -> Option | None:
        """Return a preparation at the voltage of that place; None if it has no figures there, or no cell is stuck."""
        advice = self.advice[place]
        return next((o for o in advice.options if o.preparation == preparation), None) if advice else None

    def lowest(self, preparation: str) -> SupplyPoint | None:
        """Return the lowest voltage at which a preparation holds, there and at every higher one; None if there is none."""
        found = None
        for place, (point, advice) in enumerate(zip(self.points, self.advice, strict=True)):
            option = self.option(place, preparation)
            if advice is not None and not (option and option.holds):
                break
            found = point
        return found


def read_supply_points(
    voltages: str | os.PathLike[str], energy: str | os.PathLike[str] | None = None
) -> tuple[SupplyPoint, ...]:
    r"""Read what a memory does at its supply voltages.

    The energy that is taken where no table gives it goes with the square of the voltage: that of charging and discharging the
    memory's lines (A. P. Chandrakasan, S. Sheng and R. W. Brodersen, IEEE Journal of Solid-State Circuits 27(4), 1992). It
    leaves out leakage, and that a slower memory leaks for longer.

    Args:
        voltages: CSV file with the columns ``voltage`` (volts) and ``rate`` (stuck cells over all cells, 0 for none).
        energy: CSV file with the columns ``voltage`` and ``energy`` (of any unit); between its voltages energy is interpolated.

    Returns:
        The voltages, the highest first; energies are shares of the first one's.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is no such table, a number makes no sense, a voltage stands there twice, a higher voltage has more
            stuck cells, or the energy of a voltage is not known (``path:line: …`` where a line is to blame).

    Examples:
        >>> table = getfixture("tmp_path") / "sram.csv"
        >>> _ = table.write_text("voltage,rate\n1.0,0\n0.5,1.56e-2\n")
        >>> read_supply_points(table)[1]
        SupplyPoint(voltage=0.5, rate=0.0156, energy=0.25)
    """
    rates = _read(voltages, "rate", most=1.0, what="a table of voltages and rates of stuck cells")
    for (above, _), (below, line) in itertools.pairwise(rates.items()):
        if line[0] < rates[above][0]:
            raise ValueError(
                f"{voltages}:{rates[above][1]}: {rates[above][0]:g} of the cells are stuck at {above:g} V, but {line[0]:g} at "
                f"{below:g} V, which is lower; a lower voltage has no fewer stuck cells"
            )
    top = next(iter(rates))
    if energy is None:
        return tuple(SupplyPoint(v, rate, (v / top) ** 2) for v, (rate, _) in rates.items())
    known = _read(energy, "energy", most=math.inf, what="a table of voltages and energies")
    lowest, highest = min(known), max(known)
    for voltage, (_, number) in rates.items():
        if not lowest <= voltage <= highest:
            raise ValueError(
                f"{voltages}:{number}: the energy at {voltage:g} V is not known: {energy} has {lowest:g} to {highest:g} V"
            )
    xs = sorted(known)
    ys = [known[v][0] for v in xs]
    full = float(np.interp(top, xs, ys))
    if full <= 0:
        raise ValueError(f"{energy}: the energy at {top:g} V, the highest voltage, is 0: others cannot be shares of it")
    return tuple(SupplyPoint(v, rate, float(np.interp(v, xs, ys)) / full) for v, (rate, _) in rates.items())


def advise_supply(
    points: Sequence[SupplyPoint], *, bits: int, chips: int, one_image: bool = False, within: float = 0.5
) -> SupplyAdvice:
    """Find for each supply voltage the cheapest preparation that keeps every chip within some points of the healthy network.

    Args:
        points: The memory at its voltages, in any order.
        bits: Bits of a code.
        chips: Chips of the fleet.
        one_image: Whether all of them are to be written with the same image.
        within: Points that every chip may lose.

    Raises:
        ValueError: If there is no voltage, or a number is out of range, as for [advise][tremap_brevitas.planning.advise].

    Examples:
        >>> points = [SupplyPoint(1.0, 0.0, 1.0), SupplyPoint(0.6, 1e-4, 0.36), SupplyPoint(0.5, 1e-3, 0.25)]
        >>> supply = advise_supply(points, bits=8, chips=1000)
        >>> supply.lowest("as they lie").voltage, supply.lowest("nearest").voltage
        (0.6, 0.5)
    """
    if not points:
        raise ValueError("points must not be empty")
    ordered = tuple(sorted(points, key=lambda point: -point.voltage))
    found = [
        None if point.rate == 0 else advise(point.rate, bits=bits, chips=chips, one_image=one_image, within=within)
        for point in ordered
    ]
    return SupplyAdvice(ordered, tuple(found))


def _read(path: str | os.PathLike[str], column: str, *, most: float, what: str) -> dict[float, tuple[float, int]]:
    """Voltage, and the other column's value with its line; the highest voltage first."""
    lines = itertools.count(2)
    seen: dict[float, int] = {}

    def entry(row: Mapping[str, str]) -> tuple[float, float, int]:
        number, voltage, value = next(lines), read_number(row, "voltage"), read_number(row, column)
        if not (math.isfinite(voltage) and voltage > 0):
            raise ValueError(f"voltage is {row['voltage']!r}, not a number of volts above 0")
        if not (math.isfinite(value) and 0 <= value < most):
            raise ValueError(
                f"{column} is {row[column]!r}, expected 0 or more{'' if most == math.inf else f', below {most:g}'}"
            )
        if seen.setdefault(voltage, number) != number:
            raise ValueError(f"{voltage:g} V stands there twice, first on line {seen[voltage]}")
        return voltage, value, number

    rows = read_table(path, entry, columns=["voltage", column], what=what)
    if not rows:
        raise ValueError(f"{path}: no line with a voltage")
    return {voltage: (value, number) for voltage, value, number in sorted(rows, reverse=True)}
