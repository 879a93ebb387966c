"""Which files are a chip's: pairs, folders, read-backs in the formats of memory images, and formats of one's own."""

import os
from typing import get_args

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import fault_maps

import tremap_brevitas as tm
from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.cli import main
from tremap_brevitas.faults.formats import (
    FORMATS,
    FormatError,
    detect_format,
    fault_map_format,
    read_fault_map,
    read_fault_maps,
    read_readback,
    write_fault_map,
)
from tremap_brevitas.memory_files import FORMATS as IMAGES
from tremap_brevitas.memory_files import Format as ImageFormat

MEMORY = Memory(words=4, word_bits=8)


def cells(chip):
    return dict(zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True))


def tremap(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments], prog_name="tremap")
    assert result.exit_code == code, (result.output, result.exception)
    return result


# ------------------------------------------------------------------ read-backs

# Word 1 lost bit 0 after all ones, word 3 bit 7.
AFTER_ONES = {
    "readmemh": "// dump\n@0 ff fe /* word 2 */ FF\n@3\n7f\n",
    "amd_mif": "11111111\n11111110\n11111111\n01111111\n",
    "coe": "memory_initialization_radix=10;\nmemory_initialization_vector=255, 254, 255,\n127;\n",
    "altera_mif": "WIDTH=8; DEPTH=4; ADDRESS_RADIX=HEX; DATA_RADIX=DEC;\nCONTENT\nBEGIN\n[0..2] : -1 -2 -1;\n3 : 127;\nEND;\n",
    "intel_hex": ":04000000FFFEFF7F81\n:00000001FF\n",
    "raw": b"\xff\xfe\xff\x7f",
}


@pytest.mark.parametrize("form", get_args(ImageFormat))
def test_a_read_back_may_be_a_memory_image(tmp_path, form):
    content = AFTER_ONES[form]
    path = tmp_path / "A7.dump"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    chip = read_fault_map(path, memory=MEMORY, format="readback", image_format=form)
    assert (cells(chip), chip.chip) == ({8: 0, 31: 0}, "A7")
    with pytest.raises(FormatError, match=r"A7\.dump: holds 4 words, but the memory has 5$"):
        read_readback(path, None, Memory(words=5, word_bits=8), image_format=form)
    path.write_text("?")
    with pytest.raises(FormatError, match=r"A7\.dump(:1)?: "):
        read_readback(path, None, MEMORY, image_format=form)


