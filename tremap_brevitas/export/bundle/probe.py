"""The probe of a bundle: inputs, and what the network makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tremap_brevitas.archive import read_archive, write_archive

PROBE_KIND = "tremap probe"
PROBE_SCHEMA = 1


def write_probe(path: Path, inputs: NDArray[Any], outputs: NDArray[Any]) -> Path:
    """Write a probe; the file appears whole or not at all."""
    arrays = {"inputs": inputs, "outputs": outputs}
    return write_archive(path, kind=PROBE_KIND, schema=PROBE_SCHEMA, header={}, arrays=arrays)


def read_probe(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs and outputs of a probe.

    Raises:
        ValueError: If the file is damaged or no probe.
    """
    _, arrays = read_archive(path, kind=PROBE_KIND, schema=PROBE_SCHEMA)
    if set(arrays) != {"inputs", "outputs"}:
        raise ValueError(f"{path}: damaged {PROBE_KIND}: holds {sorted(arrays)}")
    return arrays["inputs"], arrays["outputs"]
