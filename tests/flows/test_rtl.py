"""What Icarus Verilog reads from the memory with stuck cells is what the certificate says, word for word."""

import dataclasses

import numpy as np
import pytest
from groups import Group, signed
from helpers import flow, needs_program
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import fault_maps, images

import tremap_brevitas as tm
from tremap_brevitas.order import SearchOptions, save_orders, solve
from tremap_brevitas.placement import words_read, write_memory_image

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
