"""Create figures without a display and save them atomically; needs matplotlib (extra ``plot``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tremap_brevitas.files import atomic_file
from tremap_brevitas.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure, width and height in inches, without pyplot, so that no window opens.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plotting needs matplotlib: pip install 'tremap_brevitas[plot]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Save a figure atomically if a path is given, and return it.

    Args:
        figure: The figure.
        path: File to write; its ending chooses the format, PNG without one. None writes nothing.

    Raises:
        ValueError: If matplotlib cannot write that format.
    """
    if path is not None:
        target = Path(path)
        with atomic_file(target) as draft:
            figure.savefig(draft, dpi=130, format=target.suffix[1:] or "png")
    return figure


def plain(name: str) -> str:
    r"""Escape ``$`` in a name, which matplotlib would interpret as mathematics.

    Examples:
        >>> plain("lot $7$")
        'lot \\$7\\$'
    """
    return printable(name).replace("$", r"\$")
