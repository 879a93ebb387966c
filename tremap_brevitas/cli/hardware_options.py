"""Options for what an accelerator offers besides free channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from tremap_brevitas.faults.memory import Memory

if TYPE_CHECKING:
    from tremap_brevitas.order import Hardware

Command = TypeVar("Command", bound=Callable[..., object])

_OPTIONS = (
    click.option(
        "--scramble",
        type=click.IntRange(min=0),
        default=0,
        metavar="WORDS",
        help="Words of a bank, whose addresses are XORed with a key; 0: no scrambling.",
    ),
    click.option(
        "--rotate",
        type=click.IntRange(min=0),
        default=0,
        metavar="WORDS",
        help="Words of a row, whose bits are rotated by one amount; 0: no rotation.",
    ),
    click.option("--amounts", type=click.IntRange(min=2), help="Number of amounts of --rotate, from 0 bits up (default all)."),
    click.option(
        "--invert",
        type=click.IntRange(min=0),
        default=0,
        metavar="WORDS",
        help="Words of a group, which share a flag for inversion; 0: no inversion.",
    ),
)


def hardware_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def hardware_of_options(memory: Memory, *, scramble: int, rotate: int, amounts: int | None, invert: int) -> Hardware | None:
    """Return the hardware that the options describe; None without any.

    Raises:
        click.UsageError: If the memory cannot have it, or parts do not fit each other.
    """
    from tremap_brevitas.order import Hardware  # here, since SciPy takes a while

    try:
        hardware = Hardware(scramble=scramble, rotate=rotate, amounts=amounts, invert=invert)
        hardware.check(memory)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return hardware or None
