"""Logs as people have them: each form a small file, with the stuck cells worked out by hand. Cell = word · bits + bit."""

import codecs

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import fault_maps

from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.faults.formats import (
    FormatError,
    detect_format,
    read_fault_map,
    read_fault_maps,
    read_log,
    read_logs,
    write_fault_map,
)

MEMORY = Memory(words=16, word_bits=8, banks=4)
WIDE = Memory(words=16, word_bits=32)
BIST = r"BIST FAIL: addr=(?P<addr>\w+) expected=(?P<expected>\w+) got=(?P<got>\w+)"


def cells(chip):
    return dict(zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True))


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ------------------------------------------------------------------ what is read

TABLE = "address,bit,stuck_at\n3,7,1\n10,0,0\n"  # cells 3·8 + 7 and 10·8


@pytest.mark.parametrize(
    "content",
    [
        TABLE.replace("\n", "\r\n"),
        TABLE.replace("\n", "\r"),
        codecs.BOM_UTF8 + TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace(",", "\t").encode("utf-16"),
        codecs.BOM_UTF16_BE + TABLE.replace(",", ";").encode("utf-16-be"),
        TABLE.encode("utf-32"),
        '"address";"bit";"stuck_at"\r\n"3";"7";"1"\r\n"10";" 0";0\r\n',
        '"address" "bit"  "stuck_at"\n"3" 7 1\n10 "0" 0\n',
        'address,bit,stuck_at,"note, with # and all"\n3,7,1,"a, b # c" # comment "\n10,0,0,\n'.replace(
            "note, with # and all", "note"
        ),
        TABLE.replace(",", " , "),
        TABLE.replace("stuck_at\n", "stuck_at,\n").replace("1\n", "1,\n").replace(",0\n", ",0,\n"),
        b"# Gr\xf6\xdfe, in Latin-1\n" + TABLE.encode(),
        TABLE.removesuffix("\n"),
    ],
)
def test_whatever_wrote_the_text(tmp_path, content):
    path = write(tmp_path / "A7.csv", content)
    assert detect_format(path) == "csv"
    chip = read_fault_map(path, memory=MEMORY)
    assert (cells(chip), chip.chip) == ({31: 1, 80: 0}, "A7")


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        # other names, constants, columns that do not count
        ("fail_addr,what,got\n2,x,fe\n", {"rename": {"FAIL_ADDR": "address"}, "ignore": ["what"], "expected": "0xff"}, {16: 0}),
        ("addr,got\n2,7f\n3,fb\n", {"expected": 255}, {23: 0, 26: 0}),
        ("addr,got\n2,11\n", {"expected": "10"}, {16: 1}),  # hexadecimal, as the words of the file
        ("addr,got\n2,11\n", {"expected": "10", "base": 10}, {16: 1}),  # 10 and 11
        ("row,column\n2,3\n4,0\n", {"stuck_at": 1}, {19: 1, 32: 1}),
        ("row,column\n2,3\n", {"expected": 1}, {19: 0}),
        # lines that passed
        ("addr,exp,got\n1,ff,ff\n2,ff,fe\n3,00,00\n", {"passed": "skip"}, {16: 0}),
        ("addr,exp,got\n1,255,255\n2,255,254\n", {"passed": "skip", "base": 10}, {16: 0}),
        ("addr,bit,exp,got\n1,3,1,1\n2,3,1,0\n", {"passed": "skip"}, {19: 0}),
        ("addr,bit,exp,got,stuck\n1,3,1,1,1\n2,3,1,0,0\n", {"passed": "skip"}, {19: 0}),
        # numbers of two bases, each with its own mark, once it is said what the others are
        ("addr,exp,got\n0,0x10,11\n10,0x00,128\n", {"base": 10}, {0: 1, 1: 1, 3: 1, 4: 0, 87: 1}),
        ("addr,exp,got\n0,0x10,11\na,0x00,80\n", {"base": 16}, {0: 1, 87: 1}),
        ("addr,exp,got\n0x2,0xff,0xfe\n3,0xff,0xfd\n", {}, {16: 0, 25: 0}),  # one digit is the same number in any base
        ("addr,exp,got\n0xa,ff,fe\n0x3,00,01\n", {}, {80: 0, 24: 1}),  # ff is hexadecimal, and so is 01 then
        ("addr,bit,stuck\n0x0a,3,1\n", {}, {83: 1}),
        # without leading zeros
        ("addr,exp,got\n2,0,80\n3,ff,f\n", {"unpadded": True}, {23: 1, 28: 0, 29: 0, 30: 0, 31: 0}),
        # banks of four words
        ("bank,addr,bit,stuck\n0,3,0,1\n3,1,7,0\n", {}, {24: 1, 111: 0}),
        ("bank,addr,bit,stuck\n3,13,7,0\n", {"ignore": ["bank"]}, {111: 0}),
        ("chip,addr,exp,got\nA7,1,ff,fe\nA7,2,ff,fe\n", {}, {8: 0, 16: 0}),
    ],
)
def test_forms_of_a_table(tmp_path, content, options, expected):
    assert cells(read_log(write(tmp_path / "a.log", content), MEMORY, **options)) == expected


