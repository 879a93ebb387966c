"""Spare rows and columns that chips use before their channels are ordered; as arrays for a file, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.array.repair import Repair, repaired
from tremap_brevitas.reading import reading

_KINDS = ("rows", "columns")


@dataclass(frozen=True)
class SpareLines:
    """The rows and columns of one chip that spare ones replace, and where they lie.

    Attributes:
        repair: The lines.
        geometry: Where the chip's cells lie.

    Examples:
        >>> from tremap_brevitas import Memory
        >>> memory = Memory(words=8, word_bits=4)
        >>> spares = SpareLines(Repair(rows=((0, 1),)), ArrayGeometry(memory))
        >>> spares.left(FaultMap(memory, cells=[4, 5, 14], stuck_at=[0, 1, 1])).cells
        array([14])
    """

    repair: Repair
    geometry: ArrayGeometry

    def left(self, chip: FaultMap) -> FaultMap:
        """The stuck cells that are left; the same for a map from which the lines were taken away before.

        Raises:
            ValueError: If the map is of another memory.
        """
        return repaired(chip, self.repair, geometry=self.geometry)


def spare_arrays(spares: Sequence[SpareLines]) -> dict[str, NDArray[Any]]:
    """The lines of all chips, one chip after the other, each as kind, bank and number, and how many each has."""
    if not spares:
        return {}
    lines = [(kind, *line) for used in spares for kind, name in enumerate(_KINDS) for line in getattr(used.repair, name)]
    return {
        "spare_lines": np.array(lines, dtype=np.int32).reshape(-1, 3),
        "spares": np.array([len(used.repair) for used in spares], dtype=np.int32),
    }


def spares_of(geometry: ArrayGeometry | None, arrays: dict[str, NDArray[Any]], chips: Sequence[str]) -> list[SpareLines | None]:
    """The inverse of ``spare_arrays``.

    Args:
        geometry: Where the cells lie; None: no chip has spares.
        arrays: Arrays of the file.
        chips: Names of the chips.

    Raises:
        ValueError: If an array is missing, has another shape, or names a line that is none; names the chip.
    """
    if geometry is None:
        return [None] * len(chips)
    counts, lines = arrays["spares"], arrays["spare_lines"]
    for name, array, shape in (("spares", counts, (len(chips),)), ("spare_lines", lines, (int(counts.sum()), 3))):
        if array.shape != shape or array.dtype.kind != "i" or (name == "spares" and counts.min(initial=0) < 0):
            raise ValueError(f"{name} has shape {array.shape} of {array.dtype}, expected numbers of shape {shape}")
    nothing = FaultMap(geometry.memory, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint8))
    result: list[SpareLines | None] = []
    for chip, part in zip(chips, np.split(lines, np.cumsum(counts)[:-1]), strict=True):
        with reading(f"chip {chip!r}", "a list of replaced rows and columns"):
            if not np.isin(part[:, 0], (0, 1)).all():
                raise ValueError(f"a spare line must be a row (0) or a column (1), got {part[:, 0].tolist()}")
            rows, columns = ([(bank, line) for kind, bank, line in part.tolist() if kind == wanted] for wanted in (0, 1))
            spares = SpareLines(Repair(rows=tuple(rows), columns=tuple(columns)), geometry)
            spares.left(nothing)  # checks that there are such lines
            result.append(spares)
    return result
