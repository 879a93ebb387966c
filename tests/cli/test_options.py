"""Options that make no sense: one usage error, before any file is read."""

import pytest
from cli.test_maps import MEMORY, SIZE, chips, folder, tremap  # noqa: F401 (fixtures)

import tremap_brevitas as tm
from tremap_brevitas.faults.formats import write_csv_map, write_log


@pytest.mark.parametrize(
    ("format", "option", "message"),
    [
        (None, "x", "expected NAME=VALUE"),
        (None, "no_such=1", "no_such: no option of any format; there are address_step"),
        ("log", "row_bits=8", "row_bits: no option of the format log"),
        ("tremap", "base=16", "base: no option of the format tremap; there are chip"),
        ("log", "address_step=four", "address_step: "),
        ("log", "address_step=0", "address_step must be at least 1, got 0"),
        ("log", "both_ways=maybe", "both_ways: must be one of error, drop, got 'maybe'"),
        ("log", "base=7", "base must be one of 10, 16, None, got 7"),
        ("log", "columns=a,b", "column 'a' is unknown"),
        (None, "address_step=0", "address_step must be at least 1, got 0"),
        ("readback", "duplicated_bytes=perhaps", "must be true or false, got 'perhaps'"),
        ("readback", "row_bits=7", "row_bits must be a multiple of 8"),
        ("readback", "written=twos", "written: must be one of ones, zeros"),
        ("voltages", "stuck_at=0", "needs the supply voltage, voltage="),
        ("voltages", "voltage=0.5", "give stuck_at or seed"),
        ("voltages", "voltage=nan", "voltage: must be a finite number, got 'nan'"),
    ],
)
def test_a_mistake_in_an_option_is_one_error(folder, format, option, message):  # noqa: F811
    named = [] if format is None else ["--format", format]
    result = tremap("map", "info", folder, *SIZE, *named, "--option", option, code=2)
    assert message in result.stderr.replace("\n", " ")
    assert result.stderr.count("Error") == 1
    assert "chip-0" not in result.stderr
    assert "/tmp" not in result.stderr


def test_the_same_option_twice(folder):  # noqa: F811
    twice = ["--option", "base=16", "--option", "base=10"]
    assert "base is given twice" in tremap("map", "info", folder, "--format", "log", *twice, code=2).stderr


def test_values_have_the_types_that_the_reader_asks_for(tmp_path):
    """The name of a chip may be a number, and an address hexadecimal."""
    chip = tm.FaultMap(MEMORY, [5, 70], [1, 0], "chip")
    path = write_log(chip, tmp_path / "a.log")
    options = ["--option", "chip=007", "--option", "base=0x10", "--option", "first_address=0"]
    tremap("map", "convert", path, *SIZE, *options, "--to", "tremap", "--out", tmp_path / "a.npz")
    loaded = tm.FaultMap.load(tmp_path / "a.npz")
    assert (loaded.chip, loaded.digest) == ("007", chip.digest)


def test_banks(tmp_path):
    """--banks is never passed over: it needs the words, divides what is not divided, and contradicts what is otherwise."""
    plain, divided = tm.Memory(words=64, word_bits=16), MEMORY
    one = tm.FaultMap(plain, [5], [1], "one").save(tmp_path / "one.npz")
    four = tm.FaultMap(divided, [5], [1], "four").save(tmp_path / "four.npz")
    assert "give that as well" in tremap("map", "info", one, "--banks", 4, code=2).stderr
    assert "64 words × 16 bits in 4 banks" in tremap("map", "info", one, *SIZE).stdout
    result = tremap("map", "info", four, *SIZE[:-1], 8, code=1)
    assert "four.npz: is of a memory of 64 words × 16 bits in 4 banks, --banks says 8" in result.stderr
    tm.merge([tm.FaultMap(plain, [i], [1], f"{i}") for i in range(2)], on_conflict="free").save(tmp_path / "m.npz")
    tremap("map", "convert", tmp_path / "m.npz", *SIZE, "--to", "tremap", "--out", tmp_path / "n.npz")
    assert tm.MergedFaultMap.load(tmp_path / "n.npz").memory.banks == 4


@pytest.mark.parametrize("ending", ["npz", "csv"])
def test_a_map_that_says_another_memory_is_refused(tmp_path, ending):
    chip = tm.FaultMap(MEMORY, [5], [1], "A7")
    path = tmp_path / f"a.{ending}"
    (chip.save if ending == "npz" else lambda p: write_csv_map(chip, p))(path)
    result = tremap("map", "info", path, "--words", 64, "--word-bits", 8, code=1)
    assert "is of a memory of 64 words × 16 bits in 4 banks, expected 64 words × 8 bits" in result.stderr


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e400", "x"])
def test_numbers_that_are_none(folder, tmp_path, value):  # noqa: F811
    out = ["--out", tmp_path / "x"]
    tremap("group", folder, "--union-rate", value, *out, code=2)
    tremap("map", "generate", *SIZE, "--rate", value, *out, code=2)
    tremap("map", "generate", *SIZE, "--rate", 0.1, "--cluster-size", value, *out, code=2)
    assert not (tmp_path / "x").exists()
