"""Scrambled addresses, rotated and inverted words against plain Python, cell by cell, and against all settings there are."""

import itertools

import channel_networks as networks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tremap_brevitas import FaultMap, Memory, MemoryImage
from tremap_brevitas.order import Hardware, HardwareSetting, SearchOptions, check_order, solve
from tremap_brevitas.order.hardware.words import stuck_words
from tremap_brevitas.placement import LayerCodes, Placement, linear_placement

KINDS = [
    {"scramble": 4},
    {"rotate": 1},
    {"rotate": 4, "amounts": 2},
    {"invert": 1},
    {"invert": 2},
    {"scramble": 8, "rotate": 2, "invert": 1},
    {"scramble": 8, "rotate": 1, "invert": 4},
    {"rotate": 4, "invert": 4},
]


def in_eights(image):
    """The same codes in a memory whose words can be divided by eight."""
    placement = image.placement
    words = -(-placement.memory.words // 8) * 8
    own = Placement(Memory(words, placement.memory.word_bits), placement.layers, placement.reuse)
    return MemoryImage(own, image.codes)


def cells_of(setting, words):
    """What is written into every cell, {(tile, word, bit): value}."""
    hardware, width = setting.hardware, setting.memory.word_bits
    keys, amounts = setting.keys.tolist(), dict(zip(setting.rows.tolist(), setting.amounts.tolist(), strict=True))
    inverted, cells = set(setting.inverted.tolist()), {}
    for number, word in enumerate(words):
        tile, at = divmod(number, setting.memory.words)
        if hardware.scramble:
            bank, line = divmod(at, hardware.scramble)
            at = bank * hardware.scramble + (line ^ keys[bank])
        amount = amounts.get(at // hardware.rotate, 0) if hardware.rotate else 0
        flag = int(bool(hardware.invert) and at // hardware.invert in inverted)
        for bit in range(width):
            cells[tile, at, (bit + amount) % width] = (word >> bit & 1) ^ flag
        for bit in range(width, hardware.chip_memory(setting.memory).word_bits):
            cells[tile, at, bit] = 0
        if hardware.invert and at % hardware.invert == 0:
            cells[tile, at, width] = flag
        if hardware.rotate:
            bits, spread = amount_layout(hardware, width)
            for k in range(bits):
                if k // spread == at % hardware.rotate:
                    cells[tile, at, width + bool(hardware.invert) + k % spread] = amount >> k & 1
    return cells


def amount_layout(hardware, width):
    count = hardware.amounts or 2 ** (len(f"{width:b}") - 1)
    bits = len(f"{count:b}") - 1
    return bits, -(-bits // hardware.rotate)


def words_of(setting, cells, count):
    """The words of the placement from what all cells give back, flags and amounts as they are read."""
    hardware, width = setting.hardware, setting.memory.word_bits
    result = []
    for number in range(count):
        tile, at = divmod(number, setting.memory.words)
        if hardware.scramble:
            bank, line = divmod(at, hardware.scramble)
            at = bank * hardware.scramble + (line ^ int(setting.keys[bank]))
        amount = 0
        if hardware.rotate:
            first = at - at % hardware.rotate
            bits, spread = amount_layout(hardware, width)
            for k in range(bits):
                amount += cells[tile, first + k // spread, width + bool(hardware.invert) + k % spread] << k
        flag = cells[tile, at - at % hardware.invert, width] if hardware.invert else 0
        result.append(sum((cells[tile, at, (bit + amount) % width] ^ flag) << bit for bit in range(width)))
    return result


def through(cells, chip):
    stuck = {divmod(c, chip.memory.word_bits): v for c, v in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True)}
    return {key: stuck.get(key[1:], value) for key, value in cells.items()}


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(networks.networks(), st.sampled_from(KINDS), st.integers(0, 2**32), st.sampled_from([0.02, 0.1, 0.3]), st.booleans())
def test_what_is_said_is_what_is_read(network, kind, seed, rate, of_error):
    image, groups = network
    image, hardware = in_eights(image), Hardware(**kind)
    memory = image.placement.memory
    chip = networks.random_chip(hardware.chip_memory(memory), np.random.default_rng(seed), rate)
    options = SearchOptions(rounds=3, aim="error" if of_error else "wrong_codes")
    order = solve(image, groups, chip, options=options, hardware=hardware)
    setting = order.hardware

    # Written into the cells, read back through those that are stuck, undone.
    cells = cells_of(setting, order.image.words())
    wide = hardware.chip_memory(memory).word_bits
    assert order.words == [
        sum(cells[number // memory.words, number % memory.words, bit] << bit for bit in range(wide))
        for number in range(memory.words * image.placement.tiles)
    ]
    words = words_of(setting, through(cells, chip), len(order.words))
    assert setting.read(stuck_words(order.words, chip)) == words
    read = MemoryImage.from_words(image.placement, words).codes
    wanted = networks.plainly_ordered(image.codes, groups, order.orders)
    wrong = {
        (name, int(flat)): (int(wanted[name].reshape(-1)[flat]), int(read[name].reshape(-1)[flat]))
        for name in read
        for flat in np.flatnonzero(wanted[name].reshape(-1) != read[name].reshape(-1))
    }
    assert wrong == {
        (d.layer, int(w)): (int(t), int(r))
        for d in order.differences
        for w, t, r in zip(d.weight, d.trained, d.read, strict=True)
    }
    # In the network's own order it is the network, if it is said to be exact.
    back = order.read(stuck_words(order.words, chip))
    for name, codes in image.codes.items():
        assert np.array_equal(networks.plainly_ordered(back, groups, order.orders)[name], read[name])
        if order.exact:
            assert np.array_equal(back[name], codes)
    assert check_order(order, chip) == ()
    data = FaultMap(memory, *plain_data(chip, memory), "chip")
    assert order.wrong_as_it_lies == len(networks.plainly_wrong(image.codes, image.placement, data))
    # What the placement's words meet is what the map that is seen says.
    seen = networks.plainly_wrong(wanted, image.placement, setting.equivalent_map(chip))
    assert set(seen) == set(wrong)


def plain_data(chip, memory):
    kept = [divmod(cell, chip.memory.word_bits) for cell in chip.cells.tolist()]
    data = [bit < memory.word_bits for _, bit in kept]
    return [w * memory.word_bits + b for w, b in kept if b < memory.word_bits], chip.stuck_at[np.array(data, dtype=bool)]


def all_settings(hardware, memory):
    banks, rows, groups = (memory.words // n if n else 0 for n in (hardware.scramble, hardware.rotate, hardware.invert))
    amounts = range(hardware.amount_count(memory))
    for keys in itertools.product(range(max(1, hardware.scramble)), repeat=banks):
        for turned in itertools.product(amounts, repeat=rows):
            for flags in itertools.product((0, 1), repeat=groups):
                moved = np.flatnonzero(turned) if rows else []
                yield HardwareSetting(
                    hardware, memory, list(keys), moved, [turned[row] for row in moved], np.flatnonzero(flags)
                )


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(
    st.sampled_from([{"scramble": 4, "rotate": 2, "amounts": 2, "invert": 1}, {"rotate": 2, "invert": 4}, {"scramble": 4}]),
    st.integers(0, 2**32),
)
def test_no_setting_is_better(kind, seed):
    rng, hardware, memory = np.random.default_rng(seed), Hardware(**kind), Memory(4, 8)
    image = networks.random_image(linear_placement([LayerCodes("fc", (7,), 4, "sign_magnitude")], memory), rng)
    chip = networks.random_chip(hardware.chip_memory(memory), rng, 0.3)
    order = solve(image, [], chip, hardware=hardware)
    best = None
    for setting in all_settings(hardware, memory):
        try:
            seen = setting.equivalent_map(chip)
        except ValueError:  # a flag or an amount is stuck at another value
            continue
        wrong = networks.plainly_wrong(image.codes, image.placement, seen)
        score = len(wrong), sum((w - r) ** 2 for w, r in wrong.values()) / image.squares["fc"]
        best = score if best is None else min(best, score)
    assert order.wrong == best[0]
    assert order.relative_error**2 == pytest.approx(best[1])


def test_channels_serve_what_the_hardware_cannot():
    rng, helped = np.random.default_rng(0), 0
    groups = networks.groups_of_a_chain(6, 6, 1)
    shapes = {"first": (6, 2, 3), "deep": (6, 1, 2), "second": (6, 6, 2), "last": (2, 6)}
    layers = [LayerCodes(name, shape, 8, "twos_complement") for name, shape in shapes.items()]
    image, hardware = networks.random_image(linear_placement(layers, Memory(40, 32)), rng), Hardware(invert=1)
    for _ in range(20):
        chip = networks.random_chip(hardware.chip_memory(image.placement.memory), rng, 0.02)
        alone = solve(image, [], chip, hardware=hardware)
        both = solve(image, groups, chip, hardware=hardware)
        assert both.wrong <= alone.wrong <= alone.wrong_as_it_lies + 4  # a stuck flag may cost the codes of its word
        helped += both.wrong < alone.wrong
        if not alone.wrong:  # then no channel moves
            assert both.moved == 0
    assert helped > 3


def test_one_stuck_cell_a_word_costs_a_flag():
    memory = Memory(64, 32)
    image = networks.random_image(
        linear_placement([LayerCodes("fc", (256,), 8, "twos_complement")], memory), np.random.default_rng(0)
    )
    hardware = Hardware(invert=1)
    wide = hardware.chip_memory(memory)
    rng = np.random.default_rng(1)
    cells = [wide.cell(word=word, bit=int(rng.integers(33))) for word in range(64)]
    order = solve(image, [], FaultMap(wide, cells, rng.integers(0, 2, 64), "chip"), hardware=hardware)
    assert order.exact
    assert order.wrong_as_it_lies > 10


def test_what_cannot_be_is_refused():
    memory = Memory(24, 8)
    for options, message in (
        ({"scramble": 3}, "scramble must be a power of two above 1, got 3"),
        ({"rotate": -1}, "rotate must be 0 or more, got -1"),
        ({"rotate": 1, "amounts": 3}, "amounts must be a power of two above 1, got 3"),
        ({"amounts": 4}, "amounts=4 are of rotation, but rotate is 0"),
        ({"rotate": 2, "invert": 3}, "of rotate=2 and invert=3 neither divides the other"),
        ({"scramble": 4, "invert": 3}, "invert=3 does not divide the bank of scramble=4 words"),
    ):
        with pytest.raises(ValueError, match=message):
            Hardware(**options)
    with pytest.raises(TypeError, match="invert must be an integer, got 0.5"):
        Hardware(invert=0.5)
    for options, message in (
        ({"scramble": 16}, "scramble=16 does not divide the 24 words of the memory"),
        ({"rotate": 1, "amounts": 16}, "a word of 8 bits cannot be rotated by 16 amounts"),
    ):
        with pytest.raises(ValueError, match=message):
            Hardware(**options).check(memory)
    both = Hardware(scramble=8, rotate=1, invert=2)
    for numbers, message in (
        ({"keys": [1, 2]}, "2 keys, but the memory has 3 banks of 8 words"),
        ({"keys": [1, 2, 8]}, "keys must be from 0 to 7, got 1 to 8"),
        ({"rows": [2, 1], "amounts": [1, 1]}, "rows must be ascending"),
        ({"rows": [1], "amounts": [0]}, "or a 0"),
        ({"rows": [1, 2], "amounts": [1]}, "2 rows have amounts other than 0, but 1 amounts are given"),
        ({"inverted": [12]}, "inverted must be from 0 to 11, got 12 to 12"),
    ):
        with pytest.raises(ValueError, match=message):
            HardwareSetting(both, memory, **numbers)
    setting = HardwareSetting(both, memory)
    with pytest.raises(ValueError, match="23 words, but the memory has 24"):
        setting.read([0] * 23)
    flag = FaultMap(both.chip_memory(memory), [both.chip_memory(memory).cell(word=2, bit=8)], [1], "A7")
    with pytest.raises(ValueError, match="chip 'A7': the flag of group 1 is 0, but a cell of it is stuck at another value"):
        setting.equivalent_map(flag)
    with pytest.raises(ValueError, match="with its flags and amounts, has 24 words × 12 bits"):
        setting.equivalent_map(FaultMap(memory, [0], [1], "narrow"))
