"""Chips of a library that are exact in some order, against a search through all orders there are."""

import itertools

import channel_networks as networks
import numpy as np
import pytest

import tremap_brevitas as tm
from tremap_brevitas.faults.array.repair import Repair, repaired
from tremap_brevitas.order import Hardware, SearchOptions, check_order, in_order, out_of_order
from tremap_brevitas.order.hardware.words import stuck_words
from tremap_brevitas.placement import LayerCodes, linear_placement
from tremap_brevitas.planning import Point, Prepared, ResilienceCurve, assign

GROUPS = networks.groups_of_a_chain(3, 4, 1)
SHAPES = {"first": (3, 2, 3), "deep": (3, 1, 2), "second": (4, 3, 2), "last": (2, 4)}
PLACEMENT = linear_placement([LayerCodes(n, s, 8, "twos_complement") for n, s in SHAPES.items()], tm.Memory(60, 8))


def entry(seed, accuracy, *, groups=GROUPS):
    return Prepared(f"image {seed}", networks.random_image(PLACEMENT, np.random.default_rng(seed)), accuracy, groups=groups)


LIBRARY = [entry(0, 0.8), entry(1, 0.9), entry(2, 0.85)]


def chips(count, rate):
    maps = tm.random_fault_maps(PLACEMENT.memory, chips=count, fault_rate=rate, seed=3)
    return [tm.FaultMap(chip.memory, chip.cells, chip.stuck_at, f"c{n}") for n, chip in enumerate(maps)]


def exact_in_some_order(image, chip):
    for orders in itertools.product(*(itertools.permutations(range(group.channels)) for group in GROUPS)):
        named = {group.name: order for group, order in zip(GROUPS, orders, strict=True)}
        if not networks.plainly_wrong(networks.plainly_ordered(image.codes, GROUPS, named), PLACEMENT, chip):
            return True
    return False


@pytest.mark.slow
def test_a_chip_is_exact_in_order_if_any_order_of_any_image_that_serves_is():
    seen = set()
    for chip, assignment in zip(chips(5, 0.01), assign(chips(5, 0.01), LIBRARY, goal=0.82, orders=True), strict=True):
        as_they_lie = [e for e in LIBRARY[1:] if tm.placement.certificate(e.image, chip).bit_exact]
        in_order_too = [e for e in LIBRARY[1:] if exact_in_some_order(e.image, chip)]
        expected = "exact" if as_they_lie else "exact in order" if in_order_too else "retrain"
        assert assignment.verdict == expected
        if expected == "exact in order":
            best = max(in_order_too, key=lambda e: e.accuracy)
            assert (assignment.image, assignment.result.accuracy, assignment.error) == (best.name, best.accuracy, 0.0)
            assert assignment.result.weights_that_differ == assignment.result.worst_error == 0
            assert check_order(assignment.order, chip) == ()
            assert assignment.order.network is best.image
        else:
            assert assignment.order is None
        seen.add(expected)
    assert {"exact in order", "retrain"} <= seen


def test_orders_are_not_looked_for_unless_asked():
    many = chips(8, 0.01)
    plain, asked = (list(assign(many, LIBRARY, goal=0.82, orders=orders)) for orders in (False, SearchOptions(rounds=5)))
    assert {a.verdict for a in plain} <= {"exact", "retrain"}
    assert sum(a.verdict == "exact in order" for a in asked) >= 2
    for before, now in zip(plain, asked, strict=True):
        assert now == before or now.verdict == "exact in order"


def test_an_order_wins_over_good_enough_but_not_over_exact():
    curve = ResilienceCurve([Point(0.0, 0.9), Point(2.0, 0.89)])
    many = chips(8, 0.01)
    verdicts = [a.verdict for a in assign(many, LIBRARY, goal=0.5, curve=curve, orders=True)]
    without = [a.verdict for a in assign(many, LIBRARY, goal=0.5, curve=curve)]
    assert verdicts.count("exact in order") > 1
    assert set(without) == {"good enough"}
    clean = tm.FaultMap(PLACEMENT.memory, [], [], "clean")
    (assignment,) = assign([clean], LIBRARY, goal=0.5, orders=True)
    assert (assignment.verdict, assignment.order) == ("exact", None)


