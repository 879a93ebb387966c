"""The tour's pictures need the notebook's own backend of matplotlib, whatever the environment names."""

from __future__ import annotations

import os


def on_startup(*, command: str, dirty: bool) -> None:
    """Forget a backend that draws nothing on a page."""
    os.environ.pop("MPLBACKEND", None)
