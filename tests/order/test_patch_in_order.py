"""Codes chosen anew in a chip's order: against the same network stored in that order from the start."""

import channel_networks as networks
import numpy as np
import pytest

import tremap_brevitas as tm
from tremap_brevitas.moments import InputMoments, LayerMoments
from tremap_brevitas.order import (
    ChannelGroup,
    Hardware,
    SearchOptions,
    Side,
    check_order,
    load_orders,
    patch_in_order,
    save_orders,
    solve,
)
from tremap_brevitas.order.hardware.words import stuck_words
from tremap_brevitas.patching import patch
from tremap_brevitas.placement import LayerCodes, linear_placement, words_read

EACH = networks.each
GROUPS = (
    ChannelGroup("a", 6, (Side("first", 0, EACH(6)), Side("second", 1, EACH(6)))),
    ChannelGroup("b", 8, (Side("second", 0, EACH(8)), Side("last", 1, EACH(8)))),
)
SHAPES = {"first": (6, 5), "second": (8, 6), "last": (3, 8)}


def a_network(seed=0):
    layers = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in SHAPES.items()]
    return networks.random_image(linear_placement(layers, tm.Memory(40, 32)), np.random.default_rng(seed))


def moments_of(image, *, order=None, seed=5):
    """Moments of random inputs; with an order, of the same inputs in the order of the slots."""
    rng, layers = np.random.default_rng(seed), {}
    inputs = {name: rng.normal(size=(40, shape[1])) @ rng.normal(size=(shape[1], shape[1])) for name, shape in SHAPES.items()}
    for name, group in (("second", "a"), ("last", "b")):
        if order is not None:
            inputs[name] = inputs[name][:, order[group]]
    for name in ("second", "last"):  # the first has none: it gets nearest codes
        x, codes = inputs[name], np.asarray(image.codes[name], dtype=float)
        layers[name] = LayerMoments.of(name, [x.T @ x / len(x)], [x.mean(0)], [codes], 0.01, samples=len(x))
    return InputMoments(layers, image.digest)


def a_chip(image, seed, rate=0.03):
    return networks.random_chip(image.placement.memory, np.random.default_rng(seed), rate)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_patch_makes_of_the_network_stored_in_that_order(seed):
    """Sums come in another order, so that codes may differ where errors are equal; errors may not."""
    image = a_network(seed)
    chip, moments = a_chip(image, seed, rate=0.12), moments_of(image)
    order = solve(image, GROUPS, chip, options=SearchOptions(rounds=5))
    assert order.wrong
    patched, result = patch_in_order(order, moments, chip)
    stored = order.ordered
    other = patch(stored, moments_of(stored, order=order.orders), chip)
    assert result.error_before == pytest.approx(other.error_before, rel=1e-5)
    assert result.nearest_error == pytest.approx(other.nearest_error, rel=1e-5)
    assert result.error < result.nearest_error
    assert other.error < other.nearest_error
    plain = networks.plainly_ordered(result.image.codes, GROUPS, order.orders)
    assert all(np.array_equal(patched.image.codes[name], codes) for name, codes in plain.items())


@pytest.mark.parametrize("seed", range(4))
def test_the_chip_gives_back_what_was_chosen(seed, tmp_path):
    image = a_network(seed)
    chip, moments = a_chip(image, seed), moments_of(image)
    order = solve(image, GROUPS, chip, options=SearchOptions(rounds=5))
    patched, result = patch_in_order(order, moments, chip)
    words = words_read(patched.image, chip)
    assert all(np.array_equal(patched.read(words)[name], codes) for name, codes in result.image.codes.items())
    assert all(np.array_equal(patched.codes_read[name], codes) for name, codes in result.image.codes.items())
    assert patched.wrong == result.after.weights_that_differ >= order.wrong
    assert check_order(patched, chip) == ()
    (loaded,) = load_orders(save_orders([patched], tmp_path / "orders.npz"), image, GROUPS)
    assert check_order(loaded, chip) == ()
    assert loaded.image.digest == patched.image.digest


