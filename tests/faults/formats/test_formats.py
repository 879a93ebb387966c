"""Every format: files written by hand, round trips, errors that name path and line, and any bytes at all."""

import gzip
import itertools

import numpy as np
import pytest
from helpers import needs_data
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from strategies import fault_maps

from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.faults import formats
from tremap_brevitas.faults.formats import (
    CellVoltages,
    FormatError,
    detect_format,
    read_fault_map,
    read_fault_maps,
    read_log,
    read_neuralfuse,
    read_readback,
    read_voltages,
    text,
    write_fault_map,
    write_readback,
    write_voltages,
)
from tremap_brevitas.faults.formats.cells import Cells
from tremap_brevitas.memory_files import FORMATS as IMAGES

MEMORY = Memory(words=6, word_bits=10)


def cells(chip):
    return dict(zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True))


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


# ------------------------------------------------------------------ written by hand


def test_a_log_of_several_march_elements(tmp_path):
    log = write(
        tmp_path / "A7.log",
        "# Tester 9, lot 4\n\nElement; Address; Expected; Actual; Time\nM0;0x0;3ff;3fe;0.1\nM1;3;000;201;0.2\nM3;0;3FF;3fe;9\n",
    )
    chip = read_log(log, MEMORY)
    assert chip.chip == "A7"
    assert cells(chip) == {0: 0, 30: 1, 39: 1}
    assert cells(read_fault_map(log, memory=MEMORY, chip="B")) == cells(chip)
    assert detect_format(log) == "log"


def test_columns_without_a_heading_byte_addresses_and_decimal_words(tmp_path):
    log = write(tmp_path / "a.txt", "1000 255 127 M1\n1008 0 1 M2\n")
    options = {"columns": ["address", "expected", "read", "element"], "base": 10, "first_address": 1000, "address_step": 4}
    assert cells(read_log(log, Memory(words=3, word_bits=8), **options)) == {7: 0, 16: 1}


def test_a_log_by_bits(tmp_path):
    for heading, line in (("addr,bit,expected", "2,9,0"), ("row bit read", "2 9 1"), ("word\tbit\texp\tgot", "2\t9\t0\t1")):
        assert cells(read_fault_map(write(tmp_path / "b.log", f"{heading}\n{line}\n"), memory=MEMORY)) == {29: 1}


def test_words_wider_than_any_integer(tmp_path):
    memory = Memory(words=2, word_bits=150)
    full = (1 << 150) - 1
    log = write(tmp_path / "w.log", f"address expected read\n1 {full:x} {full ^ (1 << 149) ^ 1:x}\n0 {0:038x} {1 << 77:038x}\n")
    assert cells(read_log(log, memory)) == {77: 1, 150: 0, 299: 0}


def test_our_csv_says_all_that_is_needed(tmp_path):
    chip = FaultMap(Memory(words=6, word_bits=10, banks=2), [3, 17, 59], [1, 0, 1], "lot 4 é,#7")
    (path,) = write_fault_map(chip, tmp_path / "x.csv", format="csv")
    assert path.read_text().splitlines()[-4:] == ["address,bit,stuck_at", "0,3,1", "1,7,0", "5,9,1"]
    again = read_fault_map(path)
    assert again == chip
    assert again.memory.banks == 2
    path.write_text(path.read_text().replace("1,7,0", "1,7,1"))
    with pytest.raises(FormatError, match=r"x\.csv: damaged: its cells have digest"):
        read_fault_map(path)


def test_a_read_back(tmp_path):
    ones = write(tmp_path / "chip.ones.hex", "ff03 fe03\nff03ff03 ff03 7F01\n")
    zeros = write(tmp_path / "chip.zeros.hex", "0000" * 5 + "0200")
    chip = read_readback(ones, zeros, MEMORY)
    assert cells(chip) == {10: 0, 51: 1, 57: 0, 59: 0}
    assert cells(read_fault_map(ones, format="readback", memory=MEMORY)) == {10: 0, 57: 0, 59: 0}
    assert cells(read_fault_map(zeros, format="readback", memory=MEMORY, written="zeros")) == {51: 1}
    big = write(tmp_path / "big.hex", "03ff03fe" + "03ff" * 4)
    assert cells(read_readback(big, None, MEMORY, byte_order="big")) == {10: 0}
    twice = write(tmp_path / "twice.hex", "ffffffffefef7f7f")
    memory = Memory(words=4, word_bits=8)
    assert cells(read_readback(twice, None, memory, duplicated_bytes=True)) == {20: 0, 31: 0}
    wide = write(tmp_path / "wide.hex", "ff000000fe000000ff000000")
    assert cells(read_readback(wide, None, Memory(words=3, word_bits=8), row_bits=32)) == {8: 0}


