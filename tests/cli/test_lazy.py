"""Commands are imported when they are called; what the groups say of them is what the commands say themselves."""

import os
import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from tremap_brevitas.cli import main
from tremap_brevitas.cli.lazy import LazyCommand, LazyGroup

GROUPS = {"tremap": main, "tremap map": main.commands["map"]}
LAZY = [
    (group, command) for group in GROUPS.values() for command in group.commands.values() if isinstance(command, LazyCommand)
]


@pytest.mark.parametrize(("group", "lazy"), LAZY, ids=[command.name for _, command in LAZY])
def test_the_list_of_commands_says_what_the_command_says(group, lazy):
    _, command, rest = group.resolve_command(click.Context(group), [lazy.name, "more"])
    assert type(command) is not LazyCommand
    assert (command.name, rest) == (lazy.name, ["more"])
    assert not command.hidden
    assert not command.deprecated
    for limit in range(10, 200):
        assert lazy.get_short_help_str(limit) == command.get_short_help_str(limit)


@pytest.mark.parametrize("words", [[], ["map"]], ids=["tremap", "map"])
def test_help_imports_neither_numpy_nor_a_command(words):
    code = (
        "import sys\nfrom tremap_brevitas.cli import main\n"
        "try:\n    main(sys.argv[1:], prog_name='tremap')\nexcept SystemExit as end:\n    assert not end.code\n"
        "names = {name.removeprefix('tremap_brevitas.cli') for name in sys.modules if name.startswith('tremap_brevitas.cli')}\n"
        "assert names == {'', '.exits', '.lazy'}, names\n"
        "assert not {'numpy', 'scipy', 'torch', 'tqdm', 'tabulate', 'onnx'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


@pytest.mark.parametrize(
    ("args", "incomplete", "expected"),
    [
        ([], "ma", ["map"]),
        (["map"], "", ["convert", "diff", "ecc", "generate", "info", "merge", "plot", "repair"]),
        (["map", "merge"], "--on", ["--on-conflict"]),
        (["map", "merge", "--on-conflict"], "maj", ["majority"]),
    ],
    ids=["a group", "commands", "an option", "a choice"],
)
def test_completion_knows_commands_options_and_choices(args, incomplete, expected):
    completions = ShellComplete(main, {}, "tremap", "_TREMAP_COMPLETE").get_completions(args, incomplete)
    assert [item.value for item in completions] == expected


def test_bash_completion_of_the_program():
    environment = {**os.environ, "_TREMAP_COMPLETE": "bash_complete", "COMP_WORDS": "tremap map con", "COMP_CWORD": "2"}
    code = "from tremap_brevitas.cli import main; main(prog_name='tremap')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["plain,convert"], done.stderr


def test_an_unknown_command_is_named_with_those_that_are_like_it():
    result = CliRunner().invoke(main, ["map", "mergee"], prog_name="tremap")
    assert result.exit_code == 2
    assert "mergee" in result.output
    if hasattr(click.exceptions, "NoSuchCommand"):  # click 8.4 and later
        assert "merge" in result.output.replace("mergee", "")


def test_a_command_that_is_not_there_is_an_error():
    group = LazyGroup("group", lazy={"gone": ("tremap_brevitas.cli.gone:gone", "Gone.")})
    with pytest.raises(ModuleNotFoundError, match=r"cli\.gone"):
        CliRunner().invoke(group, ["gone"], catch_exceptions=False)
