"""Repair: plain-Python oracles for what stays and what is chosen, brute force on tiny arrays, and the CSV list."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas.faults.array.allocate import RepairPlan, allocate_repair
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.array.repair import Repair, repaired
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.merge import merge
from tremap_brevitas.faults.random.uniform import random_fault_maps

HEADER = "bank,kind,index\n"


@st.composite
def chips(draw, banks=3, rows=4, columns=4):
    """(fault map, geometry): few lines and many faults, so that the allocator has hard choices."""
    mux = draw(st.integers(1, 2))
    count = draw(st.integers(1, banks))
    memory = Memory(words=count * mux * draw(st.integers(1, rows)), word_bits=draw(st.integers(1, columns // mux)), banks=count)
    geometry = ArrayGeometry(
        memory,
        column_mux=mux,
        interleaved_banks=draw(st.booleans()),
        word_order=draw(st.none() | st.permutations(range(memory.words))),
        bit_order=draw(st.none() | st.permutations(range(memory.word_bits))),
    )
    stuck = draw(st.dictionaries(st.integers(0, memory.cells - 1), st.integers(0, 1), max_size=20))
    return FaultMap(memory, list(stuck), list(stuck.values()), "a", {"voltage": "0.55 V"}), geometry


@st.composite
def repairs_of(draw, geometry):
    def lines(count):
        return draw(st.sets(st.tuples(st.integers(0, geometry.banks - 1), st.integers(0, count - 1)), max_size=4))

    return Repair(rows=tuple(lines(geometry.rows)), columns=tuple(lines(geometry.columns)))


def places(chip, geometry):
    """Cell → (bank, row, column), one cell at a time."""
    return {int(cell): tuple(int(axis) for axis in geometry.physical(int(cell))) for cell in chip.cells}


def left(faults, rows, columns):
    """Faults (row, column) of one bank that no replaced line covers."""
    return {(r, c) for r, c in faults if r not in rows and c not in columns}


def count_by(faults, axis):
    counts = {}
    for fault in faults:
        counts[fault[axis]] = counts.get(fault[axis], 0) + 1
    return counts


def allocated(faults, spare_rows, spare_columns):
    """(rows, columns, lines of the must-repair pass) of one bank, from the rules, one look at every fault for every line."""
    chosen, spares, must = (set(), set()), [spare_rows, spare_columns], []
    forced_pass = True
    while True:
        options = []
        for axis in (0, 1):
            for line, count in count_by(left(faults, *chosen), axis).items():
                if spares[axis] and not (forced_pass and count <= spares[1 - axis]):
                    options.append((-count, axis, line))
        if not options:
            if not forced_pass:
                return (*chosen, must)
            forced_pass = False
            continue
        _, axis, line = min(options)
        chosen[axis].add(line)
        spares[axis] -= 1
        if forced_pass:
            must.append((axis, line))


def all_repairs(faults, spare_rows, spare_columns):
    """Every pair (rows, columns) within the spares, of lines that have faults."""
    for axis_rows in range(spare_rows + 1):
        for rows in itertools.combinations(sorted({r for r, _ in faults}), axis_rows):
            for axis_columns in range(spare_columns + 1):
                for columns in itertools.combinations(sorted({c for _, c in faults}), axis_columns):
                    yield set(rows), set(columns)


def of_bank(lines, bank):
    return {index for b, index in lines if b == bank}


@given(st.data())
def test_what_stays_against_a_recount_cell_by_cell(data):
    chip, geometry = data.draw(chips())
    repair = data.draw(repairs_of(geometry))
    after = repaired(chip, repair, geometry=geometry)
    expected = {}
    for (cell, (bank, row, column)), value in zip(places(chip, geometry).items(), chip.stuck_at.tolist(), strict=True):
        if (bank, row) not in repair.rows and (bank, column) not in repair.columns:
            expected[cell] = value
    assert dict(zip(after.cells.tolist(), after.stuck_at.tolist(), strict=True)) == expected
    assert (after.memory, after.memory.banks) == (chip.memory, chip.memory.banks)
    assert (after.chip, after.metadata) == ("a", {"voltage": "0.55 V"})
    assert repaired(after, repair, geometry=geometry) == after


def test_a_repair_by_hand():
    # Two banks of 2 rows × 4 columns; row 0 of bank 0 holds words 0 and 1 as 0.0 1.0 0.1 1.1.
    memory = Memory(words=8, word_bits=2, banks=2)
    geometry = ArrayGeometry(memory, column_mux=2)
    chip = FaultMap(memory, range(16), [0, 1] * 8)
    assert repaired(chip, Repair(rows=((0, 0),)), geometry=geometry).cells.tolist() == list(range(4, 16))
    # Column 2 of bank 1 is bit 1 of words 4 and 6.
    after = repaired(chip, Repair(columns=((1, 2),)), geometry=geometry)
    assert sorted(set(range(16)) - set(after.cells.tolist())) == [9, 13]
    # Without a geometry a row is a word, a column a bit, and the banks are those of the memory.
    after = repaired(chip, Repair(rows=((1, 3),), columns=((0, 1),)))
    assert sorted(set(range(16)) - set(after.cells.tolist())) == [1, 3, 5, 7, 14, 15]
    assert repaired(chip, Repair()) == chip


def test_a_repaired_merged_map_is_a_plain_one():
    memory = Memory(words=4, word_bits=4)
    merged = merge([FaultMap(memory, [1], [0], "a"), FaultMap(memory, [9], [1], "b")], on_conflict="error")
    after = repaired(merged, Repair(rows=((0, 0),)))
    assert type(after) is FaultMap
    assert after.cells.tolist() == [9]


@given(chips(), st.integers(0, 3), st.integers(0, 3))
def test_plans_against_the_rules(drawn, spare_rows, spare_columns):
    chip, geometry = drawn
    plan = allocate_repair(chip, spare_rows=spare_rows, spare_columns=spare_columns, geometry=geometry)
    assert plan.remaining == repaired(chip, plan.repair, geometry=geometry)
    assert plan.complete == (len(plan.remaining) == 0)
    stay = set()
    for bank in range(geometry.banks):
        faults = {(r, c) for b, r, c in places(chip, geometry).values() if b == bank}
        rows, columns, _ = allocated(faults, spare_rows, spare_columns)
        assert of_bank(plan.repair.rows, bank) == rows
        assert of_bank(plan.repair.columns, bank) == columns
        stay |= {(bank, r, c) for r, c in left(faults, rows, columns)}
    assert set(places(plan.remaining, geometry).values()) == stay


@given(chips(banks=1, rows=5, columns=6), st.integers(0, 3), st.integers(0, 3))
def test_plans_against_brute_force(drawn, spare_rows, spare_columns):
    chip, geometry = drawn
    plan = allocate_repair(chip, spare_rows=spare_rows, spare_columns=spare_columns, geometry=geometry)
    rows, columns = of_bank(plan.repair.rows, 0), of_bank(plan.repair.columns, 0)
    assert len(rows) <= spare_rows
    assert len(columns) <= spare_columns
    # Every spare that is used mends something, so a plan with spares is better than none.
    assert len(plan.remaining) <= len(chip) - len(plan.repair)
    faults = {(r, c) for _, r, c in places(chip, geometry).values()}
    outcomes = [(r, c, len(left(faults, r, c))) for r, c in all_repairs(faults, spare_rows, spare_columns)]
    assert len(plan.remaining) >= min(count for _, _, count in outcomes)
    complete = [(r, c) for r, c, count in outcomes if not count]
    if not complete:
        assert not plan.complete
        return
    must = allocated(faults, spare_rows, spare_columns)[2]
    for axis, line in must:
        assert all(line in repair[axis] for repair in complete)
        assert line in (rows, columns)[axis]
    if any(all((0, r) in must for r in rs) and all((1, c) in must for c in cs) for rs, cs in complete):
        assert plan.complete


def grid(*lines):
    """A chip drawn by hand: '#' is a fault, a line a row."""
    cells = [row * len(lines[0]) + column for row, line in enumerate(lines) for column, mark in enumerate(line) if mark == "#"]
    return FaultMap(Memory(words=len(lines), word_bits=len(lines[0])), cells, [1] * len(cells))


@pytest.mark.parametrize(
    ("chip", "spares", "rows", "columns", "remaining"),
    [
        # Row 3 and column 0 can each be mended in one way only.
        (grid("#....", "#....", "#....", "###..", "#...."), (1, 1), [3], [0], 0),
        # Spares of one kind only.
        (grid("##...", "##...", "....."), (0, 2), [], [0, 1], 0),
        # Taking row 0 leaves no spare row, so that columns 1 and 2 must be replaced in turn: the fixpoint.
        (grid("####", ".#..", "..#.", "...."), (1, 2), [0], [1, 2], 0),
        # As many faults as the other kind has spares is no must.
        (grid("...", "#..", "#..", "#.."), (3, 1), [], [0], 0),
        (grid(".###", "...."), (1, 3), [0], [], 0),
        # Ties: a row before a column, the lower number first.
        (grid("...", "#..", ".#."), (1, 1), [1], [1], 0),
        (grid("...", "..#", ".#."), (0, 1), [], [1], 1),
        (grid("...", "..#", ".#."), (1, 0), [1], [], 1),
        # More must-repair rows than spares: the fullest.
        (grid("##..", "###.", "####"), (2, 0), [1, 2], [], 2),
        # A full array, and more spares than it has lines.
        (grid("##", "##"), (9, 9), [0, 1], [], 0),
        (grid("..", ".."), (1, 1), [], [], 0),
    ],
)
def test_plans_by_hand(chip, spares, rows, columns, remaining):
    plan = allocate_repair(chip, spare_rows=spares[0], spare_columns=spares[1])
    assert plan.repair == Repair(rows=tuple((0, r) for r in rows), columns=tuple((0, c) for c in columns))
    assert len(plan.remaining) == remaining


def test_must_repair_goes_before_a_line_with_more_faults():
    # Rows 0 to 2 have two faults each, more than the spare column can mend. Column 0 has three, no more than the spare rows.
    # Greedy alone would spend the spare column on it, then the spare rows on rows 0 to 2, and have none for row 3.
    chip = grid("##...", "#.#..", "#..#.", "....#")
    plan = allocate_repair(chip, spare_rows=3, spare_columns=1)
    assert plan.repair == Repair(rows=((0, 0), (0, 1), (0, 2)), columns=((0, 4),))
    assert plan.complete


def test_must_repair_counts_the_spares_that_are_left():
    # At first row 0 alone is a must. It leaves two spare rows, so that columns 4 to 6, of three faults each, become musts too.
    # Greedy alone would spend the spare rows on rows 1 and 2, and have none for rows 4 and 5.
    chip = grid("####...", "....###", "....###", "....###", "#......", ".#.....")
    plan = allocate_repair(chip, spare_rows=3, spare_columns=3)
    assert plan.repair == Repair(rows=((0, 0), (0, 4), (0, 5)), columns=((0, 4), (0, 5), (0, 6)))
    assert plan.complete


def test_many_small_arrays_against_the_rules_and_brute_force():
    # Drawn maps rarely need the first pass; among these, hundreds do.
    rng = np.random.default_rng(0)
    only_musts = 0
    for _ in range(1500):
        shape, spares = rng.integers(2, 8, size=2), rng.integers(0, 4, size=2).tolist()
        broken = rng.random(shape) < rng.uniform(0.05, 0.4)
        memory = Memory(words=int(shape[0]), word_bits=int(shape[1]))
        chip = FaultMap(memory, np.flatnonzero(broken), np.ones(broken.sum(), dtype=np.uint8))
        faults = {(int(r), int(c)) for r, c in np.argwhere(broken)}
        plan = allocate_repair(chip, spare_rows=spares[0], spare_columns=spares[1])
        rows, columns, must = allocated(faults, *spares)
        assert (of_bank(plan.repair.rows, 0), of_bank(plan.repair.columns, 0)) == (rows, columns)
        assert len(plan.remaining) == len(left(faults, rows, columns))
        complete = [repair for repair in all_repairs(faults, *spares) if not left(faults, *repair)]
        for axis, line in must:
            assert all(line in repair[axis] for repair in complete)
        if any(set(must) == {(axis, line) for axis in (0, 1) for line in repair[axis]} for repair in complete):
            assert plan.complete
            only_musts += len(must) > 0
    assert only_musts > 20


def test_spares_are_of_each_bank():
    memory = Memory(words=6, word_bits=4, banks=3)
    chip = FaultMap(memory, [0, 1, 4, 16, 17, 20], [1] * 6)
    plan = allocate_repair(chip, spare_rows=1, spare_columns=0)
    assert plan.repair.rows == ((0, 0), (2, 0))
    assert plan.remaining.cells.tolist() == [4, 20]
    # The banks are those of the geometry, whatever the map says.
    plan = allocate_repair(chip, spare_rows=1, spare_columns=0, geometry=ArrayGeometry(Memory(words=6, word_bits=4)))
    assert plan.repair.rows == ((0, 0),)


def test_no_faults_and_no_spares():
    memory = Memory(words=4, word_bits=4)
    healthy, broken = FaultMap(memory, [], []), FaultMap(memory, [3], [1])
    assert allocate_repair(healthy, spare_rows=2, spare_columns=2) == RepairPlan(Repair(), healthy)
    plan = allocate_repair(broken, spare_rows=0, spare_columns=0)
    assert plan == RepairPlan(Repair(), broken)
    assert not plan.complete


def test_what_is_said_to_people():
    memory = Memory(words=8, word_bits=4, banks=4)
    chip = FaultMap(memory, [0, 1, 2, 5, 8, 9, 28], [1, 0, 1, 1, 0, 1, 1])
    assert str(allocate_repair(chip, spare_rows=1, spare_columns=0)) == (
        "bank 0: rows 0\nbank 1: rows 0\nbank 3: rows 1\n1 fault left: 0 stuck at 0, 1 stuck at 1"
    )
    assert str(allocate_repair(chip, spare_rows=1, spare_columns=1)) == (
        "bank 0: rows 0; columns 1\nbank 1: rows 0\nbank 3: rows 1\nno fault left"
    )
    assert str(allocate_repair(FaultMap(memory, [], []), spare_rows=1, spare_columns=1)) == "no fault left"
    assert str(Repair(rows=((10, 1), (2, 11), (2, 3)))) == "bank 2: rows 3, 11\nbank 10: rows 1"
    assert str(Repair()) == ""


def test_a_million_faults():
    memory = Memory(words=2**18, word_bits=64, banks=8)
    (chip,) = random_fault_maps(memory, chips=1, fault_rate=1e6 / memory.cells, seed=0)
    geometry = ArrayGeometry(memory, column_mux=4)
    plan = allocate_repair(chip, spare_rows=16, spare_columns=16, geometry=geometry)
    assert len(plan.repair) == 8 * 32
    assert len(plan.remaining) < len(chip) == 10**6


def test_the_cost_goes_with_the_faults_and_not_with_the_cells():
    # 2**53 cells: anything that touched them all would never end.
    memory = Memory(words=2**47, word_bits=64, banks=4)
    (chip,) = random_fault_maps(memory, chips=1, fault_rate=1e-12, seed=0)
    assert len(allocate_repair(chip, spare_rows=2, spare_columns=1).repair) == 12


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ({"rows": ((0, 3), (0, 3))}, ValueError, "row 3 of bank 0 is given twice"),
        ({"columns": ((1, 2), (0, 2), (1, 2))}, ValueError, "column 2 of bank 1 is given twice"),
        ({"rows": ((0, -1),)}, ValueError, "row -1 of bank 0: neither can be negative"),
        ({"columns": ((-2, 1),)}, ValueError, "column 1 of bank -2: neither can be negative"),
        ({"rows": (3,)}, TypeError, r"rows must be pairs \(bank, row\) of integers, got 3"),
        ({"rows": ((1, 2, 3),)}, TypeError, r"rows must be pairs \(bank, row\) of integers, got \(1, 2, 3\)"),
        ({"columns": ((0, 1.0),)}, TypeError, r"columns must be pairs \(bank, column\) of integers, got \(0, 1.0\)"),
    ],
)
def test_bad_repairs(lines, error, message):
    with pytest.raises(error, match=message):
        Repair(**lines)


def test_a_repair_is_a_value():
    repair = Repair(rows=[np.array([1, 2]), (0, 5)], columns=[(0, 1)])
    assert repair == Repair(rows=((0, 5), (1, 2)), columns=((0, 1),))
    assert repair.rows == ((0, 5), (1, 2))
    assert {type(number) for line in repair.rows for number in line} == {int}
    assert len(repair) == 3
    assert repair != Repair(rows=((0, 5), (1, 2)))
    assert Repair(rows=((0, 1),)) != Repair(columns=((0, 1),))


@pytest.mark.parametrize(
    ("repair", "message"),
    [
        (Repair(rows=((0, 2),)), "row 2 of bank 0: the bank has rows 0 to 1"),
        (Repair(rows=((2, 0),)), "row 0 of bank 2: the memory has banks 0 to 1"),
        (Repair(columns=((1, 4),)), "column 4 of bank 1: the bank has columns 0 to 3"),
        (Repair(columns=((7, 0),)), "column 0 of bank 7: the memory has banks 0 to 1"),
        (Repair(rows=((0, 2**70),)), f"row {2**70} of bank 0: the bank has rows 0 to 1"),
    ],
)
def test_repairs_of_lines_that_are_not_there(repair, message):
    memory = Memory(words=8, word_bits=2, banks=2)
    with pytest.raises(ValueError, match=message):
        repaired(FaultMap(memory, [], []), repair, geometry=ArrayGeometry(memory, column_mux=2))


def test_bad_arguments():
    chip = FaultMap(Memory(words=4, word_bits=4), [1], [0], "a")
    other = ArrayGeometry(Memory(words=8, word_bits=2))
    message = "chip 'a' has 4 words × 4 bits, the geometry 8 words × 2 bits"
    with pytest.raises(ValueError, match=message):
        repaired(chip, Repair(), geometry=other)
    with pytest.raises(ValueError, match=message):
        allocate_repair(chip, spare_rows=0, spare_columns=0, geometry=other)
    with pytest.raises(ValueError, match="spare_rows must be at least 0, got -1"):
        allocate_repair(chip, spare_rows=-1, spare_columns=0)
    with pytest.raises(ValueError, match="spare_columns must be at least 0, got -2"):
        allocate_repair(chip, spare_rows=1, spare_columns=-2)
    with pytest.raises(TypeError, match="spare_columns must be an integer, got 1.5"):
        allocate_repair(chip, spare_rows=1, spare_columns=1.5)
    with pytest.raises(TypeError, match="spare_rows must be an integer, got '1'"):
        allocate_repair(chip, spare_rows="1", spare_columns=1)


lines = st.sets(st.tuples(st.integers(0, 10**18), st.integers(0, 10**18)), max_size=8).map(tuple)


@given(st.builds(Repair, rows=lines, columns=lines))
def test_lists_come_back(tmp_path_factory, repair):
    path = tmp_path_factory.mktemp("repair") / "chip.csv"
    assert repair.save(path) == path
    assert Repair.load(path) == repair


def test_the_list_written_out(tmp_path):
    path = Repair(rows=((2, 0), (0, 7)), columns=((0, 12),)).save(tmp_path / "chip.csv")
    assert path.read_bytes() == b"bank,kind,index\n0,row,7\n2,row,0\n0,column,12\n"
    assert Repair().save(str(path)).read_bytes() == HEADER.encode()
    assert Repair.load(path) == Repair()


def test_lists_from_elsewhere(tmp_path):
    path = tmp_path / "chip.csv"
    # A spreadsheet's: a byte order mark, CRLF, quotes, blanks and empty lines.
    path.write_bytes(b'\xef\xbb\xbfbank,kind,index\r\n"0", "row" ,07\r\n\r\n , ,\r\n1,"column",3\r\n')
    with pytest.raises(ValueError, match=r'chip.csv:2: kind must be row or column, got \'"row"\''):
        Repair.load(path)
    path.write_bytes(b'\xef\xbb\xbfbank,kind,index\r\n"0","row" , 07\r\n\r\n , ,\r\n1,"column",3')
    assert Repair.load(str(path)) == Repair(rows=((0, 7),), columns=((1, 3),))
    with pytest.raises(FileNotFoundError):
        Repair.load(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: expected the header bank,kind,index, found ''"),
        ("\n\n", "2: expected the header bank,kind,index, found ''"),
        ("0,row,1\n", "1: expected the header bank,kind,index, found '0,row,1'"),
        ("bank,kind\n", "1: expected the header bank,kind,index, found 'bank,kind'"),
        (HEADER + "0,row\n", "2: 2 fields, expected 3: bank,kind,index"),
        (HEADER + "\n0,row,1,2\n", "3: 4 fields, expected 3: bank,kind,index"),
        (HEADER + "0,diagonal,1\n", "2: kind must be row or column, got 'diagonal'"),
        (HEADER + "0,row,1\n-1,row,2\n", "3: bank must be a whole number of at most 19 digits, got '-1'"),
        (HEADER + "0,row,1.0\n", "2: index must be a whole number of at most 19 digits, got '1.0'"),
        (HEADER + "0,row,1_0\n", "2: index must be a whole number of at most 19 digits, got '1_0'"),
        (HEADER + "٣,row,1\n", "2: bank must be a whole number of at most 19 digits, got '٣'"),
        (HEADER + f"0,row,{'9' * 5000}\n", "2: index must be a whole number of at most 19 digits, got '99"),
        (HEADER + "0,row,\n", "2: index must be a whole number of at most 19 digits, got ''"),
        (HEADER + "0,row,1\n0,column,1\n0,row,01\n", "4: row 1 of bank 0 is listed twice, first on line 2"),
        (HEADER + "0,row,\udcff\n", "2: a byte that is not UTF-8 text"),
        (HEADER + f"{'0' * 200_000},row,1\n", "2: field larger than field limit"),
    ],
)
def test_bad_lists(tmp_path, text, message):
    path = tmp_path / "chip.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Repair.load(path)
    assert str(caught.value).startswith(f"{path}:{message}")


pieces = st.lists(st.sampled_from([*HEADER, "bank,kind,index", "\n", "\r", ",", '"', "0", "1,row,2", "0,column,3", "\0"]))


@given(
    st.text().map(str.encode)
    | st.binary()
    | st.text().map(lambda text: (HEADER + text).encode())
    | pieces.map(lambda lines: (HEADER + "".join(lines)).encode())
)
def test_whatever_a_list_holds(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("repair") / "chip.csv"
    path.write_bytes(data)
    try:
        loaded = Repair.load(path)
    except ValueError as error:
        message = str(error)
    else:
        assert Repair.load(loaded.save(path)) == loaded
        return
    assert re.match(rf"{re.escape(str(path))}:[1-9]\d*: .", message)