def test_a_cell_that_fails_both_ways_is_no_stuck_cell(tmp_path):
    log = write(tmp_path / "a.log", "address,expected,read\n1,3ff,3fe\n1,000,001\n2,000,001\n")
    with pytest.raises(FormatError, match="1 cell failed both as 0 and as 1, .*; the first is bit 0 of word 1"):
        read_log(log, MEMORY)
    chip = read_log(log, MEMORY, both_ways="drop")
    assert cells(chip) == {20: 1}
    assert chip.metadata["failed_both_ways"] == "1"
    with pytest.raises(FormatError, match="failed both as 0 and as 1"):
        read_readback(write(tmp_path / "a.hex", "fe"), write(tmp_path / "b.hex", "01"), Memory(words=1, word_bits=8))


def test_neuralfuse(tmp_path):
    sa0 = write(tmp_path / "fmap_sa0_v_0.83.txt", "0,0,1\n0,0,0\n")
    write(tmp_path / "fmap_sa1_v_0.83.txt", "0,0,0\n1,0,0\n")
    assert detect_format(sa0) == "neuralfuse"
    chip = read_fault_map(sa0)
    assert (chip.memory, cells(chip), chip.chip) == (Memory(words=2, word_bits=3), {2: 0, 3: 1}, "fmap_v_0.83")
    write(tmp_path / "fmap_sa1_v_0.83.txt", "0,0,1\n1,0,0\n")
    with pytest.raises(FormatError, match="failed both as 0 and as 1"):
        read_fault_map(sa0)
    write(tmp_path / "fmap_sa1_v_0.83.txt", "0,0,0\n")
    with pytest.raises(FormatError, match=r"sa1.*: 1 row, but .*sa0.* has 2"):
        read_fault_map(sa0)
    write(tmp_path / "fmap_sa1_v_0.83.txt", "0,0,0\n0,2,0\n")
    with pytest.raises(FormatError, match=r"fmap_sa1_v_0\.83\.txt:2: entry '2'; expected 0 and 1"):
        read_fault_map(sa0)


def test_voltages_nest(tmp_path):
    rng = np.random.default_rng(0)
    voltages = CellVoltages(MEMORY, rng.uniform(0.4, 0.8, (6, 10)).astype(np.float32), "v")
    path = write_voltages(voltages, tmp_path / "v.csv")
    assert np.array_equal(read_voltages(path).lowest, voltages.lowest)
    steps = [0.8, 0.7, 0.6, 0.5, 0.3]
    for options in ({"stuck_at": 0}, {"seed": 4}):
        maps = [read_fault_map(path, format="voltages", voltage=v, **options) for v in steps]
        assert [len(m) for m in maps] == [int((voltages.lowest > np.float32(v)).sum()) for v in steps]
        for milder, stronger in itertools.pairwise(maps):
            assert cells(milder).items() <= cells(stronger).items()
    with pytest.raises(ValueError, match="stuck_at or seed, not both or neither"):
        read_voltages(path).at(0.5)
    with pytest.raises(ValueError, match="needs the supply voltage"):
        read_fault_map(path, format="voltages")


@pytest.mark.parametrize(("volts", "zeros", "faults"), [("0.57", 26, 13), ("0.55", 252, 126)])
def test_real_block_rams(volts, zeros, faults):
    """Salami et al., MICRO 2018: every byte stands there twice; FIELD counts both."""
    path = needs_data(f"kc705b_bram_{volts}V.hex.gz")
    chip = read_readback(path, None, Memory(words=445 * 2048, word_bits=8, banks=445), duplicated_bytes=True)
    assert (len(chip), int(chip.stuck_at.sum())) == (faults, 0)
    assert len(read_readback(path, None, Memory(words=445 * 2048, word_bits=16, banks=445))) == zeros


