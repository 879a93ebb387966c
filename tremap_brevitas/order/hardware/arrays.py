"""The settings of many chips as arrays for a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import Memory
from tremap_brevitas.order.hardware.hardware import Hardware
from tremap_brevitas.order.hardware.setting import HardwareSetting
from tremap_brevitas.reading import reading

_COUNTED = ("rows", "amounts", "inverted")  # chip after chip; "rows" and "amounts" are as many


def setting_arrays(settings: Sequence[HardwareSetting]) -> dict[str, NDArray[Any]]:
    """Return keys of all chips, and their rows, amounts and inverted groups, chip by chip; nothing without settings."""
    if not settings:
        return {}
    arrays: dict[str, NDArray[Any]] = {"keys": np.stack([setting.keys for setting in settings]).astype(np.int32)}
    for name in _COUNTED:
        arrays[name] = np.concatenate([getattr(setting, name) for setting in settings]).astype(np.int32)
    counts = [[len(setting.rows), len(setting.inverted)] for setting in settings]
    arrays["set"] = np.array(counts, dtype=np.int32)
    return arrays


def settings_of(
    hardware: Hardware | None, memory: Memory, arrays: dict[str, NDArray[Any]], chips: Sequence[str]
) -> list[HardwareSetting | None]:
    """Return the settings of chips from arrays; the inverse of ``setting_arrays``.

    Args:
        hardware: Hardware of the accelerator; None: no chip has a setting.
        memory: The placement's memory.
        arrays: Arrays of the file.
        chips: Names of the chips.

    Raises:
        ValueError: If an array is missing, has another shape, or a value that the hardware cannot have; names the chip.
    """
    if hardware is None:
        return [None] * len(chips)
    hardware.check(memory)
    counts = arrays["set"]
    banks = memory.words // hardware.scramble if hardware.scramble else 0
    if counts.shape != (len(chips), 2) or counts.dtype.kind != "i" or counts.min(initial=0) < 0:
        raise ValueError(f"set has shape {counts.shape} of {counts.dtype}, expected counts of shape {(len(chips), 2)}")
    rows, inverted = (int(n) for n in counts.sum(axis=0))
    expected = {"keys": (len(chips), banks), "rows": (rows,), "amounts": (rows,), "inverted": (inverted,)}
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype.kind != "i":
            raise ValueError(f"{name} has shape {array.shape} of {array.dtype}, expected integers of shape {shape}")
    begins = np.vstack([[0, 0], np.cumsum(counts, axis=0)]).tolist()
    settings: list[HardwareSetting | None] = []
    for number, chip in enumerate(chips):
        (first_row, first_group), (last_row, last_group) = begins[number : number + 2]
        with reading(f"chip {chip!r}", "a setting of the hardware"):
            settings.append(
                HardwareSetting(
                    hardware,
                    memory,
                    arrays["keys"][number],
                    arrays["rows"][first_row:last_row],
                    arrays["amounts"][first_row:last_row],
                    arrays["inverted"][first_group:last_group],
                )
            )
    return settings
