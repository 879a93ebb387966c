"""Draw docs/idea.png, the picture in the README: python docs/draw_idea.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import tremap_brevitas as tm

INK, GREY, SA0, SA1, BOTH = "#222222", "#9aa0a6", "#2f6fb0", "#d1641c", "#7a3fa0"
COLOURS = ListedColormap(["#f1f3f4", SA0, SA1, BOTH])


def grid(fault_map: tm.FaultMap, conflicts: np.ndarray | None = None) -> np.ndarray:
    """Cells as a picture: 0 healthy, 1 stuck at 0, 2 stuck at 1, 3 conflict."""
    picture = np.zeros(fault_map.memory.cells, dtype=int)
    picture[fault_map.cells] = 1 + fault_map.stuck_at
    if conflicts is not None:
        picture[conflicts] = 3
    return picture.reshape(fault_map.memory.words, fault_map.memory.word_bits)


def main() -> None:
    """Draw the picture and write it beside this file."""
    memory = tm.Memory(words=10, word_bits=12)
    chips = tm.random_fault_maps(memory, chips=3, fault_rate=0.09, seed=3)
    merged = tm.merge(chips, on_conflict="majority")
    figure = Figure(figsize=(11, 3.5))
    FigureCanvasAgg(figure)

    def panel(left: float, bottom: float, width: float, height: float, picture: np.ndarray, title: str) -> None:
        axes = figure.add_axes((left, bottom, width, height))
        axes.pcolormesh(picture, cmap=COLOURS, vmin=0, vmax=3, edgecolors="white", linewidth=0.8)
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(GREY)
        axes.set_title(title, fontsize=10, color=INK, pad=4)

    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set_axis_off()
    canvas.set_xlim(0, 1)
    canvas.set_ylim(0, 1)

    def arrow(x0: float, y0: float, x1: float, y1: float) -> None:
        canvas.annotate("", xy=(x1, y1), xytext=(x0, y0), arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 1.5})

    for index, chip in enumerate(chips):
        panel(0.03, 0.70 - 0.30 * index, 0.12, 0.22, grid(chip), f"chip {'ABC'[index]}: stuck cells")
        arrow(0.16, 0.81 - 0.30 * index, 0.235, 0.53)
    panel(0.25, 0.30, 0.19, 0.42, grid(merged, merged.conflicts), "merged: one map for the group")
    canvas.text(
        0.345, 0.22, "cells stuck at 0 on one chip and at 1\non another are conflicts", ha="center", va="top", fontsize=8.5
    )
    arrow(0.45, 0.51, 0.50, 0.51)
    box = {"boxstyle": "round,pad=0.7", "facecolor": "#eef3f9", "edgecolor": SA0}
    text = "one preparation\nwith Brevitas\n\nother codes, no training,\nor one retraining\nthat reads from\nthe faulty memory"
    canvas.text(0.595, 0.51, text, ha="center", va="center", fontsize=10, bbox=box, color=INK)
    arrow(0.69, 0.51, 0.735, 0.51)
    box["facecolor"], box["edgecolor"] = "#f3f7f0", "#5b8c3a"
    canvas.text(0.80, 0.51, "codes that\nsatisfy every\nstuck bit", ha="center", va="center", fontsize=10, bbox=box)
    for index in range(3):
        y = 0.81 - 0.30 * index
        arrow(0.86, 0.55 - 0.04 * index, 0.902, y)
        canvas.text(
            0.908,
            y,
            f"chip {'ABC'[index]} reads\nthe same network\n(but at conflicts)",
            ha="left",
            va="center",
            fontsize=8,
            color=INK,
        )
    for x, colour, label in ((0.27, SA0, "stuck at 0"), (0.36, SA1, "stuck at 1"), (0.45, BOTH, "conflict")):
        canvas.scatter([x], [0.06], marker="s", s=60, color=colour)
        canvas.text(x + 0.012, 0.06, label, va="center", fontsize=9)
    figure.savefig(Path(__file__).with_name("idea.png"), dpi=120)


if __name__ == "__main__":
    main()
