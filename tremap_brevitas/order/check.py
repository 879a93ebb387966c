"""Check a given channel order against its words and the chip's map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.order.chip_order import ChipOrder
from tremap_brevitas.order.groups import out_of_order
from tremap_brevitas.order.hardware.words import stuck_words
from tremap_brevitas.placement import MemoryImage, certificate
from tremap_brevitas.printable import counted


def check_order(order: ChipOrder, chip: FaultMap) -> tuple[str, ...]:
    """Check a given order against its words and the chip's map alone, and describe what is wrong.

    The image is written, read back through the chip's stuck cells, put back into the network's own order and
    compared with its codes.

    Args:
        order: The order to check.
        chip: The chip's fault map, with or without what its spare rows and columns take away.

    Returns:
        One sentence for each contradiction; none if all is as the order says.

    Raises:
        ValueError: If map and image are of different memories.
    """
    return read_and_checked(order, chip)[1]


def read_and_checked(order: ChipOrder, chip: FaultMap) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Return the codes that a chip really reads, in the network's own order, and the result of ``check_order``."""
    problems = []
    chip = order.left_by_spares(chip)
    if chip.digest != order.fault_map:
        problems.append(f"chip {order.chip!r}: the order is for a fault map of digest {order.fault_map}, not {chip.digest}")
    check_memory(chip, order.memory, whose="the order's")
    written = order.image
    if order.hardware is None:
        read = written.read_through(chip).codes
    else:
        words = order.hardware.read(stuck_words(order.words, chip))
        read = MemoryImage.from_words(written.placement, words).codes
    codes = out_of_order(read, order.groups, order.orders)
    for name, wanted in order.network.codes.items():
        # An order states that the chip reads what is written: the nearest codes that it can hold.
        wrong = int(np.count_nonzero(read[name] != written.codes[name]))
        if wrong:
            differ = int(np.count_nonzero(codes[name] != wanted))
            problems.append(
                f"chip {order.chip!r}, layer {name!r}: {counted(wrong, 'code')} read back otherwise than the order says; "
                f"{differ} differ from the network's"
            )
    if order.hardware is not None:
        chip = order.hardware.hardware.data_faults(chip, order.hardware.memory)
    lies = certificate(order.network, chip, deployment="chip_image").weights_that_differ
    if lies != order.wrong_as_it_lies:
        problems.append(
            f"chip {order.chip!r}: {counted(lies, 'code')} wrong as it lies, the order says {order.wrong_as_it_lies}"
        )
    return codes, tuple(problems)
