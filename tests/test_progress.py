"""Long loops show a bar on standard error, and ``progress=False`` takes it away; commands show one on a terminal only."""

import fcntl
import importlib
import inspect
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import torch
from brevitas.nn import QuantLinear
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.cluster import run_jobs
from tremap_brevitas.order import order_chips, patch_in_order
from tremap_brevitas.patching import patch
from tremap_brevitas.planning import Point, Prepared, ResilienceCurve, assign, group_chips, plan_groups
from tremap_brevitas.prepare import prepare_fleet

ROOT = Path(__file__).parents[1]


class Case:
    """A small network with all that the functions below want."""

    def __init__(self, folder):
        torch.manual_seed(0)
        first, last = QuantLinear(8, 6, bias=False), QuantLinear(6, 3, bias=False)
        self.folder, self.x = folder, torch.randn(8, 8)
        self.model = tm.make_faulty(nn.Sequential(first, nn.BatchNorm1d(6), nn.ReLU(), last))
        self.net = tm.place(self.model, tm.Memory(words=17, word_bits=32))
        self.chips = tm.random_fault_maps(self.net.placement.memory, chips=3, fault_rate=0.05, seed=0)
        self.image = self.net.memory_image()
        self.groups = tm.prepare.channel_groups(self.net, self.x)
        options = {"moments": [self.x], "groups": self.groups, "dynamo": False, "progress": False}
        self.bundle = tm.Bundle.load(self.net.export(folder / "before", self.x, **options))
        self.moments = self.bundle.moments()
        self.orders = [tm.order.solve(self.image, self.groups, chip) for chip in self.chips]
        self.curve = ResilienceCurve([Point(0.0, 0.9), Point(0.2, 0.5), Point(0.4, 0.3)])


def score(model):
    return 0.5


CALLS = {
    "grouping": lambda c, **o: group_chips(c.chips, limit=40, **o),
    "grouping (plan_groups)": lambda c, **o: plan_groups(c.chips, c.image, c.curve, goal=0.5, steps=0, **o),
    "assigning": lambda c, **o: list(assign(c.chips, [Prepared("a", c.image, 0.9)], goal=0.5, **o)),
    "certificates": lambda c, **o: c.net.evaluate(c.chips, score, **o),
    "chips": lambda c, **o: tm.verify_bundle(c.folder / "before", c.chips, **o),
    "chips (bundle)": lambda c, **o: tm.verify_bundle(c.bundle, c.chips, **o),
    "chips (orders)": lambda c, **o: tm.verify_bundle(c.bundle, c.chips, orders=c.orders, **o),
    "orders": lambda c, **o: list(order_chips(c.image, c.groups, c.chips, **o)),
    "patching": lambda c, **o: patch(c.image, c.moments, c.chips[0], **o),
    "patching (in order)": lambda c, **o: patch_in_order(c.orders[0], c.moments, c.chips[0], **o),
    "retraining": lambda c, **o: tm.retrain_until(
        0.9, lambda n: None, score, strategy=tm.AllAtOnce(c.net, c.chips[0]), max_steps=5, **o
    ),
    "BatchNorm": lambda c, **o: tm.reestimate_batchnorm_(c.model, [c.x], **o),
    "moments": lambda c, **o: c.net.moments([c.x], **o),
    "compensating": lambda c, **o: c.net.compensate_([c.x], fault_map=c.chips[0], **o),
    "exporting": lambda c, **o: c.net.export(c.folder / "after", c.x, dynamo=False, overwrite=True, **o),
    "moments (export)": lambda c, **o: c.net.export(c.folder / "after", c.x, dynamo=False, overwrite=True, moments=[c.x], **o),
    "orders (reorder)": lambda c, **o: tm.reorder(c.net, c.chips, c.x, **o),
    "compensated, shared moments": lambda c, **o: prepare_fleet(c.net, c.chips, c.net.moments([c.x], progress=False), **o),
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("progress"))


@pytest.mark.parametrize("name", CALLS)
def test_a_long_loop_shows_a_bar_unless_it_is_told_not_to(case, capsys, name):
    case.net.clear_faults_()
    CALLS[name](case)
    assert f"{name.split(' (')[0]}:" in capsys.readouterr().err
    case.net.clear_faults_()
    CALLS[name](case, progress=False)
    assert capsys.readouterr().err == ""


def test_the_bar_of_jobs_has_the_name_given(capsys):
    run_jobs(abs, {"one": -1}, progress="squares")
    assert "squares:" in capsys.readouterr().err
    run_jobs(abs, {"one": -1}, progress=None)
    assert capsys.readouterr().err == ""


def test_every_public_function_with_bars_says_so_the_same_way():
    """Loops over chips, layers, steps or batches have a bar; readers of single files have one when asked for."""
    seen = {}
    for name in (n for n in tm.__all__ if inspect.ismodule(getattr(tm, n))):
        module = importlib.import_module(f"tremap_brevitas.{name}")
        seen |= {f"{name}.{n}": getattr(module, n) for n in getattr(module, "__all__", ())}
    seen |= {n: getattr(tm, n) for n in tm.__all__}
    seen |= {f"PlacedModel.{n}": f for n, f in inspect.getmembers(tm.PlacedModel, inspect.isfunction)}
    functions = {n: f for n, f in seen.items() if inspect.isfunction(f) and "progress" in inspect.signature(f).parameters}
    for name, function in functions.items():
        parameter = inspect.signature(function).parameters["progress"]
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
        assert parameter.default is (not name.startswith("faults.formats")) or name == "cluster.run_jobs", name
        assert "        progress: " in inspect.getdoc(function).replace("\n    progress: ", "\n        progress: "), name
    assert len(functions) >= 15


def run_with_errors_on(terminal, arguments):
    """(exit code, standard error) of ``tremap``, whose standard error is a terminal or a pipe."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
    code = "from tremap_brevitas.cli import main; main(prog_name='tremap')"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT, check=False)
    os.close(theirs)
    said = b""
    try:
        while block := os.read(ours, 1 << 16):
            said += block
    except OSError:  # a terminal whose other end is closed
        pass
    os.close(ours)
    return done.returncode, said.decode()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_command_shows_a_bar_on_a_terminal_alone(tmp_path, terminal):
    for chip in tm.random_fault_maps(tm.Memory(words=64, word_bits=8), chips=3, fault_rate=0.05, seed=0):
        chip.save(tmp_path / f"{chip.chip}.npz")
    arguments = ["group", tmp_path, "--union-rate", 0.2, "--out", tmp_path / "groups"]
    code, said = run_with_errors_on(terminal, arguments)
    assert code == 0, said
    assert ("grouping:" in said) == terminal
