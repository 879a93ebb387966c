"""Memory image files: golden ones to read by eye, round trips, and damage named by file and line."""

import re
import subprocess
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from helpers import needs_program
from hypothesis import given
from hypothesis import strategies as st
from strategies import images

import tremap_brevitas as tm
from tremap_brevitas.memory_files import Format, verilog
from tremap_brevitas.placement import LayerCodes, linear_placement, read_memory_image, words_read, write_memory_image

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
    written = write_memory_image(IMAGE, tmp_path / name, format=form, fault_map=None)
    assert written.read_bytes() == (GOLDEN / name).read_bytes()
    assert read_memory_image(GOLDEN / name, format=form, word_bits=12) == WORDS


@given(images(), st.sampled_from(FORMATS))
def test_files_read_back_as_the_codes_that_were_written(tmp_path_factory, image, form):
    path = tmp_path_factory.mktemp("images") / "weights.as_written"
    write_memory_image(image, path, format=form, fault_map=None)
    words = read_memory_image(path, format=form, word_bits=image.placement.memory.word_bits)
    again = tm.MemoryImage.from_words(image.placement, words)
    assert again.digest == image.digest
    assert all(np.array_equal(again.codes[name], image.codes[name]) for name in image.codes)


@given(images(), st.integers(0, 2**32), st.sampled_from(FORMATS))
def test_the_words_that_a_chip_reads_are_what_its_certificate_says(tmp_path_factory, image, seed, form):
    (chip,) = tm.random_fault_maps(image.placement.memory, chips=1, fault_rate=0.1, seed=seed)
    path = tmp_path_factory.mktemp("images") / "weights.as_read"
    write_memory_image(image, path, format=form, fault_map=chip)
    words = read_memory_image(path, format=form, word_bits=image.placement.memory.word_bits)
    assert words == words_read(image, chip)
    read = tm.MemoryImage.from_words(image.placement, words)
    expected = tm.placement.certificate(image, chip).read()
    assert all(np.array_equal(read.codes[name], expected[name]) for name in expected)


def test_every_file_says_whether_it_is_before_or_after_the_faults(tmp_path):
    chip = tm.FaultMap(MEMORY, [0, 4], [0, 0], "Ä7")
    with pytest.raises(TypeError, match="fault_map"):
        write_memory_image(IMAGE, tmp_path / "w.mem", format="readmemh")
    for form in FORMATS:
        before = write_memory_image(IMAGE, tmp_path / f"{form}.as_written", format=form, fault_map=None)
        after = write_memory_image(IMAGE, tmp_path / f"{form}.as_read", format=form, fault_map=chip)
        if form in BARE:
            for faults, said in ((None, "as_written"), (chip, "as_read")):
                with pytest.raises(ValueError, match=f"the name must say .*put '{said}' into it"):
                    write_memory_image(IMAGE, tmp_path / "w.bin", format=form, fault_map=faults)
        else:
            assert b"words as written: before any fault, image " + IMAGE.digest.encode() in before.read_bytes()
            assert read_memory_image(after, format=form, word_bits=12) == words_read(IMAGE, chip)
            assert b"words as read: after the faults of chip '\\xc47'" in after.read_bytes()
    assert not (tmp_path / "w.bin").exists()
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


