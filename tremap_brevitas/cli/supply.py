"""``tremap advise --voltages``: what each supply voltage needs, as text and JSON."""

from __future__ import annotations

import math
from typing import Any

from tremap_brevitas.cli.printing import echo, table
from tremap_brevitas.planning.supply import SupplyAdvice

HEADING = ["voltage", "stuck cells", "energy", "saved", "cheapest that holds", "basis", "mean", "95 %", "worst"]


def echo_supply(supply: SupplyAdvice) -> None:
    """Print a line for each voltage, the rows behind it, the notes, and how far down each preparation goes."""
    lines = []
    notes: dict[str, list[str]] = {}
    for point, advice in zip(supply.points, supply.advice, strict=True):
        line = [f"{point.voltage:g}", f"{point.rate:.3g}", f"{point.energy:.2f}", f"{100 * (1 - point.energy):.0f} %"]
        best = advice.best if advice else None
        if advice is None:
            line += ["nothing: no cell is stuck", "", "", "", ""]
        elif best is None:
            line += ["none", "", "", "", ""]
        else:
            half = best.measured.half_interval
            interval = "" if math.isnan(half) else f"± {half:.2f}"
            line += [best.preparation, best.basis, f"{best.measured.mean:+.2f}", interval, f"{best.measured.worst:+.2f}"]
        lines.append(line)
        for note in advice.notes if advice else ():
            notes.setdefault(note, []).append(f"{point.voltage:g} V")
    echo(table(HEADING, lines))
    echo("")
    for point, advice in zip(supply.points, supply.advice, strict=True):
        if advice and advice.best:
            rows = ", ".join(str(row.line) for row in sorted(advice.best.measured.rows, key=lambda row: row.line))
            echo(f"rows of {advice.best.preparation!r} at {point.voltage:g} V: docs/preparations.csv, lines {rows}")
    for note, where in notes.items():
        echo(f"note, at {', '.join(where)}: {note}")
    echo(f"lowest voltage: {_lowest(supply)}")


def _lowest(supply: SupplyAdvice) -> str:
    """How far down each preparation goes, in one line."""
    if not supply.preparations:
        return f"{supply.points[-1].voltage:g} V, with nothing done"
    found = {name: supply.lowest(name) for name in supply.preparations}
    allowed = {name: point for name, point in found.items() if point is not None and point.rate}
    said = [f"{name} {point.voltage:g} V (energy {point.energy:.2f})" for name, point in allowed.items()]
    if len(allowed) < len(found):
        said.append("of the others none is shown" if said else "no preparation is shown to allow a stuck cell")
    return "; ".join(said)


def supply_json(supply: SupplyAdvice) -> dict[str, Any]:
    """Return the same for other programs."""
    points = []
    for point, advice in zip(supply.points, supply.advice, strict=True):
        best = advice.best if advice else None
        one = best.measured if best else None
        points.append(
            {
                "voltage": point.voltage,
                "rate": point.rate,
                "energy": round(point.energy, 6),
                "needs_nothing": advice is None,
                "best": best.preparation if best else None,
                "basis": best.basis if best else None,
                "mean_points": round(one.mean, 4) if one else None,
                "worst_points": round(one.worst, 4) if one else None,
                "lines": sorted(row.line for row in one.rows) if one else [],
                "notes": list(advice.notes) if advice else [],
            }
        )
    lowest = {name: supply.lowest(name) for name in supply.preparations}
    return {
        "voltages": points,
        "lowest": {name: None if point is None else point.voltage for name, point in lowest.items()},
    }
