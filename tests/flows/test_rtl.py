"""What Icarus Verilog reads from the memory with stuck cells is what the certificate says, word for word."""

import dataclasses

import numpy as np
import pytest
from groups import Group, X, linear_network, signed
from helpers import flow, needs_program
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import fault_maps, images

import tremap_brevitas as tm
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.array.repair import Repair
from tremap_brevitas.order import Hardware, HardwareSetting, SearchOptions, SpareLines, save_orders, solve
from tremap_brevitas.order.hardware.words import stuck_words
from tremap_brevitas.placement import words_read, write_memory_image
from tremap_brevitas.placement.image_file import write_words

rtl = flow("rtl/simulate.py")


@pytest.fixture(autouse=True)
def _iverilog():
    needs_program("iverilog")


@given(data=st.data(), image=images())
@settings(max_examples=12)
def test_any_memory_any_order_any_faults(data, image, tmp_path_factory):
    """Word widths that are not a multiple of four, reused memories, orders of their own."""
    folder = tmp_path_factory.mktemp("rtl")
    chip = data.draw(fault_maps(image.placement.memory))
    program = rtl.compile_memory(image.placement.memory, image.placement.tiles, folder)
    path = write_memory_image(image, folder / "image.mem", format="readmemh", fault_map=None)
    assert rtl.words_read(program, path, chip, folder) == words_read(image, chip)


