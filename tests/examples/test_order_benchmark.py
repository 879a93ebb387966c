"""The benchmark of orders in small: its points, its measured maps and its tables; the page has the published ones."""

import csv
import gzip
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from tabulate import tabulate

import tremap_brevitas as tm
from benchmarks import order_accuracy, order_hardware, order_pages, order_yield
from benchmarks.order_models import InvertedResidual, Transformer, _untrained
from benchmarks.order_networks import cifar_resnet, drawn, network
from benchmarks.order_yield import Case
from tremap_brevitas.order import ChannelGroup, SearchOptions, Side, check_order
from tremap_brevitas.order.network import Network
from tremap_brevitas.prepare.reordering import channel_groups

ROOT = Path(__file__).parents[2]
SEARCH = SearchOptions(rounds=3, patience=3)
BOARD = tm.Memory(words=64, word_bits=8, banks=8)


def small_network():
    """A network of 48 codes that lie one a word."""
    image = order_yield.in_memory(drawn({"a": (8, 4), "b": (2, 8)}), BOARD)
    index = np.arange(8)[:, None]
    return Network(image, [ChannelGroup("a", 8, (Side("a", 0, index), Side("b", 1, index)))])


def wrong_codes(codes, chip, first=0):
    """Codes that a chip reads differently, in plain Python; they lie one a word from that word on, around the end."""
    stuck = dict(zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True))
    wrong = 0
    for place, code in enumerate(codes):
        word = (first + place) % BOARD.words
        wrong += any(stuck.get(8 * word + bit, code >> bit & 1) != code >> bit & 1 for bit in range(8))
    return wrong


def test_a_board_from_another_of_its_block_rams(tmp_path, monkeypatch):
    """What the network meets there is what it would meet if it were laid there."""
    rng = np.random.default_rng(3)
    rows = [255 & ~(1 << int(rng.integers(8))) if rng.random() < 0.3 else 255 for _ in range(BOARD.words)]
    path = tmp_path / "board.hex.gz"
    path.write_bytes(gzip.compress("".join(f"{row:02x}{row:02x}" for row in rows).encode()))
    monkeypatch.setattr(order_yield, "BLOCK_RAMS", BOARD)
    board = order_yield.block_rams(path)
    assert len(board) == sum(row != 255 for row in rows) > 5
    assert not board.stuck_at.any()
    net = small_network()
    codes = [int(code) & 255 for name in ("a", "b") for code in net.image.codes[name].reshape(-1)]
    case = Case("measured", board.fault_rate, 4, path)
    orders, _ = order_yield.solved_chips(net, case, SEARCH)
    assert [order.wrong_as_it_lies for order in orders] == [wrong_codes(codes, board, first) for first in (0, 16, 32, 48)]
    row = order_yield.point(net.image, net.groups, case, SEARCH)
    assert row["mean_wrong_as_they_lie"] == np.mean([order.wrong_as_it_lies for order in orders]) > 1
    for order, chip in zip(orders, order_yield.maps_of(case, BOARD), strict=True):
        assert check_order(order, chip) == ()


@pytest.mark.parametrize("kind", order_yield.KINDS)
def test_a_point(kind):
    net = small_network()
    row = order_yield.point(net.image, net.groups, Case(kind, 0.03, 12), SEARCH)
    codes = [int(code) & 255 for name in ("a", "b") for code in net.image.codes[name].reshape(-1)]
    wrong = [wrong_codes(codes, chip) for chip in order_yield.chips(BOARD, 0.03, 12, kind)]
    assert (row["chips"], row["weights"]) == (12, 48)
    assert row["mean_wrong_as_they_lie"] == pytest.approx(np.mean(wrong))
    assert row["exact_as_they_lie"] == pytest.approx(np.mean([count == 0 for count in wrong]))
    assert row["exact_in_order"] >= row["exact_as_they_lie"]
    assert row["mean_unavoidable"] <= row["mean_wrong_in_order"] <= row["mean_wrong_as_they_lie"]
    assert 0 < row["peak_mib"] < 1e5


def test_the_groups_of_the_traced_models():
    """A transformer's stream, heads and feed-forward; an inverted residual's hidden channels, depthwise ones among them."""
    groups = tm.prepare.channel_groups(_untrained(Transformer(width=8, heads=2, depth=1)), torch.randn(2, 3, 32, 32)).groups
    assert sorted(group.channels for group in groups) == [2, 4, 4, 4, 4, 8, 32]
    block = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), InvertedResidual(4, 4, 1, 3))
    net = _untrained(block)
    (hidden,) = tm.prepare.channel_groups(net, torch.randn(2, 3, 6, 6)).groups
    assert (hidden.channels, len(hidden.sides)) == (12, 3)


@pytest.mark.slow
def test_the_drawn_and_the_trained_resnet_have_the_same_groups():
    """The graph that is written out has the sides that tracing the study's model finds, which is in channels-last order."""
    from benchmarks.study.workbench import new_network

    net = tm.place(new_network("resnet20").eval(), tm.Memory(words=100_000, word_bits=32))
    traced = channel_groups(net, torch.randn(2, 3, 8, 8), prove=False).groups
    shapes, _ = cifar_resnet(20)
    assert shapes == {layer.name: layer.shape for layer in net.placement.layers}

    def sides(groups):
        return sorted(sorted((s.layer, s.axis, s.index.ravel().tolist()) for s in group.sides) for group in groups)

    assert sides(traced) == sides(network("resnet20").groups)