def test_lines_that_are_no_table(tmp_path):
    log = write(
        tmp_path / "a.log", "# run 3\nBIST FAIL: addr=7 expected=0 got=80000000\n\nBIST FAIL: addr=a expected=0 got=1\n"
    )
    assert cells(read_fault_map(log, memory=WIDE, format="log", pattern=BIST)) == {255: 1, 320: 1}
    # Lines about something else must be known to the pattern.
    banner = write(tmp_path / "b.log", log.read_text() + "BIST DONE 2 fails\n")
    with pytest.raises(FormatError, match=r"b\.log:5: the pattern does not match 'BIST DONE 2 fails'"):
        read_log(banner, WIDE, pattern=BIST)
    assert cells(read_log(banner, WIDE, pattern=BIST + "|BIST DONE.*")) == {255: 1, 320: 1}
    bits = write(tmp_path / "c.log", "[M1] cell 7/31 stuck-at-1, chip 'A 7'\n")
    loaded = read_log(bits, WIDE, pattern=r"\[.*\] cell (?P<row>\d+)/(?P<bit>\d+) stuck-at-(?P<stuck>[01]), chip '(?P<die>.*)'")
    assert (cells(loaded), loaded.chip) == ({255: 1}, "A 7")


def test_several_chips_in_a_file(tmp_path):
    log = write(tmp_path / "lot.csv", "die;addr;bit;stuck\nA7;1;2;1\nB2;1;2;0\nA7;0;0;0\n'x y';0;1;1\n")
    chips = read_fault_maps(log, memory=MEMORY)
    assert [(chip.chip, cells(chip)) for chip in chips] == [("A7", {0: 0, 10: 1}), ("B2", {10: 0}), ("'x y'", {1: 1})]
    assert read_logs(log, MEMORY) == chips
    for read in (lambda: read_fault_map(log, memory=MEMORY), lambda: read_log(log, MEMORY)):
        with pytest.raises(FormatError, match=r"lot\.csv: holds 3 chips, 'A7' and 'B2' among them; read_fault_maps"):
            read()
    with pytest.raises(FormatError, match="holds 3 chips, so that 'Z' cannot be the name of all"):
        read_logs(log, MEMORY, chip="Z")
    one = write(tmp_path / "one.csv", "chip,addr,bit,stuck\nA7,1,2,1\n")
    assert [read_log(one, MEMORY).chip, read_log(one, MEMORY, chip="Z").chip] == ["A7", "Z"]
    assert [(c.chip, len(c)) for c in read_fault_maps(write(tmp_path / "e.csv", "chip,addr,bit,stuck\n"), memory=MEMORY)] == [
        ("e", 0)
    ]