@st.composite
def hardware_settings(draw):
    """A small memory, and a setting of some hardware for it."""
    words, width = draw(st.sampled_from([1, 2, 4, 8, 12, 16])), draw(st.integers(2, 11))
    memory = tm.Memory(words=words, word_bits=width)
    units = [n for n in (1, 2, 4) if words % n == 0]
    rotate, invert = draw(st.sampled_from([0, *units])), draw(st.sampled_from([0, *units]))
    banks = [n for n in (2, 4, 8) if words % n == 0 and n >= max(rotate, invert)]
    hardware = Hardware(scramble=draw(st.sampled_from([0, *banks])), rotate=rotate, invert=invert)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    keys = rng.integers(0, hardware.scramble, words // hardware.scramble) if hardware.scramble else None
    amounts = rng.integers(0, hardware.amount_count(memory), words // rotate) if rotate else np.empty(0, dtype=int)
    inverted = np.flatnonzero(rng.integers(0, 2, words // invert)) if invert else []
    rows = np.flatnonzero(amounts)
    return HardwareSetting(hardware, memory, keys, rows, amounts[rows], inverted)


@given(data=st.data(), setting=hardware_settings(), tiles=st.integers(1, 3))
@settings(max_examples=25)
def test_any_hardware_in_any_setting(data, setting, tiles, tmp_path_factory):
    """Verilog finds the words that plain Python finds; with nothing stuck, those that were written."""
    memory, wide = setting.memory, setting.chip_memory
    words = data.draw(
        st.lists(st.integers(0, 2**memory.word_bits - 1), min_size=memory.words * tiles, max_size=memory.words * tiles)
    )
    chip, folder = data.draw(fault_maps(wide)), tmp_path_factory.mktemp("hardware")
    held = setting.written(words)
    path = write_words(held, folder / "image.mem", format="readmemh", word_bits=wide.word_bits, text="")
    program = rtl.compile_memory(memory, tiles, folder, setting.hardware)
    assert rtl.words_read(program, path, chip, folder, setting) == plainly_read(stuck_words(held, chip), setting)
    assert rtl.words_read(program, path, tm.FaultMap(wide, [], []), folder, setting) == words


def plainly_read(cells, setting):
    """Word after word of the network, as the accelerator is described."""
    hardware, count, width = setting.hardware, setting.memory.words, setting.memory.word_bits
    read = []
    for address in range(len(cells)):
        tile, word = divmod(address, count)
        if hardware.scramble:
            word ^= int(setting.keys[word // hardware.scramble])
        held = cells[tile * count : (tile + 1) * count]
        bits, amount, inverted = held[word], 0, 0
        if hardware.invert:
            inverted = held[word - word % hardware.invert] >> width & 1
        if hardware.rotate:
            row, spread = word - word % hardware.rotate, hardware.spread(setting.memory)
            for k in range(hardware.amount_bits(setting.memory)):
                amount |= (held[row + k // spread] >> (width + bool(hardware.invert) + k % spread) & 1) << k
        placed = [(bits >> (b + amount) % width & 1) ^ inverted for b in range(width)]
        read.append(sum(bit << b for b, bit in enumerate(placed)))
    return read


def test_chips_whose_hardware_moves_words_and_bits(tmp_path, capsys):
    model, x = tm.make_faulty(linear_network()), X["linear"]
    for _ in range(3):  # activation scales
        model(x)
    net = tm.place(model.eval(), tm.Memory(words=2560, word_bits=32))
    groups = tm.prepare.channel_groups(net, x)
    folder = net.export(tmp_path / "healthy", x, dynamo=False, groups=groups)
    hardware, image = Hardware(scramble=64, rotate=2, invert=1), net.memory_image()
    (some,) = tm.random_fault_maps(hardware.chip_memory(net.placement.memory), chips=1, fault_rate=2e-2, seed=2)
    chip = tm.FaultMap(some.memory, some.cells, some.stuck_at, "c0")
    order = solve(image, groups.groups, chip, options=SearchOptions(rounds=3), hardware=hardware)
    assert order.wrong < order.wrong_as_it_lies
    assert order.hardware.keys.any()
    assert len(order.hardware.rows)
    assert len(order.hardware.inverted)
    path, orders = str(chip.save(tmp_path / "c0.npz")), str(save_orders([order], tmp_path / "orders.npz"))
    assert rtl.main([str(folder), path, "--orders", orders]) == 0
    verdict = f"{order.wrong} differ from" if order.wrong else "all equal to"
    said = f"{net.placement.weights} codes read, {verdict} the ONNX integers, as its certificate in its order says"
    assert said in capsys.readouterr().out
    # Another flag than the one that was settled is seen in what comes back.
    setting = dataclasses.replace(order.hardware, inverted=order.hardware.inverted[1:])
    lie = dataclasses.replace(order, hardware=setting)
    assert rtl.main([str(folder), path, "--orders", str(save_orders([lie], tmp_path / "lie.npz"))]) == 1
    assert "its certificate in its order says OTHERWISE" in capsys.readouterr().out


def test_exact_chips_and_one_with_conflicts(tmp_path, capsys):
    group = Group()
    lucky = group.exact_chip(range(3, 900, 11))
    folder = group.export(tmp_path / "group_0", chips=[*group.chips, lucky])
    paths = [str(chip.save(tmp_path / f"{chip.chip}.npz")) for chip in [group.chips[0], lucky]]
    assert rtl.main([str(folder), *paths]) == 0
    first, second = capsys.readouterr().out.splitlines()
    wrong = tm.placement.certificate(group.image, group.chips[0]).weights_that_differ
    assert wrong > 0
    assert f"'chip-0': 9744 codes read, {wrong} differ from the ONNX integers, as its certificate says" in first
    assert "'lucky': 9744 codes read, all equal to the ONNX integers, as its certificate says" in second


def test_chips_in_their_orders(tmp_path, capsys):
    group = Group("linear")
    groups = tm.prepare.channel_groups(group.net, group.x)
    folder = group.export(tmp_path / "group_0", groups=groups)
    many = tm.random_fault_maps(group.placement.memory, chips=1, fault_rate=5e-4, seed=2) + group.chips[:1]
    chips = [tm.FaultMap(chip.memory, chip.cells, chip.stuck_at, f"c{n}") for n, chip in enumerate(many)]
    solved = [solve(group.image, groups.groups, chip, options=SearchOptions(rounds=3)) for chip in chips]
    assert [order.exact for order in solved] == [True, False]
    assert solved[0].wrong_as_it_lies
    paths = [str(chip.save(tmp_path / f"{chip.chip}.npz")) for chip in chips]
    orders = str(save_orders(solved, tmp_path / "orders.npz"))
    assert rtl.main([str(folder), *paths, "--orders", orders]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert (
        f"{group.placement.weights} codes read, all equal to the ONNX integers, as its certificate in its order says" in first
    )
    assert f"{solved[1].wrong} differ from the ONNX integers, as its certificate in its order says" in second
    # Of a chip with spare rows the lines that they replace are no longer read.
    row = np.arange(8 * 32, 9 * 32)
    cells = np.union1d(chips[0].cells, row)
    old = dict(zip(chips[0].cells.tolist(), chips[0].stuck_at.tolist(), strict=True))
    broken = tm.FaultMap(chips[0].memory, cells, [old.get(cell, cell % 2) for cell in cells.tolist()], "c0")
    spares = SpareLines(Repair(rows=((0, 8),)), ArrayGeometry(broken.memory))
    order = solve(group.image, groups.groups, spares.left(broken), options=SearchOptions(rounds=3))
    mended = str(save_orders([dataclasses.replace(order, spares=spares)], tmp_path / "mended.npz"))
    path = str(broken.save(tmp_path / "broken.npz"))
    assert rtl.main([str(folder), path, "--orders", mended]) == 0
    assert "all equal to the ONNX integers, as its certificate in its order says" in capsys.readouterr().out
    # An order that says that its chip is exact, and is not, is told.
    order = solved[1]
    lie = dataclasses.replace(order, differences=())
    assert rtl.main([str(folder), paths[1], "--orders", str(save_orders([lie], tmp_path / "lie.npz"))]) == 1
    assert "its certificate in its order says OTHERWISE" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{"deployment": "chip_image"}, {"memory_format": "intel_hex"}])
def test_other_bundles(tmp_path, options, capsys):
    group = Group("linear", encoding="offset_binary")
    folder = group.export(tmp_path / "group_0", **options)
    paths = [str(chip.save(tmp_path / f"{chip.chip}.npz")) for chip in group.chips]
    assert rtl.main([str(folder), *paths]) == 0
    assert capsys.readouterr().out.count("as its certificate says") == 4


def test_without_conflicts_every_member_is_exact(tmp_path, capsys):
    group = Group("linear")
    merged = tm.merge(group.chips[:1], on_conflict="error")
    with group.net.using(merged):
        folder = group.export(tmp_path / "group_0")
    assert rtl.main([str(folder), str(group.chips[0].save(tmp_path / "a.npz"))]) == 0
    assert "all equal to the ONNX integers" in capsys.readouterr().out


def test_a_simulation_that_reads_something_else_is_told(tmp_path, capsys, monkeypatch):
    group = Group("linear")
    folder = group.export(tmp_path / "group_0")
    path = str(group.chips[0].save(tmp_path / "a.npz"))
    masks = rtl.write_masks

    def other_chip(chip, where):
        return masks(dataclasses.replace(chip, stuck_at=1 - chip.stuck_at), where)  # the polarity mixed up

    monkeypatch.setattr(rtl, "write_masks", other_chip)
    assert rtl.main([str(folder), path]) == 1
    assert "its certificate says OTHERWISE" in capsys.readouterr().out


def test_a_damaged_bundle_is_not_simulated(tmp_path):
    group = Group("linear")
    folder = group.export(tmp_path / "group_0")
    image = folder / "weights_as_written.mem"
    image.write_text(image.read_text().replace("\n0", "\n1", 1))
    signed(folder)
    with pytest.raises(ValueError, match="codes differ in"):
        rtl.main([str(folder), str(group.chips[0].save(tmp_path / "a.npz"))])


def test_masks_are_readable(tmp_path):
    chip = tm.FaultMap(tm.Memory(words=20, word_bits=6), [0, 5, 6 * 17 + 2], [1, 1, 0], "A7")
    paths = rtl.write_masks(chip, tmp_path)
    assert paths["sa1"].read_text() == f"// cells stuck at 1: chip 'A7', digest {chip.digest}\n@0 21\n"
    assert paths["sa0"].read_text().splitlines()[1:] == ["@11 04"]
    assert np.array_equal(chip.cells, [0, 5, 104])
