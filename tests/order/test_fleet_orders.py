"""Orders of a fleet: on several cores, from a run folder, as a table and as a file."""

import csv

import channel_networks as networks
import numpy as np
import pytest

from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.order import FleetOrders, SearchOptions, check_order, load_orders, order_chips, save_orders, solve
from tremap_brevitas.placement import LayerCodes, linear_placement

GROUPS = networks.groups_of_a_chain(4, 4, 2)
SHAPES = {"first": (4, 2, 3), "deep": (4, 1, 2), "second": (4, 4, 2), "last": (2, 8)}


def a_network(seed=0):
    layers = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in SHAPES.items()]
    return networks.random_image(linear_placement(layers, Memory(100, 8)), np.random.default_rng(seed))


def some_chips(image, count=6):
    """From a clean one to a ruin."""
    memory, rng = image.placement.memory, np.random.default_rng(1)
    chips = [networks.random_chip(memory, rng, 0.0015 * index**2) for index in range(count)]
    return [FaultMap(memory, chip.cells, chip.stuck_at, f"c{index}") for index, chip in enumerate(chips)]


def a_fleet():
    image = a_network()
    return image, FleetOrders(tuple(order_chips(image, GROUPS, some_chips(image), progress=False)))


def same(one, other):
    assert (one.chip, one.fault_map, one.faults) == (other.chip, other.fault_map, other.faults)
    assert (one.wrong_as_it_lies, one.unavoidable) == (other.wrong_as_it_lies, other.unavoidable)
    assert {name: order.tolist() for name, order in one.orders.items()} == {n: o.tolist() for n, o in other.orders.items()}
    assert len(one.differences) == len(other.differences)
    for a, b in zip(one.differences, other.differences, strict=True):
        assert a.layer == b.layer
        assert (a.weight.tolist(), a.trained.tolist(), a.read.tolist()) == (
            b.weight.tolist(),
            b.trained.tolist(),
            b.read.tolist(),
        )


def test_a_fleet_says_what_its_chips_say(tmp_path):
    image, fleet = a_fleet()
    assert [order.chip for order in fleet] == ["c0", "c1", "c2", "c3", "c4", "c5"]
    assert fleet.exact == sum(order.exact for order in fleet)
    assert 0 < fleet.exact_as_they_lie < fleet.exact < len(fleet)
    assert str(fleet).splitlines()[-1] == repr(fleet)[len("FleetOrders(") : -1]
    same(fleet["c3"], solve(image, GROUPS, some_chips(image)[3]))
    with pytest.raises(KeyError, match="no order of a chip 'c9'"):
        fleet["c9"]
    with fleet.write_csv(tmp_path / "fleet.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, order in zip(rows, fleet, strict=True):
        assert row["chip"] == order.chip
        assert int(row["wrong_in_order"]) == order.wrong
        assert row["exact"] == str(order.exact)
        assert float(row["relative_error"]) == order.relative_error


def test_several_cores_give_the_same():
    image, fleet = a_fleet()
    for one, other in zip(order_chips(image, GROUPS, iter(some_chips(image)), workers=2, progress=False), fleet, strict=True):
        same(one, other)


def test_a_run_folder_goes_on_where_it_ended(tmp_path, monkeypatch):
    image, fleet = a_fleet()
    begun = order_chips(image, GROUPS, some_chips(image), folder=tmp_path / "run", progress=False)
    for _ in range(3):
        next(begun)
    begun.close()

    from tremap_brevitas.order import work as module

    solved_now = []
    real = module.solved
    monkeypatch.setattr(module, "solved", lambda net, chip, *given: solved_now.append(chip.chip) or real(net, chip, *given))
    again = list(order_chips(image, GROUPS, some_chips(image), folder=tmp_path / "run", progress=False))
    assert solved_now == ["c3", "c4", "c5"]
    for one, other in zip(again, fleet, strict=True):
        same(one, other)
    with pytest.raises(ValueError, match="holds a run with seed=0, but here it is 1"):
        list(order_chips(image, GROUPS, [], folder=tmp_path / "run", options=SearchOptions(seed=1), progress=False))
    with pytest.raises(ValueError, match="holds a run with image="):
        list(order_chips(a_network(1), GROUPS, [], folder=tmp_path / "run", progress=False))


def test_bad_fleets():
    image, fleet = a_fleet()
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        order_chips(image, GROUPS, [], workers=0)
    with pytest.raises(ValueError, match="at least one chip"):
        FleetOrders(())
    other = a_network(1)
    with pytest.raises(ValueError, match="orders of different networks: chips 'c0' and 'c1'"):
        FleetOrders((fleet["c0"], solve(other, GROUPS, some_chips(other)[1])))


def test_orders_survive_a_file(tmp_path):
    image, fleet = a_fleet()
    loaded = load_orders(save_orders(fleet, tmp_path / "orders.npz"), image, GROUPS)
    for one, other, chip in zip(loaded, fleet, some_chips(image), strict=True):
        same(one, other)
        assert check_order(one, chip) == ()


def test_another_network_is_refused(tmp_path):
    image, fleet = a_fleet()
    path = save_orders(fleet, tmp_path / "orders.npz")
    with pytest.raises(ValueError, match=r"orders\.npz: is of another network: its image have digest"):
        load_orders(path, a_network(1), GROUPS)
    with pytest.raises(ValueError, match=r"orders\.npz: is of another network: its groups have digest"):
        load_orders(path, image, GROUPS[:1])


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("moves", lambda a: a + 1, "chip 'c0'.*order of group 'a' must be a permutation of 0 to 3"),
        ("moves", lambda a: a[:, 1:], "moves has shape"),
        ("moves", lambda a: a.astype(float), "moves has shape .* of float64"),
        ("counts", lambda a: -a, "shape"),
        ("counts", lambda a: a[:-1], "counts has shape"),
        ("weight", lambda a: a + 10_000, "not ascending indices of weights below"),
        ("weight", lambda a: a[::-1], "not ascending indices of weights below"),
        ("read", lambda a: a * 0 + 200, "is out of range, or is read correctly"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, name, change, says):
    image, fleet = a_fleet()
    path = save_orders(fleet, tmp_path / "orders.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays[name] = change(arrays[name])
    np.savez_compressed(path, **arrays)
    with pytest.raises(ValueError, match=rf"(?s)orders\.npz.*{says}"):
        load_orders(path, image, GROUPS)


def test_a_cut_file_is_refused(tmp_path):
    image, fleet = a_fleet()
    path = save_orders(fleet, tmp_path / "orders.npz")
    whole = path.read_bytes()
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"orders\.npz"):
            load_orders(path, image, GROUPS)


def test_a_false_claim_is_noticed():
    image, fleet = a_fleet()
    chips = some_chips(image)
    left = fleet["c5"]
    assert left.wrong
    lie = type(left)(
        *(left.chip, left.fault_map, left.network, left.groups, left.orders),
        *((), left.faults, 0, 0),
    )
    problems = check_order(lie, chips[5])
    assert any("read back otherwise than the order says" in problem for problem in problems)
    assert any("wrong as it lies, the order says 0" in problem for problem in problems)
    assert "the order is for a fault map of digest" in check_order(left, chips[4])[0]