def test_a_new_stuck_cell_after_the_order_was_found():
    image = a_network()
    before = a_chip(image, 1, rate=0.002)
    order = solve(image, GROUPS, before)
    assert order.exact
    # A bit of the last layer that is stored in this order, stuck the other way.
    layer = image.placement.layer("last")
    cell = image.placement.cell("last", 5, bit=6)
    value = 1 - int(order.image.stored([cell])[0, 0])
    cells = np.append(before.cells[before.cells != cell], cell)
    stuck_at = np.append(before.stuck_at[before.cells != cell], value)
    now = tm.FaultMap(before.memory, cells, stuck_at, "chip")
    patched, result = patch_in_order(order, moments_of(image), now)
    assert [difference.layer for difference in result.before.differences] == [layer.name]
    assert patched.fault_map == now.digest
    assert patched.orders["b"].tolist() == order.orders["b"].tolist()
    assert check_order(patched, now) == ()


def test_a_chip_whose_hardware_moves_words_and_bits(tmp_path):
    """What its cells give back, through flags and amounts that are stuck too, are the codes that were chosen."""
    image = a_network(2)
    hardware = Hardware(scramble=8, rotate=4, invert=1)
    wide = hardware.chip_memory(image.placement.memory)
    chip = networks.random_chip(wide, np.random.default_rng(3), 0.03)
    order = solve(image, GROUPS, chip, options=SearchOptions(rounds=3), hardware=hardware)
    assert len(order.hardware.rows)
    assert len(order.hardware.inverted)
    # In the field: more cells of data, and the flag of a word that was not inverted.
    flag = next(
        w for w in range(wide.words) if w not in order.hardware.inverted and wide.cell(word=w, bit=32) not in chip.cells
    )
    new = np.setdiff1d([wide.cell(word=w, bit=b) for w in range(4, 40, 5) for b in range(0, 32, 3)], chip.cells)
    cells = np.concatenate([chip.cells, new, [wide.cell(word=flag, bit=32)]])
    stuck_at = np.concatenate([chip.stuck_at, np.arange(len(new)) % 2, [1]])
    now = tm.FaultMap(wide, cells, stuck_at, "chip")
    patched, found = patch_in_order(order, moments_of(image), now)
    assert found.error < found.nearest_error
    assert patched.hardware.keys.tolist() == order.hardware.keys.tolist()
    assert set(patched.hardware.inverted) == {*order.hardware.inverted, flag}
    read = patched.read(stuck_words(patched.words, now))
    assert all(np.array_equal(read[name], codes) for name, codes in found.image.codes.items())
    assert check_order(patched, now) == ()
    (loaded,) = load_orders(save_orders([patched], tmp_path / "orders.npz"), image, GROUPS)
    assert loaded.words == patched.words
    assert check_order(loaded, now) == ()


def test_a_flag_alone_is_set_anew():
    image, hardware = a_network(), Hardware(invert=1)
    wide = hardware.chip_memory(image.placement.memory)
    order = solve(image, GROUPS, tm.FaultMap(wide, [], [], "chip"), hardware=hardware)
    now = tm.FaultMap(wide, [wide.cell(word=5, bit=32)], [1], "chip")
    patched, found = patch_in_order(order, moments_of(image), now)
    assert (patched.exact, found.layers, patched.hardware.inverted.tolist()) == (True, (), [5])
    assert check_order(patched, now) == ()
    with pytest.raises(ValueError, match="there is nothing to patch"):
        patch_in_order(patched, moments_of(image), now)


def test_what_is_refused():
    image = a_network()
    chip, moments = a_chip(image, 0), moments_of(image)
    order = solve(image, GROUPS, chip, options=SearchOptions(rounds=2))
    with pytest.raises(ValueError, match="sweeps must be at least 1, got 0"):
        patch_in_order(order, moments, chip, sweeps=0)
    with pytest.raises(ValueError, match="the moments belong to an image of digest"):
        patch_in_order(order, moments_of(a_network(1)), chip)
    with pytest.raises(ValueError, match="chip 'x' is of a memory of 3 words"):
        patch_in_order(order, moments, tm.FaultMap(tm.Memory(3, 8), [], [], "x"))
    with pytest.raises(ValueError, match="chip 'clean' reads every code in its order correctly"):
        patch_in_order(order, moments, tm.FaultMap(image.placement.memory, [], [], "clean"))
