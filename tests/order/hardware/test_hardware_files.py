"""Settings of a fleet's hardware: on several cores, from a run folder, and as a file."""

import channel_networks as networks
import numpy as np
import pytest

from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.archive import read_archive, write_archive
from tremap_brevitas.order import FleetOrders, Hardware, check_order, load_orders, order_chips, save_orders, solve
from tremap_brevitas.order.orders_file import KIND, SCHEMA, hardware_in
from tremap_brevitas.placement import LayerCodes, linear_placement

GROUPS = networks.groups_of_a_chain(4, 4, 2)
SHAPES = {"first": (4, 2, 3), "deep": (4, 1, 2), "second": (4, 4, 2), "last": (2, 8)}
HARDWARE = Hardware(scramble=8, rotate=1, invert=2)


def a_network():
    layers = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in SHAPES.items()]
    return networks.random_image(linear_placement(layers, Memory(96, 8)), np.random.default_rng(0))


def some_chips(image):
    memory, rng = HARDWARE.chip_memory(image.placement.memory), np.random.default_rng(1)
    chips = [networks.random_chip(memory, rng, rate) for rate in (0, 0.01, 0.05, 0.2)]
    return [FaultMap(memory, chip.cells, chip.stuck_at, f"c{n}") for n, chip in enumerate(chips)]


def a_fleet():
    image = a_network()
    return image, FleetOrders(tuple(order_chips(image, GROUPS, some_chips(image), hardware=HARDWARE, progress=False)))


def same(one, other):
    assert (one.chip, one.fault_map, one.faults, one.wrong) == (other.chip, other.fault_map, other.faults, other.wrong)
    assert one.hardware.hardware == other.hardware.hardware
    assert one.hardware.numbers() == other.hardware.numbers()
    assert one.words == other.words


def test_files_workers_and_run_folders_keep_the_hardware(tmp_path):
    image, fleet = a_fleet()
    chips = some_chips(image)
    assert fleet.hardware == HARDWARE
    assert len(fleet["c2"].hardware.rows) + len(fleet["c2"].hardware.inverted) > 0
    options = {"hardware": HARDWARE, "folder": tmp_path / "run", "progress": False}
    by_workers = list(order_chips(image, GROUPS, chips, workers=2, **options))
    again = list(order_chips(image, GROUPS, chips, **options))
    path = save_orders(fleet, tmp_path / "orders.npz")
    loaded = load_orders(path, image, GROUPS)
    assert hardware_in(path) == HARDWARE
    for order, chip, *others in zip(fleet, chips, loaded, by_workers, again, strict=True):
        for other in others:
            same(order, other)
            assert check_order(other, chip) == ()
    with pytest.raises(ValueError, match="holds a run with hardware="):
        list(order_chips(image, GROUPS, [], hardware=Hardware(invert=1), folder=tmp_path / "run", progress=False))
    row = fleet.rows()[2]
    assert row["inverted_groups"] == len(fleet["c2"].hardware.inverted)


def test_orders_of_other_hardware_are_not_mixed():
    image, fleet = a_fleet()
    plain = solve(image, GROUPS, FaultMap(image.placement.memory, [], [], "plain"))
    with pytest.raises(ValueError, match="orders of different hardware: chip 'c0' has scrambled addresses in banks of 8 words"):
        FleetOrders((fleet["c0"], plain))


def damaged(tmp_path, change):
    image, fleet = a_fleet()
    path = save_orders(fleet, tmp_path / "orders.npz")
    header, arrays = read_archive(path, kind=KIND, schema=SCHEMA)
    arrays = dict(arrays)
    change(header, arrays)
    header.pop("schema")
    write_archive(path, kind=KIND, schema=SCHEMA, header=header, arrays=arrays)
    load_orders(path, image, GROUPS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, arrays: arrays["keys"].__setitem__((2, 3), 8), r"chip 'c2': .*keys must be from 0 to 7"),
        (lambda header, arrays: arrays["amounts"].__setitem__(-1, 9), r"chip 'c3': .*amounts must be from 0 to 7"),
        (lambda header, arrays: arrays["rows"].__setitem__(-1, 0), r"chip 'c3': .*rows must be ascending"),
        (lambda header, arrays: arrays.update(inverted=arrays["inverted"][1:]), "inverted has shape"),
        (lambda header, arrays: arrays.update(keys=arrays["keys"][:, 1:]), "keys has shape"),
        (lambda header, arrays: arrays["set"].__setitem__((0, 0), -1), "set has shape"),
        (lambda header, arrays: arrays.pop("set"), "orders.npz"),
        (lambda header, arrays: header["hardware"].update(scramble=7), "scramble must be a power of two"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        damaged(tmp_path, change)


def test_a_setting_that_the_chip_cannot_have_is_found_out():
    image, fleet = a_fleet()
    order, memory = fleet["c2"], HARDWARE.chip_memory(image.placement.memory)
    group = int(order.hardware.inverted[0])
    cell = memory.cell(word=group * HARDWARE.invert, bit=8)
    worse = FaultMap(memory, [cell], [0], "c2")
    assert "back otherwise than the order says" in " ".join(check_order(order, worse))
