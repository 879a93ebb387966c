"""Find channel orders for a fleet of chips, sequentially or on several cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from tremap_brevitas.cluster.ahead import Ahead
from tremap_brevitas.cluster.folder import RunFolder
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.order.chip_order import ChipOrder
from tremap_brevitas.order.groups import ChannelGroup
from tremap_brevitas.order.hardware import Hardware
from tremap_brevitas.order.network import Network
from tremap_brevitas.order.search import SearchOptions
from tremap_brevitas.order.work import Work, plain_order
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.tables import write_table


def order_chips(
    image: MemoryImage,
    groups: Sequence[ChannelGroup],
    chips: Iterable[FaultMap],
    *,
    options: SearchOptions | None = None,
    importance: Mapping[str, ArrayLike] | None = None,
    hardware: Hardware | None = None,
    workers: int = 1,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Iterator[ChipOrder]:
    """Find the channel order of every chip of a fleet, as [solve][tremap_brevitas.order.solve] does.

    Args:
        image: The network's codes, and where the slots lie.
        groups: Its groups of channels.
        chips: Fault maps; taken a few at a time, so that a generator will do for thousands.
        options: How to search; None for the default.
        importance: As for ``solve``.
        hardware: As for ``solve``.
        workers: Processes to use; the result does not depend on it.
        folder: Run folder: chips that are finished there are not solved again. None keeps nothing.
        progress: Whether to show a bar.

    Yields:
        One order a chip, in the order of the chips.

    Raises:
        ValueError: If image, groups, a chip and importance do not belong together, there is no worker, or the folder holds
            another run.
        BlockingIOError: If another process is working in the folder.
    """
    work = Work(Network(image, groups, importance=importance), options or SearchOptions(), hardware or None)
    if hardware is not None:
        hardware.check(image.placement.memory)
    _ = work.network.stored  # made here once, and shared with the workers
    return _run(work, Ahead(work, workers=workers), chips, folder, progress)


def _run(
    work: Work,
    ahead: Ahead[FaultMap, ChipOrder],
    chips: Iterable[FaultMap],
    folder: str | os.PathLike[str] | None,
    progress: bool,
) -> Iterator[ChipOrder]:
    total = len(chips) if isinstance(chips, Sequence) else None
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=total, desc="orders", unit="chip", leave=False, disable=not progress))
        kept = None if folder is None else stack.enter_context(RunFolder(folder, options=work.description()))
        stack.enter_context(ahead)
        for order in ahead.results(_begun(work, chip, kept, ahead) for chip in chips):
            yield order
            bar.update()


def _begun(work: Work, chip: FaultMap, kept: RunFolder | None, ahead: Ahead[FaultMap, ChipOrder]) -> Callable[[], ChipOrder]:
    """Start a chip's job unless it is finished; return its pending result."""
    if kept is None:
        return ahead.begun(chip)
    before = kept.get(_job(chip))
    if before is not None:
        return lambda: work.from_plain(chip, before)
    begun = ahead.begun(chip)

    def finished() -> ChipOrder:
        order = begun()
        kept.put(_job(chip), plain_order(order))
        return order

    return finished


def _job(chip: FaultMap) -> str:
    return f"{chip.chip} {chip.digest[:16]}"


@dataclass(frozen=True, eq=False, repr=False)
class FleetOrders:
    """Channel orders of a fleet's chips.

    Attributes:
        orders: One a chip, all of one network.

    Raises:
        ValueError: If there is none, or two are of different networks, or of different hardware.
    """

    orders: tuple[ChipOrder, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "orders", tuple(self.orders))
        if not self.orders:
            raise ValueError("a fleet needs at least one chip's order")
        first = self.orders[0]
        for other in self.orders[1:]:
            if other.network is not first.network and other.network.digest != first.network.digest:
                raise ValueError(f"orders of different networks: chips {first.chip!r} and {other.chip!r}")
            if hardware_of(other) != self.hardware:
                raise ValueError(
                    f"orders of different hardware: chip {first.chip!r} has {self.hardware}, chip {other.chip!r} has "
                    f"{hardware_of(other)}"
                )

    @property
    def hardware(self) -> Hardware | None:
        """What the accelerator has beside free channels; None for nothing."""
        return hardware_of(self.orders[0])

    @property
    def exact(self) -> int:
        """Chips that compute exactly this network, each in its own order."""
        return sum(order.exact for order in self.orders)

    @property
    def exact_as_they_lie(self) -> int:
        """Chips that are exact without reordering."""
        return sum(order.wrong_as_it_lies == 0 for order in self.orders)

    def __len__(self) -> int:
        return len(self.orders)

    def __iter__(self) -> Iterator[ChipOrder]:
        return iter(self.orders)

    def __getitem__(self, chip: str) -> ChipOrder:
        """Return the order of a chip by its name.

        Raises:
            KeyError: If there is none.
        """
        for order in self.orders:
            if order.chip == chip:
                return order
        raise KeyError(f"no order of a chip {chip!r}; there are those of {', '.join(order.chip for order in self.orders)}")

    def rows(self) -> list[dict[str, object]]:
        """Return one table row for each chip, with all digits."""
        return [fleet_row(order) for order in self.orders]

    def write_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write one row for each chip to a CSV file, atomically."""
        return write_table(path, self.rows())

    def __str__(self) -> str:
        width = max(4, *(len(order.chip) for order in self.orders))
        lines = [f"{'chip':<{width}}  wrong as it lies  wrong in order  worst error (LSB)"]
        for order in self.orders:
            wrong = "exact" if order.exact else str(order.wrong)
            lines.append(f"{order.chip:<{width}}  {order.wrong_as_it_lies:>16}  {wrong:>14}  {order.worst_error:>17}")
        lines.append(f"{self.exact} of {len(self)} chips exact in order, {self.exact_as_they_lie} as they lie")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"FleetOrders({self.exact} of {len(self)} chips exact in order, {self.exact_as_they_lie} as they lie)"


def hardware_of(order: ChipOrder) -> Hardware | None:
    """What the accelerator of a chip has; None for nothing."""
    return None if order.hardware is None else order.hardware.hardware


def fleet_row(order: ChipOrder) -> dict[str, object]:
    """Return the table row of one chip."""
    row: dict[str, object] = {
        "chip": order.chip,
        "faults": order.faults,
        "wrong_as_it_lies": order.wrong_as_it_lies,
        "wrong_in_order": order.wrong,
        "exact": order.exact,
        "worst_error": order.worst_error,
        "relative_error": order.relative_error,
        "unavoidable": order.unavoidable,
        "moved_channels": order.moved,
    }
    if order.hardware is not None:
        row["scrambled_banks"] = int(np.count_nonzero(order.hardware.keys))
        row["rotated_rows"] = len(order.hardware.rows)
        row["inverted_groups"] = len(order.hardware.inverted)
    if order.spares is not None:
        row["spare_rows"] = len(order.spares.repair.rows)
        row["spare_columns"] = len(order.spares.repair.columns)
    return row
