"""How the command ends: its exit codes, one line for a mistake, and no draft left behind."""

import errno
import os
import signal
import subprocess
import sys
import time

import click
import pytest
from cli.test_maps import SIZE, chips, folder, tremap  # noqa: F401 (fixtures)
from click.testing import CliRunner

from tremap_brevitas.cli.exits import OneLineErrors

COMMAND = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as a shell starts it
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
from tremap_brevitas.cli import main
main(sys.argv[1:], prog_name="tremap")
"""


def started(*arguments, **options):
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
def test_a_signal_leaves_no_draft(folder, tmp_path, name, code):  # noqa: F811
    os.mkfifo(tmp_path / "pipe")  # nobody ever writes to it, so that the command waits
    before = sorted(tmp_path.iterdir())
    process = started(
        "map", "convert", folder / "chip-0.npz", tmp_path / "pipe", *SIZE, "--to", "csv", "--out", tmp_path / "out"
    )
    for _ in range(600):
        if len(list(tmp_path.iterdir())) > len(before):
            break
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written(folder):  # noqa: F811
    with open("/dev/full", "w") as full:
        process = started("map", "info", folder, stdout=full)
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (1, f"Error: {os.strerror(errno.ENOSPC)}\n")
    reading, writing = os.pipe()
    os.close(reading)
    process = started("map", "info", folder, stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("a.log:2: no number"), "a.log:2: no number"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: Permission denied"),
        (FileNotFoundError("x: no such folder"), "x: no such folder"),
        (MemoryError(), "not enough memory"),
        (OverflowError("int too big to convert"), "int too big to convert"),
        (ImportError("plotting needs matplotlib"), "plotting needs matplotlib"),
        (ValueError("chip \x1b[2J and \udcff"), r"chip \x1b[2J and \xff"),
        (click.ClickException("chip \x1b[2J"), r"chip \x1b[2J"),
    ],
)
def test_documented_errors_are_one_line(error, said):
    @click.group(cls=OneLineErrors)
    def main():
        pass

    @main.command()
    def fail():
        raise error

    result = CliRunner().invoke(main, ["fail"])
    assert (result.exit_code, result.output) == (1, f"Error: {said}\n")


def test_a_fault_of_the_program_shows_where():
    @click.group(cls=OneLineErrors)
    def main():
        pass

    @main.command()
    def fail():
        raise AssertionError

    assert isinstance(CliRunner().invoke(main, ["fail"]).exception, AssertionError)


def test_the_exit_codes_are_documented():
    out = tremap("--help").stdout
    for code in (0, 1, 2, 129, 130, 141, 143):
        assert f"\n    {code} " in out
