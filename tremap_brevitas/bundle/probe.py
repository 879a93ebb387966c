"""The probe of a bundle: sample inputs and the network's outputs for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tremap_brevitas.archive import read_archive, write_archive

PROBE_KIND = "tremap probe"
PROBE_SCHEMA = 2

Arrays = tuple[NDArray[Any], ...]


def write_probe(path: Path, inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]) -> Path:
    """Write a probe, with one array for each input and output of the network, atomically."""
    if len(inputs) == len(outputs) == 1:  # schema 1 knows one of each only, and all versions read it
        schema, arrays = 1, {"inputs": inputs[0], "outputs": outputs[0]}
    else:
        schema = PROBE_SCHEMA
        arrays = {f"{what}_{i}": x for what, all_ in (("input", inputs), ("output", outputs)) for i, x in enumerate(all_)}
    return write_archive(path, kind=PROBE_KIND, schema=schema, header={}, arrays=arrays)


def read_probe(path: Path) -> tuple[Arrays, Arrays]:
    """Return the input arrays and the output arrays of a probe.

    Raises:
        ValueError: If the file is damaged or not a probe.
    """
    _, arrays = read_archive(path, kind=PROBE_KIND, schema=PROBE_SCHEMA)
    if set(arrays) == {"inputs", "outputs"}:
        return (arrays["inputs"],), (arrays["outputs"],)
    count = sum(name.startswith("input_") for name in arrays)
    names = [f"input_{i}" for i in range(count)], [f"output_{i}" for i in range(len(arrays) - count)]
    if not all(names) or set(arrays) != {*names[0], *names[1]}:
        raise ValueError(f"{path}: damaged {PROBE_KIND}: holds {sorted(arrays)}")
    inputs, outputs = (tuple(arrays[name] for name in several) for several in names)
    return inputs, outputs
