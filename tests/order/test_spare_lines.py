"""Orders of chips whose spare rows and columns are used first: kept in files, and proved from the chip's own map."""

import dataclasses

import channel_networks as networks
import numpy as np
import pytest

from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.archive import read_archive, write_archive
from tremap_brevitas.faults.array.allocate import allocate_repair
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.order import FleetOrders, SpareLines, check_order, load_orders, save_orders, solve
from tremap_brevitas.order.orders_file import KIND, SCHEMA
from tremap_brevitas.placement import LayerCodes, linear_placement

GROUPS = networks.groups_of_a_chain(4, 4, 2)
SHAPES = {"first": (4, 2, 3), "deep": (4, 1, 2), "second": (4, 4, 2), "last": (2, 8)}
MEMORY = Memory(96, 8, banks=2)
GEOMETRY = ArrayGeometry(MEMORY, column_mux=4, bit_order=[7, 6, 5, 4, 3, 2, 1, 0])
LAYERS = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in SHAPES.items()]
IMAGE = networks.random_image(linear_placement(LAYERS, MEMORY), np.random.default_rng(0))


def chips_and_orders():
    rng, chips, orders = np.random.default_rng(1), [], []
    for number, rate in enumerate((0, 0.01, 0.05)):
        cells = networks.random_chip(MEMORY, rng, rate).cells
        row = np.arange(8 * 8, 12 * 8)  # a whole physical row: words 8 to 11 of bank 0
        cells = np.union1d(cells, row) if number else cells
        chip = FaultMap(MEMORY, cells, rng.integers(0, 2, len(cells)), f"c{number}")
        plan = allocate_repair(chip, spare_rows=1, spare_columns=1, geometry=GEOMETRY)
        order = solve(IMAGE, GROUPS, plan.remaining)
        chips.append(chip)
        orders.append(dataclasses.replace(order, spares=SpareLines(plan.repair, GEOMETRY)))
    return chips, orders


def test_files_keep_the_lines_and_the_chips_own_map_proves_the_order(tmp_path):
    chips, orders = chips_and_orders()
    loaded = load_orders(save_orders(orders, tmp_path / "orders.npz"), IMAGE, GROUPS)
    assert [len(order.spares.repair) > 0 for order in loaded] == [False, True, True]
    for order, again, chip in zip(orders, loaded, chips, strict=True):
        assert again.spares == order.spares
        assert check_order(again, chip) == ()
        assert check_order(again, order.spares.left(chip)) == ()
        # Without its spare lines the chip would read something else; one more stuck cell beside them is seen, one in them not.
        bare = dataclasses.replace(again, spares=None)
        assert (check_order(bare, chip) == ()) == (not len(order.spares.repair))
    (bank, row), *_ = loaded["c1"].spares.repair.rows
    inside = GEOMETRY.logical(bank, row, np.arange(GEOMETRY.columns))
    outside = np.setdiff1d(np.arange(MEMORY.cells), np.union1d(inside, chips[1].cells))
    for more, said in ((inside, False), (outside[:1], True)):
        cells = np.union1d(chips[1].cells, more)
        changed = FaultMap(MEMORY, cells, np.zeros(len(cells), dtype=int), "c1")
        same = dict(zip(chips[1].cells.tolist(), chips[1].stuck_at.tolist(), strict=True))
        changed = dataclasses.replace(changed, stuck_at=np.array([same.get(cell, 0) for cell in cells.tolist()]))
        assert bool(check_order(loaded["c1"], changed)) == said
    row_of = FleetOrders(loaded.orders).rows()[1]
    assert (row_of["spare_rows"], row_of["spare_columns"]) == (
        len(orders[1].spares.repair.rows),
        len(orders[1].spares.repair.columns),
    )


def test_arrays_are_not_mixed(tmp_path):
    _, orders = chips_and_orders()
    other = dataclasses.replace(orders[1], spares=SpareLines(orders[1].spares.repair, ArrayGeometry(MEMORY, column_mux=4)))
    with pytest.raises(ValueError, match="chip 'c1': its spare rows and columns lie in another array than the others'"):
        save_orders([orders[0], other], tmp_path / "orders.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, arrays: arrays["spare_lines"].__setitem__((0, 0), 2), r"chip 'c1': .*must be a row \(0\) or a column"),
        (lambda header, arrays: arrays["spare_lines"].__setitem__((0, 1), 2), "chip 'c1': .*the memory has banks 0 to 1"),
        (lambda header, arrays: arrays["spare_lines"].__setitem__((0, 2), 99), "chip 'c1': .*the bank has rows 0 to 11"),
        (lambda header, arrays: arrays.update(spares=arrays["spares"][1:]), "spares has shape"),
        (lambda header, arrays: arrays.update(spare_lines=arrays["spare_lines"][1:]), "spare_lines has shape"),
        (lambda header, arrays: arrays.pop("spares"), "orders.npz"),
        (lambda header, arrays: header["geometry"].update(column_mux=5), "column_mux must divide"),
        (lambda header, arrays: header["geometry"].pop("words"), "it needs 'words'"),
    ],
)
def test_damaged_lists_are_refused(tmp_path, change, message):
    path = save_orders(chips_and_orders()[1], tmp_path / "orders.npz")
    header, arrays = read_archive(path, kind=KIND, schema=SCHEMA)
    arrays = dict(arrays)
    change(header, arrays)
    header.pop("schema")
    write_archive(path, kind=KIND, schema=SCHEMA, header=header, arrays=arrays)
    with pytest.raises(ValueError, match=message):
        load_orders(path, IMAGE, GROUPS)
