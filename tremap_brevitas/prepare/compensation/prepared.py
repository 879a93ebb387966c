"""The chips of a fleet, each with a network of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placed.identity import network_digest
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.prepare.compensation.report import CompensationReport
from tremap_brevitas.report.fleet_report import FleetReport


@dataclass(frozen=True, eq=False)
class PreparedChip:
    """One chip's compensated network, stored as its difference from the healthy one.

    Attributes:
        fault_map: The chip's map.
        codes: Codes that the network computes with, by layer; read-only.
        state: Entries of the state dict that differ from the healthy network's: weights, BatchNorms, biases; read-only.
        report: Report of the compensation.
        accuracy: Accuracy that ``evaluate`` measured; None without it.
    """

    fault_map: FaultMap
    codes: Mapping[str, NDArray[np.int32]]
    state: Mapping[str, NDArray[Any]]
    report: CompensationReport
    accuracy: float | None

    def __post_init__(self) -> None:
        for name in ("codes", "state"):
            arrays = {key: np.array(value) for key, value in getattr(self, name).items()}
            for array in arrays.values():
                array.flags.writeable = False
            object.__setattr__(self, name, MappingProxyType(arrays))

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedChip, (self.fault_map, dict(self.codes), dict(self.state), self.report, self.accuracy)


@dataclass(frozen=True, eq=False)
class PreparedFleet:
    """The chips of a fleet, each compensated by itself; made by ``prepare_fleet``.

    Attributes:
        chips: In the order in which they were given.
        network: Digest of the healthy network.
        report: Accuracy of every chip; prints as a table. None if none was measured.
    """

    chips: tuple[PreparedChip, ...]
    network: str
    report: FleetReport | None = None

    def chip(self, which: int | str) -> PreparedChip:
        """Return one chip, selected by its number or its name.

        Raises:
            KeyError: If no chip has the name, or several have.
            IndexError: If there are fewer chips.
        """
        if not isinstance(which, str):
            return self.chips[which]
        named = [chip for chip in self.chips if chip.fault_map.chip == which]
        if len(named) != 1:
            raise KeyError(f"{len(named)} of {len(self.chips)} chips are called {which!r}; give a number")
        return named[0]

    def apply_(self, net: PlacedState, which: int | str) -> None:
        """Turn a healthy network into that of one chip, with the chip's faults set, in place.

        Args:
            net: The network that the fleet was prepared from, or its twin.
            which: Number or name of the chip.

        Raises:
            KeyError: If no chip has the name, or several have.
            IndexError: If there are fewer chips.
            ValueError: If it is another network.
        """
        chip, now = self.chip(which), network_digest(net.model)
        if now != self.network:
            raise ValueError(f"the fleet was prepared from a network with digest {self.network[:16]}, this one has {now[:16]}")
        net.set_faults_(chip.fault_map)
        with torch.no_grad():
            for key, value in net.model.state_dict().items():
                if key in chip.state:
                    value.copy_(torch.from_numpy(chip.state[key].copy()))
