"""Save the channel orders of chips."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.archive import read_archive, write_archive
from tremap_brevitas.codes import code_range, decode
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.order.chip_order import ChipOrder
from tremap_brevitas.order.fleet import FleetOrders, hardware_of
from tremap_brevitas.order.groups import ChannelGroup, Index, checked_orders
from tremap_brevitas.order.groups_file import groups_digest
from tremap_brevitas.order.hardware import Hardware, HardwareSetting
from tremap_brevitas.order.hardware.arrays import setting_arrays, settings_of
from tremap_brevitas.order.network import Network
from tremap_brevitas.order.spares import SpareLines, spare_arrays, spares_of
from tremap_brevitas.placement import LayerDifference, MemoryImage
from tremap_brevitas.reading import reading

KIND = "tremap orders"
SCHEMA = 3  # 1: no hardware; 2: no spare lines


class _Chip(msgspec.Struct):
    chip: str
    fault_map: str
    faults: int
    wrong_as_it_lies: int
    unavoidable: int


class _Hardware(msgspec.Struct):
    scramble: int
    rotate: int
    amounts: int | None
    invert: int


class _Header(msgspec.Struct):
    image: str
    groups: str
    chips: list[_Chip]
    hardware: _Hardware | None = None
    geometry: dict[str, Any] | None = None  # where spare lines lie


class OrdersFile:
    """Collects the orders of chips one by one, keeping only what is written to the file.

    Args:
        image: The network that the orders are of.
        groups: Its groups of channels.
    """

    def __init__(self, image: MemoryImage, groups: Sequence[ChannelGroup]) -> None:
        self.image, self.groups = image, tuple(groups)
        self._layers = {layer.name: number for number, layer in enumerate(image.placement.layers)}
        # Distance of each slot's channel from its own slot: nearly all zeros, which compress to nothing.
        self._at_home = np.concatenate([np.arange(group.channels) for group in self.groups] or [np.empty(0, dtype=np.int64)])
        self._chips: list[_Chip] = []
        self._moves: list[NDArray[np.int32]] = []
        self._counts: list[NDArray[np.int32]] = []
        self._settings: list[HardwareSetting | None] = []
        self._spares: list[SpareLines | None] = []
        self._weight, self._read = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int32)]

    def add(self, order: ChipOrder) -> None:
        """Add a chip's order.

        Raises:
            ValueError: If it is of another network.
        """
        if order.network is not self.image and order.network.digest != self.image.digest:
            raise ValueError(f"chip {order.chip!r}: its order is of another network than the others")
        if self._settings and hardware_of(order) != self._hardware:
            raise ValueError(f"chip {order.chip!r}: its order is of {hardware_of(order)}, the others' of {self._hardware}")
        if self._spares and (order.spares and order.spares.geometry) != self._geometry:
            raise ValueError(f"chip {order.chip!r}: its spare rows and columns lie in another array than the others'")
        self._settings.append(order.hardware)
        self._spares.append(order.spares)
        counts = np.zeros(len(self._layers), dtype=np.int32)
        for difference in sorted(order.differences, key=lambda d: self._layers[d.layer]):
            counts[self._layers[difference.layer]] = len(difference.weight)
            self._weight.append(difference.weight)
            self._read.append(difference.read)
        channels = np.concatenate([order.orders[group.name] for group in self.groups] or [self._at_home])
        self._chips.append(_Chip(order.chip, order.fault_map, order.faults, order.wrong_as_it_lies, order.unavoidable))
        self._moves.append((channels - self._at_home).astype(np.int32))
        self._counts.append(counts)

    @property
    def _hardware(self) -> Hardware | None:
        return None if self._settings[0] is None else self._settings[0].hardware

    @property
    def _geometry(self) -> ArrayGeometry | None:
        return None if self._spares[0] is None else self._spares[0].geometry

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the collected orders; see [save_orders][tremap_brevitas.order.save_orders].

        Raises:
            ValueError: If there is no order.
        """
        if not self._chips:
            raise ValueError(f"{path}: no order to write")
        header = {
            "image": self.image.digest,
            "groups": groups_digest(self.groups),
            "chips": [msgspec.to_builtins(chip) for chip in self._chips],
            "hardware": None if self._hardware is None else asdict(self._hardware),
            "geometry": None if self._geometry is None else self._geometry.description(),
        }
        arrays: dict[str, NDArray[Any]] = {
            "moves": np.stack(self._moves),
            "counts": np.stack(self._counts),
            "weight": np.concatenate(self._weight),
            "read": np.concatenate(self._read),
            **setting_arrays([setting for setting in self._settings if setting is not None]),
            **spare_arrays([spares for spares in self._spares if spares is not None]),
        }
        return write_archive(path, kind=KIND, schema=SCHEMA, header=header, arrays=arrays)