def test_our_csv_keeps_metadata_and_its_memory(tmp_path):
    chip = FaultMap(MEMORY, [3, 17], [1, 0], "A7", {"voltage": "0.55", "words=2": "é\n#"})
    (path,) = write_fault_map(chip, tmp_path / "x.csv", format="csv")
    assert read_fault_map(path) == chip
    with pytest.raises(FormatError, match=r"x\.csv: is of a memory of 16 words × 8 bits in 4 banks, expected 16 words × 32"):
        read_fault_map(path, memory=WIDE)
    whole = path.read_text()
    for old, new in (('{"voltage', "{voltage"), ('# chip="A7"', '# chip="A7')):
        path.write_text(whole.replace(old, new))
        with pytest.raises(FormatError, match=r"x\.csv:[34]: the text after '=' cannot be parsed"):
            read_fault_map(path)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        # cut short
        ("addr,exp,got\n1,ff,fe\n2,ff,7", {}, r":3: read has 1 digit, but expected has 2: a word that was cut short"),
        ("addr,got,exp\n2,ff,7\n", {}, r":2: read has 2 digits, but expected has 1"),
        ("addr,exp,got\n1,0xff,0x7\n", {}, r":2: read has 1 digit, but expected has 2"),
        ("addr,got\n1,fe\n2,f\n", {"expected": 255}, r":3: read has 1 digit, but that of the first line has 2"),
        ("addr,exp,got\n1,255,12", {"base": 10}, r":2: the file ends without a line end, so that read '12' may have been cut"),
        ("exp,got,addr\nff,fe,1", {}, r":2: the file ends without a line end, so that address '1' may have been cut"),
        ("addr,stuck,bit\n1,1,1", {}, r":2: the file ends without a line end, so that bit '1' may"),
        ("bit,stuck,addr,chip\n1,1,1,A", {}, r":2: the file ends without a line end, so that chip 'A' may"),
        ("addr,bit,exp,got", {}, r":1: the file ends within the line that names its columns"),
        ("BIST FAIL: addr=7 expected=0 got=8", {"pattern": BIST}, r":1: the file ends .* so that read '8' may"),
        ("BIST FAIL: addr=7 expected=0 go", {"pattern": BIST}, r":1: the pattern does not match 'BIST FAIL: addr=7 exp"),
        # bases that can only be guessed
        ("addr,exp,got\n07,0xff,0xfe\n", {}, r":2: an address without 0x, but other numbers of the file have it; give base"),
        ("addr,exp,got\n1,0x10,0x11\n2,10,11\n", {}, r":3: a word without 0x, but other numbers of the file"),
        ("addr,exp,got\n0x1,10,11\n", {}, r":2: a word without 0x"),
        ("addr,bit,stuck\n0x1,3,1\n12,3,1\n", {}, r":3: an address without 0x"),
        # columns that say which cell it is
        (
            "macro,addr,bit,stuck\n1,2,3,1\n",
            {},
            r":1: column 'macro' is unknown: name it with rename=macro:…, or skip it with ignore=macro",
        ),
        ("chip,die,addr,bit,stuck\n1,1,2,3,1\n", {}, r":1: two columns are the chip"),
        ("bank,addr,bit,stuck\n4,2,3,1\n", {}, r":2: bank 4, but the memory has 4"),
        ("bank,addr,bit,stuck\n1,4,3,1\n", {}, r":2: address 4 is word 4, outside the bank of 4 words"),
        ("chip,addr,bit,stuck\nA,2,3,1\n,2,3,1\n", {}, r":3: chip is missing"),
        ("addr,bit,stuck,\n1,2,1,0\n", {}, r":2: '0' stands in a column without a name"),
        ("M1 x,,ff,fe\n", {"columns": ["element", "address", "expected", "read"]}, r":1: address is missing"),
        # what contradicts itself
        ("addr,bit,stuck,got\n1,2,1,0\n", {}, r":2: stuck_at 1 contradicts read 0"),
        ("addr,bit,stuck,exp\n1,2,1,0\n3,2,0,0\n", {}, r":3: stuck_at 0 contradicts expected 0"),
        ("addr,bit,got\n1,2,1\n", {"stuck_at": 0}, r":2: stuck_at 0 contradicts read 1"),
        ("addr,exp,got,stuck\n1,ff,fe,0\n", {}, r":1: columns addr, exp, got, stuck: need address, and expected and read, or"),
        ("addr,exp,got\n1,ff,ff\n", {}, r":2: expected and read are the same, so nothing failed \(passed='skip'"),
        ("addr,exp,got\n1,255,255\n", {"base": 10}, r":2: expected and read are the same"),
        ("addr,exp,got\n1,ff,fe\n", {"expected": 3}, r":1: a column is the expected, but expected is given as 3, too"),
        # what is not a table
        ("addr,bit,stuck\n1,2,1,\n", {}, r":2: 4 fields, expected 3"),
        ("addr,bit,stuck\n1 2,1\n", {}, r":2: 2 fields, expected 3"),
        ("addr,bit,stuck\n1 2,2,1\n", {}, r":2: address '1 2' is not a number"),
        ('addr,bit,stuck\n"1,2,1\n', {}, r":2: quotes that do not match"),
        ('addr bit stuck\n"1 2 1\n', {}, r":2: a quote that is never closed"),
        ("addr,bit,stuck\n1,2,1\naddr,bit,stuck\n", {}, r":3: address 'addr' is not a number"),
        (TABLE.encode("utf-16-le"), {}, r":1: a zero byte; this is not text, or UTF-16 without a byte order mark"),
        (TABLE.encode("utf-16")[:-1], {}, r":\d: not the UTF-16 text that its first bytes indicate"),
        ("", {"pattern": BIST}, r"a\.log: has no line that the pattern matches"),
        ("x", {"pattern": "(?P<addr>.)(?P<bit>.)?(?P<stuck>.)?"}, r":1: the pattern finds an address, but no bit in 'x'"),
        ("f,bit,stuck\n1,2,1\n", {"rename": {"g": "address"}}, r":1: no column g to rename; columns are f, bit, stuck"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, content, options, reason):
    path = write(tmp_path / "a.log", content)
    with pytest.raises(FormatError, match=reason) as raised:
        read_log(path, MEMORY, **options)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rename": {"a": "b"}}, "rename: 'a' is to be 'b', expected one of address, bit"),
        ({"pattern": "("}, r"pattern '\(' is not a regular expression"),
        ({"pattern": "a"}, "pattern 'a' has no named groups"),
        ({"pattern": "(?P<addr>.)"}, "pattern: columns addr: need address, and expected and read"),
        ({"pattern": BIST, "columns": ["address"]}, "give pattern, whose groups name the columns, or columns, not both"),
        ({"passed": "keep"}, "passed must be one of error, skip, got 'keep'"),
        ({"stuck_at": 2}, "stuck_at must be one of 0, 1, None, got 2"),
        ({"columns": ["addr", "got"], "expected": 256}, "expected must be a word of 8 bits, got 256"),
        ({"columns": ["addr", "got"], "expected": "xyz"}, "expected must be a number of base 16, got 'xyz'"),
        ({"columns": ["addr", "bit"], "expected": 2}, "expected must be a word of 1 bit, got 2"),
    ],
)
def test_bad_options(tmp_path, options, reason):
    with pytest.raises(ValueError, match=reason):
        read_log(write(tmp_path / "a.log", "1 1\n"), MEMORY, **options)
    with pytest.raises(TypeError, match="columns and ignore are sequences of names"):
        read_log(tmp_path / "a.log", MEMORY, ignore="bank")


@given(chip=fault_maps(), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_cut_log_is_refused_or_a_whole_number_of_lines(tmp_path, chip, data):
    """Wherever a log was cut: no cell comes out of it that the whole one does not have."""
    form = data.draw(st.sampled_from(["log", "csv"]))
    (path,) = write_fault_map(chip, tmp_path / "x", format=form)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        loaded = read_fault_map(path, format=form, memory=chip.memory)
    except FormatError:
        return
    assert cells(loaded).items() <= cells(chip).items()


@given(chip=fault_maps())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_what_is_detected_is_read(tmp_path, chip):
    """Detection and reader agree, whatever the text's encoding and line ends."""
    for form in ("log", "csv"):
        (path,) = write_fault_map(chip, tmp_path / "x", format=form)
        text = path.read_text()
        for content in (text.encode("utf-16"), text.replace("\n", "\r").encode("utf-8-sig"), text.replace(",", ";").encode()):
            path.write_bytes(content)
            assert detect_format(path) == form
            assert read_fault_map(path, memory=chip.memory).digest == chip.digest
