"""Tables of lowest working voltages: what spreadsheets make of them, and what cannot be told."""

import pytest

from tremap_brevitas import Memory
from tremap_brevitas.faults.formats import FormatError, read_voltages


def write(path, content):
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("0.55,0.61\n0.58,0.70\n", {}),
        ('"0.55";"0.61"\n0.58;0.70\n', {}),
        ("0,55;0,61\n0,58;0,70\n", {"decimal": ","}),
        ("0,55\t0,61\n0,58\t0,70\n", {"decimal": ","}),
        ("0,55 0,61\n0,58 0,70\n", {"decimal": ","}),
        ('"0,55","0,61"\n"0,58","0,70"\n', {"decimal": ","}),
    ],
)
def test_tables_of_voltages(tmp_path, content, options):
    chip = read_voltages(write(tmp_path / "v.csv", content), **options).at(0.6, stuck_at=0)
    assert (chip.memory, chip.cells.tolist()) == (Memory(words=2, word_bits=2), [1, 3])


@pytest.mark.parametrize(
    ("content", "options", "reason"),
    [
        ("0,55;0,61\n", {}, r":1: a comma within a number; decimal=',' reads decimal commas"),
        ('"0,55","0,61"\n', {}, r":1: a comma within a number"),
        ("0,55 0,61\n", {}, r":1: not all of its fields are numbers"),
        ("0,55,0,61\n0,58,1,05\n", {}, r"v\.csv: every other number is 0 or 1 and none has a point: decimal commas"),
        ("0.55;0,61\n", {"decimal": ","}, r":1: a decimal point, expected commas"),
        ("0.55,,0.61\n", {}, r":1: not all of its fields are numbers"),
        ("0.55,0_1\n", {}, r":1: not all of its fields are numbers"),
        ("0.55,0.6", {}, r":1: the file ends without a line end, so that its last number may have been cut short"),
        ("0.55,inf\n", {}, r":1: a voltage that is not finite"),
    ],
)
def test_bad_tables_of_voltages(tmp_path, content, options, reason):
    with pytest.raises(FormatError, match=reason):
        read_voltages(write(tmp_path / "v.csv", content), **options)


def test_a_supply_voltage_must_be_a_number(tmp_path):
    table = read_voltages(write(tmp_path / "v.csv", "0.55,0.61\n"))
    for voltage in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="voltage must be a finite number, got"):
            table.at(voltage, stuck_at=0)
    with pytest.raises(ValueError, match="stuck_at must be one of 0, 1, None, got 2"):
        table.at(0.9, stuck_at=2)