def save_orders(orders: FleetOrders | Iterable[ChipOrder], path: str | os.PathLike[str]) -> Path:
    """Write the orders of chips to one compressed file without pickle, atomically.

    A chip of a ResNet-18 takes some 3 kB. The network itself is not in the file: only its digest is.

    Raises:
        ValueError: If there is no order, or two are of different networks.
    """
    fleet = orders if isinstance(orders, FleetOrders) else FleetOrders(tuple(orders))
    file = OrdersFile(fleet.orders[0].network, fleet.orders[0].groups)
    for order in fleet:
        file.add(order)
    return file.save(path)


def load_orders(path: str | os.PathLike[str], image: MemoryImage, groups: Sequence[ChannelGroup]) -> FleetOrders:
    """Read orders that [save_orders][tremap_brevitas.order.save_orders] wrote.

    The codes that a chip reads, according to the file, are only checked for plausibility;
    [check_order][tremap_brevitas.order.check_order] proves them.

    Args:
        path: The file.
        image: The network that the orders are of.
        groups: Its groups of channels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds no orders, one that is not a permutation, those of another network, or a table
            keys, amounts or flags that the hardware cannot have, or spare lines that are none of the array.
    """
    header, arrays = read_archive(path, kind=KIND, schema=SCHEMA)
    with reading(path, f"a file of {KIND}"):
        said = msgspec.convert(header, _Header)
        groups = tuple(groups)
        for what, mine, its in (("image", image.digest, said.image), ("groups", groups_digest(groups), said.groups)):
            if mine != its:
                raise ValueError(f"{path}: is of another network: its {what} have digest {its}, those given {mine}")
        slots, layers = sum(group.channels for group in groups), len(image.placement.layers)
        moves, counts, weight, read = (arrays[name] for name in ("moves", "counts", "weight", "read"))
        for name, array, shape in (
            ("moves", moves, (len(said.chips), slots)),
            ("counts", counts, (len(said.chips), layers)),
            ("weight", weight, (int(counts.sum()),)),
            ("read", read, (int(counts.sum()),)),
        ):
            if array.shape != shape or array.dtype.kind != "i" or (name == "counts" and counts.min(initial=0) < 0):
                raise ValueError(f"{name} has shape {array.shape} of {array.dtype}, expected integers of shape {shape}")
        begins = np.cumsum(np.append(0, counts.reshape(-1)))
        network = Network(image, groups)
        hardware = None if said.hardware is None else Hardware(**msgspec.structs.asdict(said.hardware))
        names = [chip.chip for chip in said.chips]
        settings = settings_of(hardware, image.placement.memory, arrays, names)
        geometry = None if said.geometry is None else ArrayGeometry.of_description(said.geometry)
        spares = spares_of(geometry, arrays, names)
        orders = []
        for row, chip in enumerate(said.chips):
            order, begin = {}, 0
            for group in groups:
                order[group.name] = moves[row, begin : begin + group.channels] + np.arange(group.channels)
                begin += group.channels
            pieces = [slice(*begins[row * layers + n : row * layers + n + 2]) for n in range(layers)]
            with reading(f"{path}: chip {chip.chip!r}", "an order"):
                orders.append(
                    ChipOrder(
                        *(chip.chip, chip.fault_map, image, groups, order),
                        _differences(network, order, [(weight[p], read[p]) for p in pieces]),
                        *(chip.faults, chip.wrong_as_it_lies, chip.unavoidable, settings[row], spares[row]),
                    )
                )
        return FleetOrders(tuple(orders))


def hardware_in(path: str | os.PathLike[str]) -> Hardware | None:
    """Return the hardware that the orders of a file are for; None for none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or holds no orders.
    """
    header, _ = read_archive(path, kind=KIND, schema=SCHEMA)
    with reading(path, f"a file of {KIND}"):
        said = msgspec.convert(header, _Header).hardware
        return None if said is None else Hardware(**msgspec.structs.asdict(said))


def _differences(
    network: Network, orders: Mapping[str, Index], claimed: Sequence[tuple[NDArray[np.int64], NDArray[np.int32]]]
) -> tuple[LayerDifference, ...]:
    """Return the differences stated in a file, with the codes at these positions in order.

    Raises:
        ValueError: If a weight is not in its layer, a code does not fit, or the two do not differ.
    """
    checked = list(checked_orders(network.groups, orders).values())
    result = []
    for entry, (weight, read) in zip(network.layers, claimed, strict=True):
        layer = entry.layer
        if not len(weight):
            continue
        if weight.min() < 0 or weight.max() >= layer.size or np.any(np.diff(weight) <= 0):
            raise ValueError(f"layer {layer.name!r}: its wrong codes are not ascending indices of weights below {layer.size}")
        low, high = code_range(bit_width=layer.bit_width, encoding=layer.encoding)
        stored = network.stored[entry.source(entry.coordinates(weight), checked)]
        wanted = decode(stored, bit_width=layer.bit_width, encoding=layer.encoding)
        if read.min() < low or read.max() > high or np.any(read == wanted):
            raise ValueError(f"layer {layer.name!r}: a code listed as misread is out of range, or is read correctly")
        result.append(LayerDifference(layer.name, weight.astype(np.int64), wanted, read.astype(np.int32)))
    return tuple(result)