def test_real_maps_nest():
    paths = [needs_data(f"kc705b_bram_{volts}V.hex.gz") for volts in ("0.57", "0.55")]
    memory = Memory(words=445 * 2048, word_bits=8, banks=445)
    milder, stronger = (cells(read_readback(p, None, memory, duplicated_bytes=True)) for p in paths)
    assert milder.items() <= stronger.items()


# ------------------------------------------------------------------ round trips


@given(chip=fault_maps(), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trips(tmp_path, chip, data):
    memory = chip.memory
    for format in ("tremap", "csv", "log", "neuralfuse"):
        name = "fmap_sa0.txt" if format == "neuralfuse" else f"chip.{format}"
        write_fault_map(chip, tmp_path / name, format=format)
        again = read_fault_map(tmp_path / name, memory=memory, format=format)
        assert again.digest == chip.digest, format
    paths = write_fault_map(chip, tmp_path / "ones.hex", format="readback", other=tmp_path / "zeros.hex")
    assert len(paths) == 2
    for zipped in (False, True):
        if zipped:
            for path in paths:
                path.write_bytes(gzip.compress(path.read_bytes()))
        assert read_readback(*paths, memory).digest == chip.digest


@given(chip=fault_maps(), block=st.integers(2, 40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_blocks_may_end_anywhere(tmp_path, chip, block):
    before = text.BLOCK, formats.readback.BLOCK
    (log,) = write_fault_map(chip, tmp_path / "a.log", format="log")
    log.write_text(log.read_text().replace("\n", " # comment\n", 3))
    (csv,) = write_fault_map(chip, tmp_path / "a.csv", format="csv")
    dumps = write_readback(chip, tmp_path / "1.hex", tmp_path / "0.hex")
    try:
        text.BLOCK = formats.readback.BLOCK = block
        assert read_log(log, chip.memory).digest == chip.digest
        assert read_log(csv, chip.memory).digest == chip.digest
        assert read_readback(*dumps, chip.memory).digest == chip.digest
    finally:
        text.BLOCK, formats.readback.BLOCK = before


def test_no_writer_loses_a_fault(tmp_path):
    chip = FaultMap(MEMORY, [1, 2], [0, 1], "a")
    with pytest.raises(ValueError, match="1 cell stuck at 1, which only the file after_zeros can show; give it"):
        write_fault_map(chip, tmp_path / "a.hex", format="readback")
    with pytest.raises(ValueError, match="1 cell stuck at 0, which only the file after_ones can show"):
        write_fault_map(chip, tmp_path / "a.hex", format="readback", written="zeros")
    with pytest.raises(ValueError, match="format must be one of tremap, csv, log, readback, neuralfuse, got 'voltages'"):
        write_fault_map(chip, tmp_path / "a", format="voltages")


def test_bounded_memory(tmp_path):
    """Two hundred thousand lines on the same few cells are not kept."""
    collected = Cells(limit=1000)
    for _ in range(500):
        collected.add(np.arange(400), 1)
        assert sum(len(part) for parts in collected._parts for part in parts) <= 1400
    assert len(collected.result()[0]) == 400


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("address,expected,read\n1,3ff,3fe\n6,3ff,3fe\n", r"a\.log:3: address 6 is word 6, outside the memory of 6 words"),
        ("address,expected,read\n1,3ff\n", r"a\.log:2: 2 fields, expected 3"),
        ("address,expected,read\n\n1,3ff,3fe,0\n", r"a\.log:3: 4 fields, expected 3"),
        ("address,expected,read\n1,3ff,3fe\n2,3ff\n3,0\n4,1\n", r"a\.log:3: 2 fields, expected 3"),
        ("address,expected,read # c\n# d\n1,3ff,3gg\n", r"a\.log:3: read '3gg' is not a number of base 16"),
        ("address,expected,read\n1,3ff,7ff\n", r"a\.log:2: a word of more than 10 bits"),
        ("address,expected,read\n1,3ff,3ff\n", r"a\.log:2: expected and read are the same"),
        ("address,expected,read\n-1,3ff,3fe\n", r"a\.log:2: address '-1' is not a number of base 16"),
        ("address,bit,stuck_at\n1,10,0\n", r"a\.log:2: bit 10 is outside the word of 10 bits"),
        ("address,bit,stuck_at\n1,3,2\n", r"a\.log:2: stuck_at 2 is neither 0 nor 1"),
        ("address,bit,exp,read\n1,3,1,1\n", r"a\.log:2: expected and read are the same"),
        ("address,bit,stuck_at\n0x1,3,1\n2,3,1\n05,1,1\n", r"a\.log:4: an address without 0x, but other numbers of the file"),
        ("address,bit\n1,3\n", r"a\.log:1: columns address, bit: need address, and expected and read, or bit and"),
        ("address,addr,bit,read\n", r"a\.log:1: two columns are the address"),
        ("address,expected,read\n1,zz,1\n", r"a\.log:2: expected 'zz' is not a number of base 16"),
        ("1,2,3\n", r"a\.log:1: no line before this names the columns; give columns="),
        ("# nothing\n\n", r"a\.log: has no line that names its columns"),
        ("", r"a\.log: has no line that names its columns"),
        ("address,bit,stuck_at\n" + "9" * 30 + ",1,1\n", r"a\.log:2: address is too large"),
        ("a" * (3 << 20), r"a\.log:1: a line of more than 1048576 bytes"),
    ],
)
def test_bad_logs(tmp_path, content, reason):
    with pytest.raises(FormatError, match=reason):
        read_fault_map(write(tmp_path / "a.log", content), format="log", memory=MEMORY)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 zz 1", r"a\.log:2: expected 'zz' is not a number of base 10"),
        ("1 3 -1", r"a\.log:2: read '-1' is not a number of base 10"),
        ("1 3 3", r"a\.log:2: expected and read are the same"),
        ("1 1024 0", r"a\.log:2: a word of more than 10 bits"),
        ("1 1 " + "9" * 5000, r"a\.log:2: read of 5000 digits"),
        ("1 1 0\n1 0xg 0", r"a\.log:3: expected '0xg' is not a number of base 16"),
    ],
)
def test_bad_decimal_words(tmp_path, line, reason):
    with pytest.raises(FormatError, match=reason):
        read_log(write(tmp_path / "a.log", f"address expected read\n{line}\n"), MEMORY, base=10)