@given(chip=fault_maps(), form=st.sampled_from(get_args(ImageFormat)), extra=st.integers(0, 9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_read_backs_as_images_say_what_the_words_say(tmp_path, chip, form, extra):
    memory = chip.memory
    width = memory.word_bits + extra
    for name, background in (("ones", (1 << width) - 1), ("zeros", 0)):
        words = [background] * memory.words
        for cell, value in cells(chip).items():
            word, bit = divmod(cell, memory.word_bits)
            words[word] = words[word] | 1 << bit if value else words[word] & ~(1 << bit)
        (tmp_path / name).write_bytes(IMAGES[form].write(words, width, "read back"))
    loaded = read_readback(tmp_path / "ones", tmp_path / "zeros", memory, image_format=form, row_bits=width)
    assert loaded.digest == chip.digest


def test_bad_options_of_images(tmp_path):
    (tmp_path / "a").write_text("ff")
    for options, reason in (
        ({"image_format": "hex"}, "image_format must be one of readmemh, .*, None, got 'hex'"),
        ({"image_format": "coe", "byte_order": "big"}, "duplicated_bytes and byte_order are for bare hexadecimal digits"),
        ({"image_format": "coe", "row_bits": 7}, "row_bits must be at least 8, got 7"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_readback(tmp_path / "a", None, MEMORY, **options)


def test_names_say_what_was_written(tmp_path):
    (tmp_path / "A7-ones.hex").write_text("fffeff7f")
    (tmp_path / "A7-zeros.hex").write_text("00010000")
    read = {"format": "readback", "memory": MEMORY}
    with pytest.raises(FormatError, match="failed both as 0 and as 1"):
        read_fault_maps(tmp_path, **read)
    (tmp_path / "A7-zeros.hex").write_text("00000100")
    (tmp_path / "B2_zeros.hex.gz").write_text("00000100")
    (tmp_path / "C3.hex").write_text("fffeffff")
    chips = [(chip.chip, cells(chip)) for chip in read_fault_maps(tmp_path, **read)]
    assert chips == [("A7", {8: 0, 16: 1, 31: 0}), ("B2", {16: 1}), ("C3", {8: 0})]
    assert cells(read_fault_map(tmp_path / "A7-zeros.hex", **read)) == {16: 1}
    assert cells(read_fault_map(tmp_path / "A7-ones.hex", other=tmp_path / "A7-zeros.hex", **read)) == chips[0][1]


def test_what_convert_writes_is_read_from_the_folder_and_from_a_list(tmp_path):
    chips = tm.random_fault_maps(MEMORY, chips=3, fault_rate=0.2, seed=1)
    (tmp_path / "maps").mkdir()
    for chip in chips:
        chip.save(tmp_path / "maps" / f"{chip.chip}.npz")
    for to in ("readback", "neuralfuse"):
        out = tmp_path / to
        tremap("map", "convert", tmp_path / "maps", "--to", to, "--out", out)
        assert len(list(out.glob("*"))) == 7  # the hidden record of what was written as well
        assert [c.digest for c in read_fault_maps(out, format=to, memory=MEMORY)] == [c.digest for c in chips]
        size = ["--format", to, "--words", 4, "--word-bits", 8]
        for paths in ([out], sorted(out.glob("[!.]*"))):
            lines = tremap("map", "info", *paths, *size).stdout.splitlines()
            assert [int(line.split("bits")[1].split()[0]) for line in lines[1:4]] == [len(c) for c in chips]


# ------------------------------------------------------------------ folders


def test_neuralfuse_folders_name_their_chips(tmp_path):
    for name, row in (("A7", "0,1"), ("B2", "1,0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fmap_sa0_v_0.83.txt").write_text(f"{row}\n0,0\n")
        (tmp_path / name / "fmap_sa1_v_0.83.txt").write_text("0,0\n0,1\n")
    chips = [(c.chip, cells(c), dict(c.metadata)) for c in read_fault_maps(tmp_path)]
    assert chips == [("A7", {1: 0, 3: 1}, {"voltage": "0.83"}), ("B2", {0: 0, 3: 1}, {"voltage": "0.83"})]
    assert [chip.chip for chip in read_fault_maps(tmp_path / "B2", chip_from="folder")] == ["B2"]
    assert [chip.chip for chip in read_fault_maps(tmp_path / "B2")] == ["fmap_v_0.83"]
    for _ in range(2):  # the folder of the results is no chip, though it lies among them
        tremap("map", "convert", tmp_path, "--to", "tremap", "--out", tmp_path / "maps", "--overwrite")
    assert sorted(p.name for p in (tmp_path / "maps").glob("*.npz")) == ["A7.npz", "B2.npz"]


def test_nothing_in_a_folder_is_lost_without_a_word(tmp_path):
    folder = tmp_path / "lot"
    folder.mkdir()
    for name in ("sa0", "sa1"):  # names as of a pair, but two chips
        (folder / f"{name}.csv").write_text("address,bit,stuck_at\n0,0,0\n")
    assert [chip.chip for chip in read_fault_maps(folder, memory=MEMORY)] == ["sa0", "sa1"]
    os.symlink(folder / "gone.npz", folder / "C3.npz")
    (folder / "D4").mkdir()
    size = ["--words", 4, "--word-bits", 8]
    result = tremap("map", "info", folder, *size, code=1)
    assert "C3.npz" in result.stderr
    assert "D4: a folder inside a folder" in result.stderr
    tremap("map", "merge", folder, *size, "--on-conflict", "free", "--out", tmp_path / "m.npz", code=1)
    assert not (tmp_path / "m.npz").exists()
    with pytest.raises(OSError, match="C3"):
        read_fault_maps(folder, memory=MEMORY)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no file in it"):
        read_fault_maps(tmp_path / "empty")


def test_options_of_the_command(tmp_path):
    log = tmp_path / "A7.log"
    log.write_text("BIST FAIL: addr=3 got=10\nBIST DONE\n")
    pattern = r"pattern=BIST FAIL: addr=(?P<a>\w+) got=(?P<read>\w+)|BIST DONE"
    options = ["--option", pattern, "--option", "rename=a:address", "--option", "expected=11", "--format", "log"]
    tremap("map", "convert", log, *options, "--words", 4, "--word-bits", 8, "--to", "tremap", "--out", tmp_path / "A7.npz")
    assert cells(FaultMap.load(tmp_path / "A7.npz")) == {24: 0}  # hexadecimal 11, as in the file
    assert "--option rename: expected NAME:VALUE" in tremap("map", "info", log, "--option", "rename=a", code=2).stderr
    table = tmp_path / "lot.csv"
    table.write_text("die,addr,bit,stuck,site\nA,0,0,0,9\nB,1,1,1,9\n")
    tremap("map", "convert", table, "--option", "ignore=site", "--format", "csv", "--words", 4, "--word-bits", 8,
           "--to", "tremap", "--out", tmp_path / "both", code=1)  # fmt: skip


def test_what_a_format_cannot_hold_of_a_merged_map_is_said(tmp_path):
    chips = [FaultMap(MEMORY, [1, 9], [0, 1], "a"), FaultMap(MEMORY, [9, 20], [0, 1], "b")]
    merged = tm.merge(chips, on_conflict="sa1")
    merged.save(tmp_path / "m.npz")
    for form in ("csv", "log", "readback", "neuralfuse"):
        with pytest.raises(ValueError, match=f"a file of the format {form} holds the stuck cells of one chip, not members"):
            write_fault_map(merged, tmp_path / "x", format=form)
        assert not (tmp_path / "x").exists()
    write_fault_map(merged, tmp_path / "again.npz", format="tremap")
    assert tm.MergedFaultMap.load(tmp_path / "again.npz") == merged
    result = tremap("map", "convert", tmp_path / "m.npz", "--to", "csv", "--out", tmp_path / "m.csv")
    assert "csv has no place for it: 2 members and 1 conflict (sa1) of a merged map" in result.stderr
    assert (tmp_path / "m.csv").read_text().startswith("# tremap fault map\n")
    assert cells(read_fault_map(tmp_path / "m.csv")) == {1: 0, 9: 1, 20: 1}
    assert not tremap("map", "convert", tmp_path / "m.npz", "--to", "tremap", "--out", tmp_path / "n.npz").stderr
    assert tm.MergedFaultMap.load(tmp_path / "n.npz") == merged


# ------------------------------------------------------------------ formats of one's own


def test_a_reader_of_ones_own(tmp_path):
    before = dict(FORMATS)
    try:

        @fault_map_format("list", recognises=lambda path, head: head.startswith(b"LIST\n"))
        def read_list(path, memory, *, value=0):
            """Chip and cell in a line."""
            lines = [line.split() for line in path.read_text().splitlines()[1:]]
            return [FaultMap(memory, [int(cell)], [value], chip) for chip, cell in lines]

        path = tmp_path / "a.txt"
        path.write_text("LIST\nA7 3\nB2 5\n")
        assert detect_format(path) == "list"
        assert [(c.chip, cells(c)) for c in read_fault_maps(path, memory=MEMORY, value=1)] == [("A7", {3: 1}), ("B2", {5: 1})]
        with pytest.raises(FormatError, match=r"a\.txt: holds 2 chips, 'A7' and 'B2' among them"):
            read_fault_map(path, memory=MEMORY)
        with pytest.raises(ValueError, match="format must be one of tremap, csv, log, readback, neuralfuse, got 'list'"):
            write_fault_map(FaultMap(MEMORY, [], []), path, format="list")
        with pytest.raises(ValueError, match="there is a format 'list' already"):
            fault_map_format("list")
        fault_map_format("also", recognises=lambda path, head: b"LIST" in head)(read_list)
        with pytest.raises(FormatError, match="could be list or also; give format"):
            read_fault_map(path, memory=MEMORY)
    finally:
        FORMATS.clear()
        FORMATS.update(before)