def test_an_unknown_network():
    with pytest.raises(ValueError, match="network must be resnet18, 20, 32, … or one of mobilenetv2.* got 'vgg'"):
        network("vgg")
    with pytest.raises(ValueError, match="resnet20-trained needs --state"):
        network("resnet20-trained")


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks.order", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_measured_maps_that_are_not_there(tmp_path):
    done = run(
        "--curve", "--networks", "resnet20", "--kinds", "--csv", tmp_path / "rows.csv", "--measured", tmp_path / "no.hex"
    )
    assert done.returncode == 2
    assert f"no such file: {tmp_path / 'no.hex'}" in done.stderr


@pytest.mark.slow
def test_the_curve_goes_on(tmp_path):
    command = ["--curve", "--networks", "resnet20", "--rates", 1e-5, "--kinds", "uniform", "--chips", 2]
    path = tmp_path / "rows.csv"
    first = run(*command, "--csv", path)
    assert first.returncode == 0, first.stderr
    assert "Measured maps: left out, as no --measured names a file." in first.stdout
    rows = path.read_text()
    assert len(rows.splitlines()) == 2
    assert run(*command, "--csv", path).returncode == 0
    assert path.read_text() == rows
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")


def test_tables():
    base = dict.fromkeys(order_pages.POINT, 0) | {"network": "a", "kind": "uniform", "weights": 1000, "peak_mib": 95}
    points = [
        base | {"rate": 1e-5, "exact_in_order": 1.0, "exact_as_they_lie": 0.25, "mean_seconds": 0.0123},
        base | {"rate": 1e-4, "exact_in_order": 0.5, "mean_wrong_as_they_lie": 1212.5, "mean_wrong_in_order": 0.5},
        base | {"network": "b", "weights": 2000, "rate": 1e-4},
        base | {"kind": "measured: board", "rate": 1.78e-6, "chips": 4, "exact_in_order": 0.75},
    ]
    assert [cells(line) for line in order_pages.yields(points).splitlines()[2:]] == [
        ["b", "uniform", "", "0 (0) %"],
        ["a", "uniform", "100 (25) %", "50 (0) %"],
    ]
    assert cells(order_pages.wrong_codes(points).splitlines()[-1]) == ["a", "uniform", "0 → 0", "1212 → 0.5"]
    assert cells(order_pages.costs(points).splitlines()[-1]) == ["a", "1,000", "0.012", "0", "95 MiB"]
    assert cells(order_pages.measured(points).splitlines()[-1])[:6] == ["a", "measured: board", "1.8e-06", "4", "0 %", "75 %"]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_accuracy_tables(tmp_path):
    rng = np.random.default_rng(0)
    ordered, lies = 0.87 + 0.01 * rng.random(8), 0.86 + 0.01 * rng.random(8)
    rows = []
    for chip in range(8):
        about = {"network": "n", "seed": 0, "rate": 6e-3, "chip": chip, "healthy": 0.88}
        rows.append(about | {"way": "as they lie", "wrong_codes": 100, "accuracy": lies[chip]})
        rows.append(about | {"way": "in order", "wrong_codes": 40, "accuracy": ordered[chip]})
    path = tmp_path / "rows.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    line = cells(order_accuracy.table(path, "n").splitlines()[-1])
    assert line[:6] == ["0.006", "8", "100 → 40", "88.00", f"{100 * lies.mean():.2f}", f"{100 * ordered.mean():.2f}"]
    low, high = stats.ttest_rel(100 * ordered, 100 * lies).confidence_interval(0.95)
    assert (
        cells(order_accuracy.differences(path, "n").splitlines()[-1])[1] == f"{(low + high) / 2:+.2f} ± {(high - low) / 2:.2f}"
    )


def published(name):
    page = (ROOT / "docs" / "order.md").read_text(encoding="utf-8")
    body = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.S)
    assert body is not None, name
    return body[1].strip()


@pytest.mark.parametrize("name", order_pages.TABLES)
def test_the_page_has_the_table_of_the_curve(name):
    assert published(name) == order_pages.TABLES[name](order_pages.read_points(ROOT / "docs" / "order.csv"))


def test_the_page_has_the_accuracies():
    path = ROOT / "docs" / "order_accuracy.csv"
    for network_name in ("resnet20", "digits"):
        assert published(f"accuracy of {network_name}") == order_accuracy.table(path, network_name)
        assert published(f"gain of {network_name}") == order_accuracy.differences(path, network_name)


def test_the_page_has_what_hardware_gives():
    points = order_pages.read_points(ROOT / "docs" / "order_hardware.csv", order_hardware.POINT)
    assert published("hardware yields") == tabulate(order_hardware.lines(points), "keys", "github", disable_numparse=True)
    memory = order_hardware.in_banks(network("resnet20")).image.placement.memory
    assert published("hardware costs") == tabulate(order_hardware.costs(memory), "keys", "github", disable_numparse=True)


def test_the_targets_are_met_by_the_published_rows():
    with (ROOT / "docs" / "order.csv").open(newline="", encoding="utf-8") as file:
        rows = {(r["network"], r["kind"], float(r["rate"])): r for r in csv.DictReader(file)}
    for network_name, rate, share, seconds in (
        ("resnet20", 1e-4, 0.95, 0.2),
        ("resnet18", 1e-5, 1, 2),
        ("resnet18", 3e-5, 0.95, 2),
    ):
        row = rows[network_name, "uniform", rate]
        assert float(row["exact_in_order"]) >= share
        assert float(row["mean_seconds"]) <= seconds