@given(chip=fault_maps())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_decimal_words(tmp_path, chip):
    (log,) = write_fault_map(chip, tmp_path / "a.log", format="log")
    lines = [line.split(",") for line in log.read_text().splitlines()[1:]]
    decimal = [",".join([e, str(int(a, 16)), str(int(x, 16)), str(int(r, 16))]) for e, a, x, r in lines]
    log.write_text("\n".join(["element,address,expected,read", *decimal, ""]))
    assert read_log(log, chip.memory, base=10).digest == chip.digest


@given(name=st.text(max_size=40) | st.sampled_from(["a'b\"c", "# chip=x words=3", "\\n", "é" * 3000]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_our_csv_keeps_any_name(tmp_path, name):
    chip = FaultMap(MEMORY, [3], [1], name)
    (path,) = write_fault_map(chip, tmp_path / "x.csv", format="csv")
    assert read_fault_map(path) == chip


def test_bad_addresses_and_options(tmp_path):
    log = write(tmp_path / "a.log", "address,expected,read\n6,3ff,3fe\n")
    with pytest.raises(FormatError, match=r"a\.log:2: address 6 is not a multiple of 4 from 0x0 on"):
        read_log(log, MEMORY, address_step=4)
    with pytest.raises(FormatError, match=r"address 6 is word -2, outside"):
        read_log(log, MEMORY, first_address=8)
    for options, reason in (
        ({"base": 8}, "base must be one of 10, 16, None, got 8"),
        ({"both_ways": "keep"}, "both_ways must be one of error, drop"),
        ({"address_step": 0}, "address_step must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_log(log, MEMORY, **options)
    with pytest.raises(FormatError, match="does not say how large the memory is"):
        read_fault_map(log)
    with pytest.raises(FileNotFoundError):
        read_fault_map(tmp_path / "none")
    with pytest.raises(FormatError, match="its format cannot be told from its content; give format, one of tremap, csv"):
        read_fault_map(write(tmp_path / "x.hex", "ff" * 100))
    (path,) = write_fault_map(FaultMap(Memory(words=2, word_bits=3), [0], [0]), tmp_path / "m.npz", format="tremap")
    with pytest.raises(FormatError, match=r"is of a memory of 2 words × 3 bits, expected 6 words × 10 bits"):
        read_fault_map(path, memory=MEMORY)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("ff03zz", r"a\.hex:1: 'z' is not a hexadecimal digit"),
        ("ff03\nff03\n0g", r"a\.hex:3: 'g' is not a hexadecimal digit"),
        ("ff03" * 5 + "ff", r"a\.hex:1: holds 5 words of 2 bytes and 2 digits more, but the memory has 6 words"),
        ("ff03" * 7, r"a\.hex:1: holds more than the 6 words of 2 bytes that the memory has"),
        ("", r"a\.hex:1: holds 0 words"),
    ],
)
def test_bad_read_backs(tmp_path, content, reason):
    with pytest.raises(FormatError, match=reason):
        read_fault_map(write(tmp_path / "a.hex", content), format="readback", memory=MEMORY)


def test_bad_read_back_options(tmp_path):
    path = write(tmp_path / "a.hex", "ffef" * 6)
    with pytest.raises(FormatError, match="word 0: its bytes are not duplicated: ffef"):
        read_readback(path, None, Memory(words=6, word_bits=8), duplicated_bytes=True)
    for call, reason in (
        (lambda: read_readback(None, None, MEMORY), "give the file read after all ones"),
        (lambda: read_readback(path, None, MEMORY, row_bits=12), "row_bits must be a multiple of 8 and at least 10, got 12"),
        (lambda: read_readback(path, None, MEMORY, row_bits=8), "row_bits must be a multiple of 8 and at least 10, got 8"),
        (lambda: read_readback(path, None, MEMORY, byte_order="middle"), "byte_order must be one of little, big"),
        (lambda: read_fault_map(path, format="readback"), "does not say how large the memory is"),
        (lambda: read_neuralfuse(path), "has no 'sa0'"),
    ):
        with pytest.raises(ValueError, match=reason):
            call()


def test_damaged_gzip(tmp_path):
    log = write(tmp_path / "a.log", "address,expected,read\n" + "1,3ff,3fe\n" * 1000)
    whole = gzip.compress(log.read_bytes())
    for damaged in (whole[: len(whole) // 2], whole[:-8] + b"\0" * 8, whole[:12] + bytes([whole[12] ^ 255]) + whole[13:]):
        log.write_bytes(damaged)
        with pytest.raises(FormatError, match=r"a\.log"):
            read_fault_map(log, format="log", memory=MEMORY)


PIECES = ("address", "bit", "stuck_at", "expected", "read", "bank", "chip", ",", "\n", "0", "1", "3ff", "0x", "#", " ", '"')
NOISE = st.one_of(
    st.binary(max_size=200),
    st.text('0123456789abcdefx,;\n\r\t #-"', max_size=200).map(str.encode),
    st.text('01xa,;\n\r\t é"', max_size=100).map(lambda text: text.encode("utf-16")),
    st.lists(st.sampled_from([w.encode() for w in PIECES]), max_size=40).map(b"".join),
)


@given(content=NOISE, memory=st.sampled_from([MEMORY, Memory(words=1, word_bits=1), Memory(words=4, word_bits=70)]))
@example(content=b"\x1f\x8b", memory=MEMORY)
@example(content=b"PK\x03\x04", memory=MEMORY)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_any_bytes_at_all(tmp_path, content, memory):
    path = tmp_path / "fmap_sa0.bin"
    path.write_bytes(content)
    (tmp_path / "fmap_sa1.bin").write_bytes(content[::-1])
    form = "(?P<address>[^,]*),?(?P<bit>[^,]*),?(?P<read>.*)"
    ways = [(f, {}) for f in (None, "tremap", "csv", "log", "readback", "neuralfuse")]
    ways += [("voltages", {"voltage": 0.5, "stuck_at": 0, "decimal": d}) for d in ".,"]
    ways += [("readback", {"image_format": f}) for f in IMAGES]
    ways += [
        ("log", {"pattern": form}),
        ("log", {"columns": ["chip", "bank", "address", "read"], "expected": 0, "passed": "skip"}),
    ]
    for format, more in ways:
        said = "fmap_sa"
        try:
            assert all(chip.memory == memory for chip in read_fault_maps(path, format=format, memory=memory, **more))
        except ValueError as error:
            said = str(error)
        assert "fmap_sa" in said
