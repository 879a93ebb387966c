"""What all pictures share: a figure without a window, and a file written atomically. Needs matplotlib (extra ``plot``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tremap_brevitas.files import atomic_file
from tremap_brevitas.printable import printable


def new_figure(width: float, height: float) -> Any:
    """Make a figure, its size in inches.

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


def save_figure(figure: Any, path: str | os.PathLike[str]) -> Path:
    """Write a figure; the ending of ``path`` chooses the format, PNG without one.

    Raises:
        ValueError: If matplotlib cannot write that format.
    """
    target = Path(path)
    with atomic_file(target) as draft:
        figure.savefig(draft, dpi=130, format=target.suffix[1:] or "png")
    return target


def plain(name: str) -> str:
    r"""A name for a picture as it stands: matplotlib would set what lies between two ``$`` as mathematics, or fail at it.

    Examples:
        >>> plain("lot $7$")
        'lot \\$7\\$'
    """
    return printable(name).replace("$", r"\$")
