"""Chips that store a bundle's network in their own channel order. Needs neither torch nor Brevitas."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from tqdm import tqdm

from tremap_brevitas.bundle.read import Bundle
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placement.certificate import Certificate, certificate_of
from tremap_brevitas.printable import counted

if TYPE_CHECKING:
    from tremap_brevitas.order import ChipOrder

    Orders = str | os.PathLike[str] | Iterable[ChipOrder]


def certificates_in_order(
    bundle: Bundle, chips: Sequence[FaultMap], orders: Orders, *, progress: bool
) -> tuple[list[Certificate], list[str]]:
    """Compare what each chip reads in its own channel order with the integers in the ONNX files.

    Args:
        bundle: The bundle, with its groups of channels.
        chips: Fault maps.
        orders: An order for each of them, or the file that holds them.
        progress: Whether to show a progress bar on standard error.

    Returns:
        A certificate for each chip, in the network's own order, and a sentence for everything that contradicts an order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the bundle has no groups of channels, the orders are damaged or of another network, a chip has none, or
            is of another memory.
    """
    from tremap_brevitas.order.check import read_and_checked

    known = KnownOrders(bundle, orders)
    proofs: list[Certificate] = []
    problems: list[str] = []
    for chip in tqdm(chips, desc="chips", unit="chip", leave=False, disable=not progress):
        codes, wrong = read_and_checked(known.of(chip), chip)
        problems += wrong
        proofs.append(certificate_of(chip.chip, bundle.image, codes))
    return proofs, problems


class KnownOrders:
    """Orders of a bundle's chips, to be looked up.

    Args:
        bundle: The bundle, with its groups of channels.
        orders: Orders, or the file that holds them.

    Attributes:
        hardware: What the accelerator has beside free channels; None for nothing.
        memory: That of the chips' fault maps: wider than the placement's where flags and amounts have cells.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the bundle has no groups of channels, or the orders are damaged or of another network.
    """

    def __init__(self, bundle: Bundle, orders: Orders) -> None:
        from tremap_brevitas.order import load_orders

        if isinstance(orders, (str, os.PathLike)):
            self._where, given = os.fsdecode(orders), list(load_orders(orders, bundle.image, bundle.groups()))
        else:
            self._where, given = "orders", list(orders)
            check_orders(bundle, given)
        first = given[0].hardware if given else None
        self.hardware = None if first is None else first.hardware
        self.memory = given[0].memory if given else bundle.image.placement.memory
        self._by_name = {order.chip: order for order in given}
        self._by_map = {order.fault_map: order for order in given}

    def of(self, chip: FaultMap) -> ChipOrder:
        """The order of a chip: its own if it was found for its map, else one that was, else its own for another map.

        Raises:
            ValueError: If there is none.
        """
        own = self._by_name.get(chip.chip)
        if own is not None and own.left_by_spares(chip).digest == own.fault_map:
            return own
        order = self._by_map.get(chip.digest) or own
        if order is None:
            raise ValueError(f"{self._where}: no order of chip {chip.chip!r}; it has {counted(len(self._by_name), 'chip')}")
        return order

    def without_hardware(self, chip: FaultMap, *, flow: str) -> tuple[ChipOrder, tuple[str, ...]]:
        """The order of a chip for a flow that has no hardware for it, and a sentence for everything that is not as it says.

        Args:
            chip: The chip's fault map.
            flow: Name of the flow, for the error.

        Raises:
            ValueError: If there is none, or it needs hardware.
        """
        from tremap_brevitas.order import check_order

        order = self.of(chip)
        if order.hardware is not None:
            raise ValueError(
                f"chip {chip.chip!r}: its order needs hardware that {flow} does not have: {order.hardware.hardware}"
            )
        return order, check_order(order, chip)


def check_orders(bundle: Bundle, orders: Iterable[ChipOrder]) -> None:
    """Check that channel orders belong to a bundle's network and its groups of channels.

    Raises:
        ValueError: If one is not, or the bundle has no groups of channels.
    """
    from tremap_brevitas.order import groups_digest

    digest, known = groups_digest(bundle.groups()), None
    for order in orders:
        if order.network.digest != bundle.image.digest:
            raise ValueError(
                f"{bundle.folder}: the order of chip {order.chip!r} is of a network of digest {order.network.digest}, the "
                f"bundle's is {bundle.image.digest}"
            )
        if order.groups is not known and groups_digest(order.groups) != digest:
            raise ValueError(
                f"{bundle.folder}: the order of chip {order.chip!r} is of other groups of channels than the bundle's"
            )
        known = order.groups


def read_in_own_order(bundle: Bundle, chip: FaultMap, order: ChipOrder) -> dict[str, NDArray[Any]]:
    """Return the codes that a chip reads in its own channel order, restored to the network's order.

    Raises:
        ValueError: If the order is of another network or chip, or does not hold what it says.
    """
    from tremap_brevitas.order.check import read_and_checked

    check_orders(bundle, [order])
    codes, wrong = read_and_checked(order, chip)
    if wrong:
        raise ValueError(f"{bundle.folder}: {'; '.join(wrong)}")
    return codes
