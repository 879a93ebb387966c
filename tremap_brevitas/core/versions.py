"""Brevitas versions that the package was tested with; it uses private parts, listed in CONTRIBUTING.md."""

from __future__ import annotations

import warnings
from importlib import metadata

TESTED = ("0.13.3", "0.13.4")


def check_brevitas(version: str | None = None) -> None:
    """Warn if the installed Brevitas version was not tested.

    Args:
        version: Such as ``"0.13.4"``; None for the one that is installed.

    Examples:
        >>> check_brevitas("0.13.4")
    """
    import brevitas

    version = str(getattr(brevitas, "__version__", None) or metadata.version("brevitas")) if version is None else version
    if version.split("+")[0] not in TESTED:
        warnings.warn(
            f"brevitas {version} was not tested with tremap_brevitas, which uses private parts of it: faults may be lost "
            f"without an error. Tested: {', '.join(TESTED)}; pip install brevitas=={TESTED[-1]}",
            UserWarning,
            stacklevel=2,
        )
