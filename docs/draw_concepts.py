"""Draw the pictures of docs/concepts.md. The numbers in them are computed by the package.

python docs/draw_concepts.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import tremap_brevitas as tm
from tremap_brevitas.codes import encode, nearest_reachable, read_back
from tremap_brevitas.placement import LayerCodes, linear_placement

HERE = Path(__file__).parent
EIGHT: Any = {"bit_width": 8, "encoding": "twos_complement"}
INK, GREY, SA0, SA1, BOTH = "#1d2433", "#8a93a3", "#2f6fb2", "#d9822b", "#7a3fa0"
HEALTHY = "#f1f3f4"
TINTS = ["#dfe9f5", "#eef3e6"]


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A white sheet on which one unit is one cell."""
    figure = Figure(figsize=(width / 2.6, height / 2.6))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return figure, axes


def cell(axes: Axes, x: float, y: float, text: str = "", colour: str = HEALTHY, ink: str = INK, width: float = 1) -> None:
    """One cell, or a wider box."""
    axes.fill([x, x + width, x + width, x], [y, y, y + 1, y + 1], facecolor=colour, edgecolor="white", linewidth=1.5)
    axes.text(x + width / 2, y + 0.53, text, ha="center", va="center", fontsize=11, color=ink, family="monospace")


def say(axes: Axes, x: float, y: float, text: str, side: str = "left", colour: str = INK, size: float = 11) -> None:
    """A line of text."""
    axes.text(x, y, text, ha=side, va="center", fontsize=size, color=colour)


def bits(code: int) -> str:
    """Eight bits of a code, the highest first."""
    return f"{int(encode([code], **EIGHT)[0]):08b}"


def memory() -> None:
    """Words, cells and which bit of which weight a cell holds."""
    geometry = tm.Memory(words=4, word_bits=16)
    placement = linear_placement([LayerCodes("fc", (2, 4), 8, "twos_complement")], geometry)
    figure, axes = sheet(24, 7.6)
    for word in range(4):
        say(axes, 3.6, word + 2, f"word {word}", "right")
        for bit in range(16):
            index = placement.weights_at(word * 16 + bit)[0].index
            cell(axes, 20 - bit - 1, word + 1.5, colour=TINTS[(index[0] * 4 + index[1]) % 2])
        for code in range(2):
            row, column = placement.weights_at(word * 16 + 8 * code)[0].index
            axes.text(16 - 8 * code, word + 2, f"fc.weight[{row},{column}]", ha="center", va="center", fontsize=11, color=INK)
    cell(axes, 20 - 14 - 1, 3.5, colour=SA1)
    stuck = placement.weights_at(2 * 16 + 14)[0]
    for bit in (15, 8, 7, 0):
        say(axes, 20 - bit - 0.5, 1.1, str(bit), "center", GREY, 9)
    say(axes, 3.6, 1.1, "bit", "right", GREY, 9)
    axes.annotate("", xy=(5.5, 4.55), xytext=(5.5, 6.3), arrowprops={"arrowstyle": "-|>", "color": SA1, "lw": 1.6})
    say(axes, 4, 6.7, f"cell 2 · 16 + 14 = {2 * 16 + 14} holds {stuck}, and is stuck at 1")
    figure.savefig(HERE / "concept_memory.png", dpi=150)


def codes() -> None:
    """What is wanted, written and read back: plain and nearest."""
    wanted, stuck_bit = 74, 3
    sa0, sa1 = [1 << stuck_bit], [0]
    nearest = int(nearest_reachable([wanted], sa0=sa0, sa1=sa1, **EIGHT)[0])
    figure, axes = sheet(24, 11)
    for x, heading, written in ((4.5, "plain: write what is wanted", wanted), (15, "nearest: write what can be read", nearest)):
        say(axes, x + 4, 0.8, heading, "center")
        back = int(read_back([written], sa0=sa0, sa1=sa1, **EIGHT)[0])
        for y, name, code in ((1.8, "wanted", wanted), (4.2, "written", written), (8.2, "read back", back)):
            if x < 10:
                say(axes, 3.9, y + 0.5, name, "right")
            for place, digit in enumerate(bits(code)):
                lost = name == "read back" and 7 - place == stuck_bit
                cell(axes, x + place, y, digit, SA0 if lost else HEALTHY, "white" if lost else INK)
            say(axes, x + 8.1, y + 0.5, f" {code}", "left", INK, 12)
        for place in range(8):
            stuck = 7 - place == stuck_bit
            cell(axes, x + place, 6.2, "0" if stuck else "", SA0 if stuck else "#e3e6ea", "white")
        say(axes, x + 4, 10.1, f"off by {abs(back - wanted)}", "center")
    say(axes, 3.9, 6.7, "cells", "right")
    figure.savefig(HERE / "concept_codes.png", dpi=150)


