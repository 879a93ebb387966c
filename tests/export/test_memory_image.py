"""Memory image files: golden ones to read by eye, round trips, and damage named by file and line."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import images

import tremap_brevitas as tm
from tremap_brevitas.export import read_memory_image, words_read, write_memory_image
from tremap_brevitas.export.memory_image import Format
from tremap_brevitas.placement import LayerCodes, linear_placement

GOLDEN = Path(__file__).parents[1] / "golden" / "memory_image"
FORMATS = get_args(Format)
BARE = ("amd_mif", "intel_hex", "raw")  # formats without comments

# Two 5-bit codes a word of 12 bits: 1 and -1, then 15 and -16, then 3 alone.
MEMORY = tm.Memory(words=4, word_bits=12)
PLACEMENT = linear_placement([LayerCodes("fc", (5,), 5, "twos_complement")], MEMORY)
IMAGE = tm.MemoryImage(PLACEMENT, {"fc": [1, -1, 15, -16, 3]})
WORDS = [0b11111_00001, 0b10000_01111, 0b00011, 0]


@pytest.mark.parametrize("form", FORMATS)
def test_golden_files(tmp_path, form):
    name = f"{form}.as_written"
    assert IMAGE.words() == WORDS
    written = write_memory_image(IMAGE, tmp_path / name, format=form, faults=None)
    assert written.read_bytes() == (GOLDEN / name).read_bytes()
    assert read_memory_image(GOLDEN / name, format=form, word_bits=12) == WORDS


@given(images(), st.sampled_from(FORMATS))
def test_files_read_back_as_the_codes_that_were_written(tmp_path_factory, image, form):
    path = tmp_path_factory.mktemp("images") / "weights.as_written"
    write_memory_image(image, path, format=form, faults=None)
    words = read_memory_image(path, format=form, word_bits=image.placement.memory.word_bits)
    again = tm.MemoryImage.from_words(image.placement, words)
    assert again.digest == image.digest
    assert all(np.array_equal(again.codes[name], image.codes[name]) for name in image.codes)


@given(images(), st.integers(0, 2**32), st.sampled_from(FORMATS))
def test_the_words_that_a_chip_reads_are_what_its_certificate_says(tmp_path_factory, image, seed, form):
    (chip,) = tm.random_fault_maps(image.placement.memory, chips=1, fault_rate=0.1, seed=seed)
    path = tmp_path_factory.mktemp("images") / "weights.as_read"
    write_memory_image(image, path, format=form, faults=chip)
    words = read_memory_image(path, format=form, word_bits=image.placement.memory.word_bits)
    assert words == words_read(image, chip)
    read = tm.MemoryImage.from_words(image.placement, words)
    expected = tm.certificate(image, chip).read()
    assert all(np.array_equal(read.codes[name], expected[name]) for name in expected)


def test_every_file_says_whether_it_is_before_or_after_the_faults(tmp_path):
    chip = tm.FaultMap(MEMORY, [0, 4], [0, 0], "Ä7")
    with pytest.raises(TypeError, match="faults"):
        write_memory_image(IMAGE, tmp_path / "w.mem", format="readmemh")
    for form in FORMATS:
        before = write_memory_image(IMAGE, tmp_path / f"{form}.as_written", format=form, faults=None)
        after = write_memory_image(IMAGE, tmp_path / f"{form}.as_read", format=form, faults=chip)
        if form in BARE:
            for faults, said in ((None, "as_written"), (chip, "as_read")):
                with pytest.raises(ValueError, match=f"the name must say .*put '{said}' into it"):
                    write_memory_image(IMAGE, tmp_path / "w.bin", format=form, faults=faults)
        else:
            assert b"words as written: before any fault, image " + IMAGE.digest.encode() in before.read_bytes()
            assert read_memory_image(after, format=form, word_bits=12) == words_read(IMAGE, chip)
            assert b"words as read: after the faults of chip '\\xc47'" in after.read_bytes()
    assert not (tmp_path / "w.bin").exists()
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("readmemh", "@0\n00\n0g\n", ":3: '0g' is no number of base 16"),
        ("readmemh", "@0 00 @2 01", ":1: no word for address 1, but one for a higher address"),
        ("readmemh", "@0 1000", ": word 0 is 0x1000, which has more than 12 bits"),
        ("amd_mif", "000000000000\n0000\n", ":2: 4 digits, expected 12"),
        ("amd_mif", "00000000000x\n", ":1: '00000000000x' is no number of base 2"),
        ("coe", "memory_initialization_radix=16;\n012,\n", ":2: expected memory_initialization_vector"),
        ("coe", "memory_initialization_vector=0;", ":1: no memory_initialization_radix"),
        ("coe", "memory_initialization_radix=16;\nmemory_initialization_vector=\n012,\n", "the vector does not end"),
        ("coe", "memory_initialization_radix=7;\n", ":1: radix 7, expected 2, 10 or 16"),
        (
            "altera_mif",
            "WIDTH=8;\nDEPTH=1;\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\nCONTENT BEGIN\n",
            ":5: WIDTH is 8, expected 12",
        ),
        (
            "altera_mif",
            "WIDTH=12;\nDEPTH=2;\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\nCONTENT BEGIN\n0 : 1;\nEND;",
            "DEPTH is 2, but there are 1",
        ),
        ("altera_mif", "WIDTH=12;\nDEPTH=1;\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\nCONTENT BEGIN\n0 : 1;\n", ":6: no END;"),
        ("altera_mif", "HELLO\n", ":1: expected a setting or CONTENT BEGIN, found 'HELLO'"),
        ("intel_hex", ":0100000001FF\n", ":1: wrong checksum FF, expected FE"),
        ("intel_hex", ":00000001FF\n:00000001FF\n", ":2: a record after the end record"),
        ("intel_hex", "hello\n", ":1: 'hello' is no Intel HEX record"),
        ("intel_hex", ":0100000001FE\n", ":1: no end record"),
        ("raw", "abc", ":1: 3 bytes are no whole number of words of 2 bytes"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path, form, text, message):
    path = tmp_path / "damaged"
    path.write_text(text, encoding="ascii")
    with pytest.raises(ValueError, match=f"damaged.*{message}"):
        read_memory_image(path, format=form, word_bits=12)


@given(st.binary(max_size=200), st.sampled_from([f for f in FORMATS if f != "raw"]))
def test_no_input_raises_anything_else(tmp_path_factory, data, form):
    path = tmp_path_factory.mktemp("fuzz") / "any"
    path.write_bytes(data)
    try:
        words = read_memory_image(path, format=form, word_bits=12)
    except ValueError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 (either outcome is right)
    else:
        assert all(0 <= word < 4096 for word in words)


def test_files_of_other_tools_are_read(tmp_path):
    texts = {
        "readmemh": "/* two\nlines */ @1 0_1F // one\n@0 C21 023\n",
        "coe": "; made by hand\nMEMORY_INITIALIZATION_RADIX = 2;\nmemory_initialization_vector = 11, 10\n1;\n",
        "altera_mif": "WIDTH=12;\nDEPTH=2;\nADDRESS_RADIX=UNS;\nDATA_RADIX=BIN;\nCONTENT\nBEGIN".replace("\nBEGIN", " BEGIN")
        + "\n% note % 1 : 11;\n0 : 1; -- last\nEND;\n",
    }
    expected = {"readmemh": [0xC21, 0x023], "coe": [3, 2, 1], "altera_mif": [1, 3]}
    for form, text in texts.items():
        path = tmp_path / form
        path.write_text(text, encoding="ascii")
        assert read_memory_image(path, format=form, word_bits=12) == expected[form]


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="format must be one of readmemh, .*, got 'hex'"):
        write_memory_image(IMAGE, tmp_path / "w", format="hex", faults=None)
    other = tm.FaultMap(tm.Memory(1, 8), [0], [0], "x")
    with pytest.raises(ValueError, match="chip 'x' is of a memory of 1 words × 8 bits"):
        write_memory_image(IMAGE, tmp_path / "w", format="coe", faults=other)
    with pytest.raises(ValueError, match="3 words, but the placement has 4"):
        tm.MemoryImage.from_words(PLACEMENT, WORDS[:3])
    with pytest.raises(ValueError, match="word 1 is 0x1000, which does not fit into 12 bits"):
        tm.MemoryImage.from_words(PLACEMENT, [0, 4096, 0, 0])
    with pytest.raises(FileNotFoundError):
        read_memory_image(tmp_path / "none", format="coe", word_bits=8)
