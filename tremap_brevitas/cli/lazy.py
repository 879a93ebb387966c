"""Groups whose commands are imported when they are called: the list of commands and its completion need none of them."""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

import click

from tremap_brevitas.cli.exits import OneLineErrors


class LazyCommand(click.Command):
    """Placeholder in a group's list for a command that was not imported yet.

    Args:
        name: Name of the command.
        where: Its location, as ``"package.module:attribute"``.
        help: The first sentence of its help, which the group's own help shows.
    """

    def __init__(self, name: str, where: str, help: str) -> None:
        super().__init__(name, help=help)
        self.where = where

    def load(self) -> click.Command:
        """Import the command."""
        command: click.Command = resolve_name(self.where)
        return command


class LazyGroup(click.Group):
    """A group that imports a command when it is called.

    Args:
        lazy: By name of the command: its location, and the first sentence of its help (``tests/cli/test_lazy.py`` compares).
        *args: As ``click.Group`` has them.
        **kwargs: As ``click.Group`` has them.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (where, text) in lazy.items():
            self.add_command(LazyCommand(name, where, text))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest


class Tremap(OneLineErrors, LazyGroup):
    """The outermost group."""