def merging() -> None:
    """Three maps, their union and a conflict."""
    geometry = tm.Memory(words=5, word_bits=6)
    stuck = [({3: 1, 8: 0, 20: 1}), ({8: 1, 13: 0}), ({3: 1, 26: 0})]
    chips = [
        tm.FaultMap(geometry, sorted(m), [m[c] for c in sorted(m)], chip=f"chip {n}") for m, n in zip(stuck, "ABC", strict=True)
    ]
    merged = tm.merge(chips, on_conflict="free")
    figure, axes = sheet(31, 8.6)
    for number, fault_map in enumerate(chips):
        draw_map(axes, 0.5 + 7.3 * number, fault_map, str(fault_map.chip))
    for x in (6.9, 14.2):
        say(axes, x + 0.25, 4, "+", "center", INK, 15)
    say(axes, 22.0, 4, "=", "center", INK, 15)
    draw_map(axes, 23.5, tm.FaultMap(geometry, merged.cells, merged.stuck_at), "merged", [int(c) for c in merged.conflicts])
    for x, colour, text in (
        (0.5, SA0, "stuck at 0"),
        (7.8, SA1, "stuck at 1"),
        (15.1, BOTH, "conflict: 0 on one chip, 1 on another"),
    ):
        cell(axes, x, 7.2, colour=colour)
        say(axes, x + 1.3, 7.7, text)
    figure.savefig(HERE / "concept_merge.png", dpi=150)


def draw_map(axes: Axes, x: float, fault_map: tm.FaultMap, title: str, conflicts: list[int] | None = None) -> None:
    """The cells of a small memory."""
    geometry = fault_map.memory
    colours = dict(zip(fault_map.cells.tolist(), [(SA0, SA1)[v] for v in fault_map.stuck_at.tolist()], strict=True))
    colours.update(dict.fromkeys(conflicts or [], BOTH))
    values = dict(zip(fault_map.cells.tolist(), map(str, fault_map.stuck_at.tolist()), strict=True))
    values.update(dict.fromkeys(conflicts or [], "?"))
    say(axes, x + 3, 0.8, title, "center")
    for word in range(geometry.words):
        for bit in range(geometry.word_bits):
            number = word * geometry.word_bits + bit
            at = x + geometry.word_bits - 1 - bit
            cell(axes, at, 1.5 + word, values.get(number, ""), colours.get(number, HEALTHY), "white")


def certificates() -> None:
    """One memory image on two chips: stuck cells that agree with what is stored do no harm."""
    geometry = tm.Memory(words=2, word_bits=8)
    placement = linear_placement([LayerCodes("fc", (1, 2), 8, "twos_complement")], geometry)
    image = tm.MemoryImage(placement, {"fc": np.array([[74, -3]], dtype=np.int32)})
    chips = [
        tm.FaultMap(geometry, [3, 12], [1, 1], chip="chip A"),
        tm.FaultMap(geometry, [3, 9], [1, 1], chip="chip B"),
    ]
    figure, axes = sheet(25, 8.4)
    say(axes, 4.3, 0.8, "memory image", "center")
    written = image.codes["fc"].reshape(-1).tolist()
    for word, code in enumerate(written):
        for place, digit in enumerate(bits(code)):
            cell(axes, 0.3 + place, 1.5 + word, digit)
    for number, chip in enumerate(chips):
        y = 1.5 + 4.6 * number
        stuck = dict(zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True))
        say(axes, 14.0, y - 0.7, f"{chip.chip}: what is read", "center")
        for word, code in enumerate(written):
            for place, digit in enumerate(bits(code)):
                at = word * 8 + 7 - place
                if at in stuck:
                    cell(axes, 10 + place, y + word, str(stuck[at]), SA1, "white")
                else:
                    cell(axes, 10 + place, y + word, digit)
        found = tm.placement.certificate(image, chip)
        text = "bit-exact" if found.bit_exact else f"{found.weights_that_differ} weight differs"
        say(axes, 18.6, y + 1, text, "left", "#4a7a2c" if found.bit_exact else "#b3261e", 13)
    figure.savefig(HERE / "concept_certificate.png", dpi=150)


if __name__ == "__main__":
    memory()
    codes()
    merging()
    certificates()