COE = "memory_initialization_radix=16;\nmemory_initialization_vector="
MIF = "WIDTH=12; DEPTH=2;\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\nCONTENT\nBEGIN\n"


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("readmemh", "@0\n000\n00g\n", ":3: '00g' is not a number of base 16"),
        ("readmemh", "@0 000 @2 001", ":1: no word for address 1, but one for a higher address"),
        ("readmemh", "@0 1000", ":1: word 0 is 0x1000, which has more than 12 bits"),
        ("readmemh", "@0 001\n@0 002\n", ":2: a second word for address 0x0"),
        ("readmemh", "001 /* 002\n003\n", r":1: a comment that begins with /\* and never ends"),
        ("readmemh", "001\n00\n", ":2: word '00' has 2 digits, but 12 bits need 3; was it cut short"),
        ("readmemh", "001\n0x2\n", ":2: '0x2' is not a number of base 16"),
        ("readmemh", "// words\r001\r", ":1: a carriage return without a line feed"),
        ("amd_mif", "000000000000\n0000\n", ":2: 4 digits, expected 12"),
        ("amd_mif", "00000000000x\n", ":1: '00000000000x' is not a number of base 2"),
        ("coe", "memory_initialization_radix=16;\n012,\n", ":2: expected memory_initialization_vector"),
        ("coe", "memory_initialization_vector=0;", ":1: no memory_initialization_radix"),
        ("coe", "memory_initialization_radix=16;\nmemory_initialization_vector=\n012,\n", "the vector does not end"),
        ("coe", "memory_initialization_radix=7;\n", ":1: radix 7, expected 2, 10 or 16"),
        ("coe", f"{COE}011;\nmemory_initialization_vector=022;", ":3: text after the end of the vector"),
        ("coe", f"{COE}011\n; note\n022;", ":4: text after the end of the vector"),
        ("coe", f"{COE}011,,022;", ":2: a comma without a word before it"),
        ("coe", f"{COE}011,\n1022;", ":3: word 1 is 0x1022, which has more than 12 bits"),
        ("coe", "memory_initialization_radix=2;\nmemory_initialization_radix=16;\n", ":2: a second memory_init"),
        (
            "altera_mif",
            "WIDTH=8;\nDEPTH=1;\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\nCONTENT BEGIN\n",
            ":5: WIDTH is 8, expected 12",
        ),
        (
            "altera_mif",
            "WIDTH=12;\nDEPTH=2;\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\nCONTENT BEGIN\n0 : 1;\nEND;",
            "DEPTH is 2, but the file has 1",
        ),
        ("altera_mif", "WIDTH=12;\nDEPTH=1;\nADDRESS_RADIX=HEX;\nDATA_RADIX=HEX;\nCONTENT BEGIN\n0 : 1;\n", ":6: no END;"),
        ("altera_mif", "HELLO;\n", ":1: expected a setting or CONTENT BEGIN, found 'HELLO'"),
        ("altera_mif", f"{MIF}0 : 1;\n1 : 2", ":7: the file ends without ';' after '1 : 2'"),
        ("altera_mif", f"{MIF}0 : 1;\n0 : 2;\nEND;", ":7: a second word for address 0x0"),
        ("altera_mif", f"{MIF}0 : 1;\n[0..1] : 2;\nEND;", ":7: a second word for address 0x0"),
        ("altera_mif", f"{MIF}[0..2] : 2;\nEND;", ":6: address 2, but DEPTH is 2"),
        ("altera_mif", f"{MIF}[1..0] : 2;\nEND;", ":6: a range that begins at 1 and ends before, at 0"),
        ("altera_mif", f"{MIF}[0..1] : 1 2 3;\nEND;", ":6: 3 words cannot fill a range of 2 evenly"),
        ("altera_mif", f"{MIF}[0..1] : 1;\nEND;\n2 : 1;", ":8: text after END;"),
        ("altera_mif", f"{MIF}0 : 1;\n% no end\n1 : 2;\nEND;", ":7: a comment that begins with % and never ends"),
        ("altera_mif", f"DEPTH=2;\n{MIF}", ":2: a second DEPTH"),
        ("altera_mif", f"{MIF}0 : 1;\n1 : -2;\nEND;", ":7: '-2' is not a number of base 16"),
        ("altera_mif", MIF.replace("DATA_RADIX=HEX", "DATA_RADIX=DEC") + "0 : -2049;", ":6: -2049 has more than 12 bits"),
        ("altera_mif", MIF.replace("DEPTH=2", "DEPTH=99999999999"), ":5: DEPTH is 99999999999, more than"),
        ("intel_hex", ":0100000001FF\n", ":1: wrong checksum FF, expected FE"),
        ("intel_hex", ":00000001FF\n:00000001FF\n", ":2: a record after the end record"),
        ("intel_hex", "hello\n", ":1: 'hello' is not an Intel HEX record"),
        ("intel_hex", ":0200000001FFFE\n:0200010002FFFC\n:00000001FF\n", ":2: bytes 0x1 to 0x2: some were given before"),
        ("intel_hex", ":0200020001FFFC\n:03000000FFFFFF00\n:00000001FF\n", ":2: bytes 0x0 to 0x2: some were given before"),
        ("intel_hex", ":0200020001FFFC\n:00000001FF\n", ":2: no byte for address 0, but one for a higher address"),
        ("intel_hex", ":00000006FA\n", ":1: record type 6, expected 0 to 5"),
        ("intel_hex", ":0100000401FA\n", ":1: a record of type 4 with 1 byte, expected 2"),
        ("intel_hex", ":020000020000FC\n:02FFFF0001FF00\n", ":2: a record that runs over the end of its segment"),
        ("intel_hex", ":01000000FF00\n:00000001FF\n", ":2: 1 byte cannot be divided into words of 2 bytes"),
        ("intel_hex", ":0100000001FE\n", ":1: no end record"),
        ("raw", "abc", ":1: 3 bytes cannot be divided into words of 2 bytes"),
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


