"""The study beside the ResNets in small: networks of other kinds, and maps that are not uniform."""

import dataclasses
import gzip
import statistics

import numpy as np
import pytest

import tremap_brevitas as tm
from benchmarks.order_yield import BLOCK_RAMS
from benchmarks.preparations import cases, elsewhere, maps, networks, networks_page, rows, supply_page, work
from benchmarks.preparations.cases import Case
from benchmarks.preparations.elsewhere import BOARDS, CLUSTERED, DIGITS, REPAIRED, SECDED
from benchmarks.preparations.methods import METHODS
from benchmarks.preparations.statistics import frame_of as study_frame
from tremap_brevitas.planning.evidence import measurements

MEMORY = tm.Memory(words=4096, word_bits=32, banks=64)


@pytest.fixture(scope="module")
def quick():
    """Networks that are trained for a moment, so that Brevitas knows the scales."""
    with pytest.MonkeyPatch.context() as patch:
        short = {name: dataclasses.replace(how, steps=3) for name, how in networks.NETWORKS.items()}
        patch.setattr(networks, "NETWORKS", short)
        patch.setattr(networks, "BASELINE_BATCH", 16)
        networks.digits_bench.cache_clear()
        work._clean.cache_clear()
        yield
        networks.digits_bench.cache_clear()
        work._clean.cache_clear()


def test_cases_name_what_there_is():
    every = elsewhere.listed(list(DIGITS), maps=False)
    assert {case.network for case in every} == set(DIGITS) == set(networks.NETWORKS)
    assert {case.preparation for case in every} <= set(METHODS)
    trained = [case.cost.steps > 0 for case in every]
    assert trained == sorted(trained)
    others = elsewhere.listed([*DIGITS, "resnet20"], maps=True)
    assert {case.map for case in others} == {*elsewhere.MAPS, *BOARDS}
    assert cases.UNIFORM not in {case.map for case in others}
    assert len({case.name for case in (*every, *others)}) == len(every) + len(others)
    assert elsewhere.listed(["resnet20", "resnet32"], maps=False) == list(cases.cases(["resnet20", "resnet32"]))


def test_records_from_before_other_maps_keep_their_names():
    assert Case("resnet20", 1e-3, "nearest", 0).name == (
        "network=resnet20, rate=0.001, preparation=nearest, seed=0, chips=1, chip=0"
    )
    assert Case("resnet20", 1e-3, "nearest", 0, map=SECDED).name.endswith("chip=0, map=behind SECDED")


def test_rows_keep_the_kind_of_map_and_old_rows_have_none(tmp_path):
    made = rows.rows_of(Case("resnet20", 1e-3, "nearest", 0, map=SECDED), {"clean": 0.9, "prepared": 0.8, "seconds": 1.0})
    old = rows.rows_of(Case("resnet20", 1e-3, "nearest", 0), {"clean": 0.9, "prepared": 0.7, "seconds": 1.0})
    path = tmp_path / "rows.csv"
    rows.write(rows.merged(old, made), path)
    assert rows.read(path) == [*old, *made]
    assert [row.case.map for row in rows.read(path)] == ["uniform", SECDED]
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()[:2]) + "\n")
    assert rows.read(path) == old


@pytest.mark.parametrize("kind", [CLUSTERED, REPAIRED, SECDED])
def test_maps_lie_in_the_memory_of_the_network_and_seeds_differ(kind):
    one, again, other = (maps.chips_of(Case("x", 6e-3, "nearest", seed, map=kind), MEMORY, 2) for seed in (0, 0, 1))
    assert {chip.memory for chip in (*one, *other)} == {MEMORY}
    assert [chip.digest for chip in one] == [chip.digest for chip in again]
    assert len({chip.digest for chip in (*one, *other)}) == 4
    assert maps.chips_of(Case("x", 6e-3, "nearest", 0, map=kind), MEMORY, 1)[0].digest == one[0].digest


def test_behind_a_code_no_word_has_a_single_stuck_cell_unless_a_check_bit_is_stuck_too():
    (chip,) = maps.chips_of(Case("x", 6e-3, "nearest", 0, map=SECDED), MEMORY, 1)
    (bare,) = tm.random_fault_maps(tm.Memory(4096, 39, 64), chips=1, fault_rate=6e-3, seed=0)
    words, bits = np.divmod(bare.cells, 39)
    several = {word for word, count in zip(*np.unique(words, return_counts=True), strict=True) if count > 1}
    expected = [32 * word + bit for word, bit in zip(words, bits, strict=True) if word in several and bit < 32]
    assert chip.cells.tolist() == expected