def test_spare_lines_come_before_orders():
    chip = tm.FaultMap(PLACEMENT.memory, [*range(8), 100], [1, 0] * 4 + [1], "c")
    (before,) = assign([chip], LIBRARY[:1], goal=0.5, orders=True)
    (after,) = assign([repaired(chip, Repair(rows=((0, 0),)))], LIBRARY[:1], goal=0.5, orders=True)
    assert before.verdict == "retrain"
    assert after.verdict in ("exact", "exact in order")
    ordered = LIBRARY[0].image.codes if after.order is None else in_order(LIBRARY[0].image.codes, GROUPS, after.order.orders)
    assert not networks.plainly_wrong(ordered, PLACEMENT, tm.FaultMap(chip.memory, [100], [1]))


def test_hardware_serves_chips_that_no_order_does():
    hardware = Hardware(invert=1)
    wide = hardware.chip_memory(PLACEMENT.memory)
    maps = tm.random_fault_maps(wide, chips=12, fault_rate=0.02, seed=4)
    without = [hardware.data_faults(chip, PLACEMENT.memory) for chip in maps]
    found = list(assign(maps, LIBRARY, goal=0.82, orders=True, hardware=hardware))
    plain = list(assign(without, LIBRARY, goal=0.82, orders=True))
    exact = [a.verdict == "exact in order" for a in found]
    assert sum(exact) > sum(a.verdict == "exact in order" for a in plain)
    for chosen, chip in zip(found, maps, strict=True):
        if chosen.order is not None:
            words = stuck_words(chosen.order.words, chip)
            data = [word & 255 ^ 255 * (word >> 8) for word in words]  # as the accelerator reads a word and its flag
            codes = tm.MemoryImage.from_words(PLACEMENT, data).codes
            read = out_of_order(codes, GROUPS, chosen.order.orders)
            (image,) = [entry.image for entry in LIBRARY if entry.name == chosen.image]
            assert all(np.array_equal(read[name], wanted) for name, wanted in image.codes.items())


def test_a_stuck_flag_needs_an_image_of_its_own():
    hardware = Hardware(invert=1)
    wide = hardware.chip_memory(PLACEMENT.memory)
    healthy, flag = (tm.FaultMap(wide, cells, [1] * len(cells), "c") for cells in ([], [wide.cell(word=3, bit=8)]))
    chosen = list(assign([healthy, flag], LIBRARY, goal=0.82, orders=True, hardware=hardware))
    assert [a.verdict for a in chosen] == ["exact", "exact in order"]
    assert chosen[1].order.hardware.inverted.tolist() == [3]


def test_workers_change_nothing():
    hardware = Hardware(invert=2)
    wide = hardware.chip_memory(PLACEMENT.memory)
    maps = [chip for rate in (0.02, 0.3) for chip in tm.random_fault_maps(wide, chips=5, fault_rate=rate, seed=4)]
    options = {"goal": 0.82, "orders": SearchOptions(rounds=5), "hardware": hardware}
    alone, together = (list(assign(iter(maps), LIBRARY, workers=workers, **options)) for workers in (1, 2))
    assert alone == together
    assert {a.verdict for a in alone} == {"exact in order", "retrain"}
    for one, other in zip(alone, together, strict=True):
        if one.order is not None:
            assert one.order.words == other.order.words
            assert other.order.network is next(entry.image for entry in LIBRARY if entry.name == other.image)


def test_what_is_refused():
    with pytest.raises(ValueError, match="ask for orders as well"):
        next(assign(chips(1, 0.01), LIBRARY, goal=0.5, hardware=Hardware(invert=1)))
    with pytest.raises(ValueError, match="the library's"):
        next(assign(chips(1, 0.01), LIBRARY, goal=0.5, orders=True, hardware=Hardware(invert=1)))
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        next(assign(chips(1, 0.01), LIBRARY, goal=0.5, workers=0))
    with pytest.raises(ValueError, match="no image has groups of channels; export with groups="):
        next(assign(chips(1, 0.01), [entry(0, 0.9, groups=None)], goal=0.5, orders=True))
    with pytest.raises(ValueError, match="orders give each chip an image of its own; with deployment 'group_image'"):
        next(assign(chips(1, 0.01), LIBRARY, goal=0.5, orders=True, deployment="group_image"))
    (assignment,) = assign(chips(1, 0.03), [entry(0, 0.9, groups=None), entry(1, 0.7)], goal=0.8, orders=True)
    assert assignment.verdict == "retrain"  # the one with groups does not reach the goal
