"""Options that say what an accelerator has beside free channels."""

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
        help="The addresses in each bank of so many words are XORed with a key; 0: not.",
    ),
    click.option(
        "--rotate",
        type=click.IntRange(min=0),
        default=0,
        metavar="WORDS",
        help="The bits of each word are rotated; so many words share an amount; 0: not.",
    ),
    click.option("--amounts", type=click.IntRange(min=2), help="Amounts of --rotate, from 0 bits up (default all)."),
    click.option(
        "--invert",
        type=click.IntRange(min=0),
        default=0,
        metavar="WORDS",
        help="Words can be stored inverted; so many share a flag; 0: not.",
    ),
)


def hardware_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def hardware_of_options(memory: Memory, *, scramble: int, rotate: int, amounts: int | None, invert: int) -> Hardware | None:
    """What the options say; None if nothing.

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
