"""Exit codes and one-line error messages of the commands.

Everything that ends a command is raised as an exception, so that temporary files and folders are removed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import click

from tremap_brevitas.printable import printable

EXIT_CODES = """\b
Exit codes:
  0    all is well
  1    a file is bad or cannot be written, or a check failed
  2    the command was called wrongly
  129  the terminal was closed (SIGHUP)
  130  Ctrl-C (SIGINT)
  141  the reader of the output went away (SIGPIPE)
  143  SIGTERM
"""

# Errors of the package, of files and of the machine. Any other error is a bug, and shows its traceback.
DOCUMENTED = (OSError, ValueError, TypeError, ImportError, OverflowError, MemoryError, RecursionError)


class OneLineErrors(click.Group):
    """Command group that reports errors the user can correct in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises:
            click.ClickException: For every documented error.
        """
        with _signals():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                click.echo("Interrupted.", err=True)
                sys.exit(128 + signal.SIGINT)
            except BrokenPipeError:
                _forget_output()
                sys.exit(128 + 13)
            except click.ClickException as error:
                error.message = printable(error.message, keep="\n")  # type: ignore[misc]
                raise
            except DOCUMENTED as error:
                _forget_output()
                raise click.ClickException(error_text(error)) from None


def error_text(error: BaseException) -> str:
    """Return the text of an error for the user."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    elif isinstance(error, MemoryError):
        text = f"not enough memory ({error})" if str(error) else "not enough memory"
    else:
        text = str(error) or type(error).__name__
    return printable(text, keep="\n")


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn terminating signals into ``SystemExit``, except those that the caller ignores or handles."""
    taken = []
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, _end)
                taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not end the cleaning up
    sys.exit(128 + number)


def _forget_output() -> None:
    """Discard output that could not be written, so that Python does not try again at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
