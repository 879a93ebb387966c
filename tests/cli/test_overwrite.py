"""No command replaces a file that is there already, unless ``--overwrite`` is given."""

import click
import pytest
import torch
from cli.test_maps import MEMORY, tremap
from groups import Group

import tremap_brevitas as tm
from tremap_brevitas.cli import main
from tremap_brevitas.order import SearchOptions, save_orders, solve

# By command: its arguments, files of the module's folder among them, and the options that name a file to write.
WRITERS = {
    "map convert": (["chip.npz", "--to", "csv"], ["--out"]),
    "map merge": (["chips", "--on-conflict", "free"], ["--out"]),
    "map plot": (["chip.npz"], ["--out"]),
    "map repair": (["chip.npz", "--spare-rows", 1], ["--out", "--list"]),
    "map ecc": (["chip.npz", "--data-bits", 3], ["--out"]),
    "report": (["fleet.csv", "--threshold", 0.5], ["--yield", "--accuracy"]),
    "assign": (["placed.npz", "--bundle", "bundle", "--goal", 0.5], ["--out"]),
    "patch": (["bundle", "placed.npz", "--orders", "orders.npz"], ["--out", "--onnx", "--order-out"]),
    "order": (["bundle", "placed.npz"], ["--out", "--csv"]),
}
FOLDERS = {"map generate", "group"}  # which write folders only; test_files.py and test_fleet.py are about these


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("overwrite")
    group = Group("linear")
    report = group.net.evaluate(group.chips[:1], lambda model: 0.9, progress=False)
    inputs = torch.randn(100, 64, generator=torch.Generator().manual_seed(1)).relu()
    groups = tm.prepare.channel_groups(group.net, group.x)
    group.export(root / "bundle", chips=group.chips[:1], report=report, moments=[inputs], groups=groups)
    tm.report.write_csv([report], root / "fleet.csv")
    (chip,) = tm.random_fault_maps(group.placement.memory, chips=1, fault_rate=0.01, seed=7)
    chip.save(root / "placed.npz")
    save_orders([solve(group.image, groups.groups, chip, options=SearchOptions(rounds=2))], root / "orders.npz")
    (root / "chips").mkdir()
    for chip in tm.random_fault_maps(MEMORY, chips=2, fault_rate=0.03, seed=1):
        chip.save(root / "chips" / f"{chip.chip}.npz")
    chip.save(root / "chip.npz")
    return root


def paths_of(command, folder):
    """A file in ``folder`` for every option of a command that names one."""
    return {
        option: folder / f"a{option}{'.png' if command in ('map plot', 'report') else ''}" for option in WRITERS[command][1]
    }


def called(command, paths, *more):
    written = [argument for option, path in paths.items() for argument in (option, path)]
    return [*command.split(), *WRITERS[command][0], *written, *more]


@pytest.mark.parametrize("command", WRITERS)
def test_an_existing_file_is_replaced_only_when_asked(place, tmp_path, monkeypatch, command):
    monkeypatch.chdir(place)
    paths = paths_of(command, tmp_path)
    for path in paths.values():
        path.write_bytes(b"mine")
        result = tremap(*called(command, paths), code=1)
        assert result.stderr == f"Error: {path} exists already; --overwrite replaces it\n"
        assert result.stdout == ""
        assert {p: p.read_bytes() for p in tmp_path.iterdir()} == {path: b"mine"}
        path.unlink()
    for path in paths.values():
        path.write_bytes(b"mine")
    tremap(*called(command, paths, "--overwrite"))
    written = {path: path.read_bytes() for path in paths.values()}
    assert all(len(content) > 10 for content in written.values())
    for path in paths.values():  # and is what a first run writes
        path.unlink()
    tremap(*called(command, paths))
    assert all(path.stat().st_size == len(content) for path, content in written.items())


@pytest.mark.parametrize("command", WRITERS)
def test_a_link_stands_for_what_it_leads_to(place, tmp_path, monkeypatch, command):
    monkeypatch.chdir(place)
    (tmp_path / "mine").write_bytes(b"mine")
    for option, path in paths_of(command, tmp_path).items():
        path.symlink_to("mine")
        assert "--overwrite replaces it" in tremap(*called(command, paths_of(command, tmp_path)), code=1).stderr, option
        path.unlink()
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_devices_and_files_that_the_shell_has_opened_need_no_leave(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    tremap(*called("map repair", {"--out": "/dev/null", "--list": "/dev/null"}))
    with (tmp_path / "opened").open("wb") as file:
        tremap(*called("map convert", {"--out": f"/dev/fd/{file.fileno()}"}))
    assert (tmp_path / "opened").read_bytes() == tremap(*called("map convert", {"--out": "-"})).stdout_bytes


def test_every_command_that_writes_takes_the_option():
    def commands(group, prefix=""):
        for name in group.commands:
            _, command, _ = group.resolve_command(click.Context(group), [name])
            if isinstance(command, click.Group):
                yield from commands(command, f"{prefix}{name} ")
            else:
                yield f"{prefix}{name}", {option for parameter in command.params for option in parameter.opts}

    options = dict(commands(main))
    writers = {name for name, of in options.items() if "--out" in of} | {"report"}
    assert writers == {*WRITERS, *FOLDERS}
    assert all(options[name] >= {"--overwrite", *WRITERS.get(name, ([], []))[1]} for name in writers)
    assert not any("--overwrite" in of for name, of in options.items() if name not in writers)