OTHERS = {
    "readmemh": ("/* two\nlines */ @1 0_1F // one\r\n@0 C21 // Größe\n@2 023", [0xC21, 0x1F, 0x023]),
    "coe": ("; made by hand\nMEMORY_INITIALIZATION_RADIX = 2;\nmemory_initialization_vector = 11, 10\n1;\n", [3, 2, 1]),
    "coe, its end on a line of its own": (COE + "\n11,\n22\n;\n; the end\n", [0x11, 0x22]),
    "coe, comments in it": (COE + "; words; of it\n11, ; first\n; between\n22; last; one\n", [0x11, 0x22]),
    "altera_mif": (
        "WIDTH=12;\nDEPTH=2;\nADDRESS_RADIX=UNS;\nDATA_RADIX=BIN;\nCONTENT BEGIN\n% note % 1 : 11;\n0 : 1; -- last\nEND;\n",
        [1, 3],
    ),
    "altera_mif, ranges": (
        "% two\nlines -- % DEPTH = 9; width = 12; ADDRESS_RADIX = DEC; DATA_RADIX = HEX;\nContent\n  Begin\n"
        "[0..2] : 0A1; 3 : 1 2 -- % 9\n 3;\n[6 .. 8] : F;\nEnd;",
        [0xA1, 0xA1, 0xA1, 1, 2, 3, 15, 15, 15],
    ),
    "altera_mif, in turn": (MIF.replace("DEPTH=2", "DEPTH=4") + "[0..3] : 1 2;\nEND;", [1, 2, 1, 2]),
    "altera_mif, signed": (
        MIF.replace("DATA_RADIX=HEX", "DATA_RADIX=DEC").replace("DEPTH=2", "DEPTH=3") + "0 : -1 -2048 2047;\nEND;",
        [0xFFF, 0x800, 0x7FF],
    ),
    # A start address (05 and 03), then bytes 2 and 3 in segment 0 (02), bytes 0 and 1 above an extended linear address (04).
    "intel_hex": (
        ":0400000500000000F7\n:0400000300000000F9\n:020000020000FC\n:02000200210Ccf\n:020000040000FA\n:020000001F00DF\n:00000001FF\n",
        [0x01F, 0xC21],
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_files_of_other_tools_are_read(tmp_path, case):
    text, expected = OTHERS[case]
    (tmp_path / "file").write_bytes(text.encode())
    assert read_memory_image(tmp_path / "file", format=case.partition(",")[0], word_bits=12) == expected


ICARUS = """module test;
  reg [7:0] memory [0:3];
  integer i;
  initial begin
    $readmemh("words.mem", memory);
    for (i = 0; i < 4; i = i + 1) $display("%h", memory[i]);
  end
endmodule
"""


def test_verilog_files_are_read_as_icarus_reads_them(tmp_path):
    needs_program("iverilog")
    (tmp_path / "test.v").write_text(ICARUS)
    subprocess.run(["iverilog", "-o", "test", "test.v"], cwd=tmp_path, check=True)
    for text in (
        "// a /* b\n11 // c */\n22 33 44\n",
        "11/* x // y\n*/22//*\n33 /*/ 55 */ 44",
        "/**/11/***/22 // */ 55\n@3 44\n@2/**/33",
        "@2 3_3 4_4 /* @0 // */ @0 11\t22\r\n",
    ):
        (tmp_path / "words.mem").write_bytes(text.encode())
        said = subprocess.run(["vvp", "test"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        read = read_memory_image(tmp_path / "words.mem", format="readmemh", word_bits=8)
        assert read == [int(word, 16) for word in re.findall(r"^[0-9a-f]{2}$", said, re.M)] == [0x11, 0x22, 0x33, 0x44], text


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="format must be one of readmemh, .*, got 'hex'"):
        write_memory_image(IMAGE, tmp_path / "w", format="hex", fault_map=None)
    other = tm.FaultMap(tm.Memory(1, 8), [0], [0], "x")
    with pytest.raises(ValueError, match="chip 'x' is of a memory of 1 word × 8 bits"):
        write_memory_image(IMAGE, tmp_path / "w", format="coe", fault_map=other)
    with pytest.raises(ValueError, match="3 words, but the placement has 4"):
        tm.MemoryImage.from_words(PLACEMENT, WORDS[:3])
    with pytest.raises(ValueError, match="word 1 is 0x1000, which does not fit into 12 bits"):
        tm.MemoryImage.from_words(PLACEMENT, [0, 4096, 0, 0])
    with pytest.raises(FileNotFoundError):
        read_memory_image(tmp_path / "none", format="coe", word_bits=8)


@given(st.integers(1, 70), st.data())
def test_words_read_at_once_are_those_read_one_by_one(bits, data):
    words = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=1, max_size=6))
    text = verilog.write_readmemh(words, bits, "as written")
    plain = verilog._plain_words(text, bits)
    assert plain == (words if bits <= 64 else None)
    # A comment behind the last word leaves the words alone, and sends the file to the reader of all others.
    assert verilog._plain_words(text + b"// end\n", bits) is None
    assert verilog.read_readmemh(text + b"// end\n", bits) == words
    spoilt = bytearray(text)
    spoilt[-2] = data.draw(st.sampled_from(list(b"g_ @\n/")))
    assert verilog._plain_words(bytes(spoilt), bits) is None


def test_a_word_that_is_too_wide_is_never_read_at_once():
    assert verilog._plain_words(b"@0\n3\n7\n", 3) == [3, 7]
    assert verilog._plain_words(b"@0\n3\n8\n", 3) is None