def test_spares_mend_a_few_cells_of_each_bank_of_a_block_ram():
    (chip,) = maps.chips_of(Case("x", 1e-3, "nearest", 0, map=REPAIRED), MEMORY, 1)
    (bare,) = tm.random_fault_maps(MEMORY, chips=1, fault_rate=1e-3, seed=0)
    gone = np.setdiff1d(bare.cells, chip.cells)
    assert set(chip.cells) <= set(bare.cells)
    for bank in range(4):  # of 1,024 words
        inside = gone[gone // (1024 * 32) == bank]
        lines = {("row", cell // 32) for cell in inside} | {("column", cell % 32) for cell in inside}
        assert len(inside) >= maps.SPARE_ROWS + maps.SPARE_COLUMNS
        assert lines  # and no more than the spares can reach
        assert (
            len({cell // 32 for cell in inside})
            <= maps.SPARE_ROWS
            + max(np.count_nonzero(bare.cells[bare.cells // (1024 * 32) == bank] % 32 == column) for column in range(32))
            * maps.SPARE_COLUMNS
        )


def dump(path, stuck):
    """A read-back of the board as its authors publish it: hex text, every byte twice."""
    data = bytearray(b"\xff" * BLOCK_RAMS.words)
    for word, bit in stuck:
        data[word] &= 0xFF ^ (1 << bit)
    path.write_bytes(gzip.compress(bytes(b for byte in data for b in (byte, byte)).hex().encode()))


def test_measured_maps_are_laid_at_as_many_places_as_seeds_and_chips(tmp_path, monkeypatch):
    name = "measured: board"
    path = tmp_path / "board.hex.gz"
    dump(path, [(5, 3), (890 * 1024 - 1, 7)])
    monkeypatch.setitem(BOARDS, name, 2 / BLOCK_RAMS.cells)
    case = Case("x", 2 / BLOCK_RAMS.cells, "nearest", 1, map=name)
    assert maps.memory_of(case) == BLOCK_RAMS
    assert maps.memory_of(dataclasses.replace(case, map=SECDED)) is None
    chips = maps.chips_of(case, BLOCK_RAMS, 5, measured=[path])
    assert [len(chip) for chip in chips] == [2] * maps.PLACES
    first = [890 * place // 12 * 1024 for place in (4, 5, 6, 7)]
    assert [{cell // 8 for cell in chip.cells.tolist()} for chip in chips] == [
        {(5 - start) % BLOCK_RAMS.words, BLOCK_RAMS.words - 1 - start} for start in first
    ]
    with pytest.raises(ValueError, match="measured: board: no such file among none; give it with --measured"):
        maps.chips_of(case, BLOCK_RAMS, 1)
    monkeypatch.setitem(BOARDS, name, 0.5)
    maps._places.cache_clear()
    with pytest.raises(ValueError, match=r"board\.hex\.gz: .* of the cells are stuck, expected 0.5"):
        maps.chips_of(case, BLOCK_RAMS, 1, measured=[path])


@pytest.mark.slow
@pytest.mark.parametrize("network", sorted(DIGITS))
def test_every_network_takes_every_preparation_of_its_cases(quick, network):
    ran = {}
    for case in elsewhere.listed([network], maps=False):
        if case.rate == 6e-3:
            ran.setdefault((case.preparation, case.chips), case)
    assert len(ran) >= 8
    wrong = {}
    for (name, chips), case in ran.items():
        if name == cases.RETRAINED:
            continue
        result = work.Work(None)(case)
        made = rows.rows_of(case, result)
        assert len(made) == (1 if chips == 1 else 1 + cases.EVALUATED)
        assert all(0 <= row.accuracy <= 1 for row in made)
        wrong[name] = result.get("wrong", wrong.get(name))
    assert wrong[cases.COMPENSATED] < wrong[cases.NEAREST]
    assert wrong[cases.ORDER] < wrong[cases.NEAREST]


@pytest.mark.slow
def test_a_small_network_is_retrained(quick, monkeypatch):
    monkeypatch.setattr("benchmarks.preparations.methods.STEPS", 2)
    bench = networks.digits_bench("digits-transformer", 0)
    before = {key: value.clone() for key, value in bench.model.state_dict().items()}
    result = work.Work(None)(Case("digits-transformer", 2e-2, cases.RETRAINED, 0))
    assert 0 <= result["prepared"] <= 1
    changed = bench.model.state_dict()["embed.weight"]
    assert not changed.equal(before["embed.weight"])
    bench.reset()
    assert all(value.equal(before[key]) for key, value in bench.model.state_dict().items())


def some_rows(path, worst):
    """Rows of one small network at 2e-2: a chip of each of three seeds, all alike but one of them; retraining of two seeds."""
    made = []
    for name, points in ((cases.NEAREST, -0.4), (cases.COMPENSATED, -0.1), (cases.RETRAINED, 0.2)):
        for seed in cases.SEEDS[: 2 if name == cases.RETRAINED else 3]:
            last = (name, seed) == (cases.NEAREST, 2)
            result = {"clean": 0.9, "prepared": 0.9 + (worst if last else points) / 100, "seconds": 1.0, "stuck": 2e-2}
            made += rows.rows_of(Case("digits-mobilenet", 2e-2, name, seed), result)
            made += rows.rows_of(Case("digits-mobilenet", 6e-3, name, seed, map=SECDED), {**result, "stuck": 1e-3})
    rows.write(rows.merged([], made), path)


def test_tables_of_networks_have_the_figures_of_the_rows(tmp_path):
    path = tmp_path / "rows.csv"
    some_rows(path, -1.0)
    filled = networks_page.texts(path)
    (nearest,) = (line for line in filled["network digits-mobilenet"].splitlines() if line.startswith("| nearest  "))
    half = 4.3026527 * statistics.stdev([-0.4, -0.4, -1.0]) / 3**0.5  # Student's 97.5 % point, two degrees
    assert f"-0.60 ± {half:.2f}, -1.00 " in nearest
    (trained,) = (line for line in filled["network digits-mobilenet"].splitlines() if line.startswith("| 200 steps"))
    assert "+0.20 ± 0.00, +0.20 [2 seeds]" in trained
    assert "| compensated (-0.10) " in filled["networks"]
    (secded,) = (line for line in filled["maps digits-mobilenet"].splitlines() if SECDED in line)
    assert "| 0.006         | 0.001 " in secded
    assert "compensated (-0.10)" in filled["maps"]
    assert filled["network digits-transformer"] == "No row is finished."
    assert "- digits-transformer, other maps: " in filled["networks not run"]
    some_rows(path, -0.5)
    assert "| nearest (-0.50) " in networks_page.texts(path)["networks"]


def test_no_rows_are_no_error(tmp_path):
    filled = networks_page.texts(tmp_path / "none.csv")
    assert {text for name, text in filled.items() if name != "networks not run"} == {"No row is finished."}


def test_other_maps_are_no_part_of_the_study_of_uniform_ones(tmp_path):
    path = tmp_path / "rows.csv"
    some_rows(path, -1.0)
    assert {one.first.rate for one in measurements.__wrapped__(path)} == {2e-2}
    assert set(study_frame(path).rate) == {2e-2}


def test_published_voltages_and_the_picture(tmp_path):
    assert supply_page.MEMORIES["block RAMs of a VC707 board"][0.54] == pytest.approx(6.24e-4, rel=1e-3)
    lines = supply_page.lowest().splitlines()
    for title, memory in supply_page.MEMORIES.items():
        answer = supply_page.advice_of(memory)
        column = [cell.strip() for cell in lines[0].split("|")].index(title)
        for line in lines[2:]:
            cells = [cell.strip() for cell in line.split("|")]
            point = answer.lowest(cells[1]) if cells[1] in answer.preparations else None
            shown = f"{point.voltage:g} V, {100 - 100 * point.voltage**2:.0f} %" if point and point.rate else ""
            assert cells[column] == shown
    supply_page.draw_energy(tmp_path / "energy.png")
    assert (tmp_path / "energy.png").read_bytes().startswith(b"\x89PNG")
