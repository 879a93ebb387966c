"""What is drawn is what is in the maps."""

import io
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import tremap_brevitas as tm
from tremap_brevitas import FaultMap, Memory, random_fault_maps
from tremap_brevitas.faults.analysis.pictures import COLOURS, MAX_ROWS, plot_fault_map, plot_overlap, plot_union_growth
from tremap_brevitas.faults.analysis.statistics import group_statistics
from tremap_brevitas.faults.random.structured import banked_fault_maps

MEMORY = Memory(words=64, word_bits=8, banks=4)
CHIPS = random_fault_maps(MEMORY, chips=6, fault_rate=0.05, sa1_share=0.3, seed=0)
DRAW = [partial(plot_fault_map, CHIPS[0]), partial(plot_overlap, CHIPS), partial(plot_union_growth, CHIPS)]


def test_the_bitmap_has_every_fault_in_its_place():
    figure = plot_fault_map(CHIPS[0])
    panels = [axes for axes in figure.axes if axes.get_title().startswith("bank")]
    assert len(panels) == 4
    drawn = {}
    for bank, axes in enumerate(panels):
        picture = np.asarray(axes.images[0].get_array())
        assert picture.shape == (16, 8)
        for row, column in zip(*np.nonzero(picture), strict=True):
            drawn[(bank * 16 + row) * 8 + 7 - column] = int(picture[row, column]) - 1
        assert axes.get_xlabel() == "bit"
        assert axes.get_xlim() == (7.5, -0.5)  # the MSB to the left
    assert drawn == dict(zip(CHIPS[0].cells.tolist(), CHIPS[0].stuck_at.tolist(), strict=True))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    ones = int(CHIPS[0].stuck_at.sum())
    assert labels == [f"stuck at 0: {len(CHIPS[0]) - ones}", f"stuck at 1: {ones}"]
    assert "rate 5.08e-02" in figure.get_suptitle()


def test_tall_banks_and_many_banks_lose_no_fault():
    tall = FaultMap(Memory(words=10_000, word_bits=4), [0, 20_001, 20_005, 39_999], [0, 0, 1, 1], "tall")
    figure = plot_fault_map(tall, title="t")
    picture = np.asarray(figure.axes[0].images[0].get_array())
    assert picture.shape[0] <= MAX_ROWS
    assert sorted(picture[picture > 0].tolist()) == [1, 2, 3]  # two words of one pixel, stuck at 0 and at 1
    assert figure.get_suptitle() == "t"
    (many,) = banked_fault_maps(Memory(words=4000, word_bits=8, banks=100), chips=1, fault_rate=2e-3, dispersion=9, seed=0)
    figure = plot_fault_map(many)
    overview = np.asarray(figure.axes[0].images[0].get_array()).reshape(-1)[:100]
    by_bank = np.bincount(many.cells // (40 * 8), minlength=100)
    assert np.array_equal(overview, by_bank)
    shown = [int(a.get_title().split()[1][:-1]) for a in figure.axes if a.get_title().startswith("bank")]
    assert len(shown) == 12
    assert min(by_bank[shown]) >= max(np.delete(by_bank, shown))


def test_overlap_and_growth():
    figure = plot_overlap(CHIPS)
    table = np.asarray(figure.axes[0].images[0].get_array().filled(np.nan))
    shared = len(set(CHIPS[0].cells.tolist()) & set(CHIPS[4].cells.tolist()))
    assert table[0, 4] == table[4, 0] == pytest.approx(shared * MEMORY.cells / len(CHIPS[0]) / len(CHIPS[4]))
    group = group_statistics(CHIPS)
    every, hatched = figure.axes[1].containers
    heights = [int(bar.get_height()) for bar in every]
    assert heights == list(group.on_exactly[: len(heights)])
    assert sum(heights) == group.union
    values: dict[int, list[int]] = {}
    for chip in CHIPS:
        for cell, stuck_at in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
            values.setdefault(cell, []).append(stuck_at)
    conflicts = [sum(len(v) == k and len(set(v)) == 2 for v in values.values()) for k in range(1, len(heights) + 1)]
    assert [int(bar.get_height()) for bar in hatched] == conflicts
    assert sum(conflicts) == group.conflicts > 0
    assert {bar.get_hatch() for bar in hatched} == {"///"}
    assert [t.get_text() for t in figure.axes[1].get_legend().get_texts()] == ["all cells", "of them in conflict"]
    figure = plot_union_growth(CHIPS)
    union, chance, conflicts, _ = (np.asarray(line.get_ydata()) for line in figure.axes[0].lines)
    assert union == pytest.approx(100 * np.array(group.union_after) / MEMORY.cells)
    assert conflicts == pytest.approx(100 * np.array(group.conflicts_after) / MEMORY.cells)
    assert chance[-1] == pytest.approx(100 * (1 - (1 - len(CHIPS[0]) / MEMORY.cells) ** 6))
    with pytest.raises(ValueError, match="needs at least two maps, got 1"):
        plot_overlap(CHIPS[:1], "x.png")


def test_chance_is_what_uniform_maps_do():
    chips = random_fault_maps(Memory(words=5000, word_bits=32), chips=12, fault_rate=0.02, sa1_share=0.3, seed=1)
    figure = plot_union_growth(chips)
    union, chance, conflicts, likewise = (np.asarray(line.get_ydata()) for line in figure.axes[0].lines)
    assert union == pytest.approx(chance, rel=0.02)
    assert conflicts[4:] == pytest.approx(likewise[4:], rel=0.1)


def test_files(tmp_path):
    for ending, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), ("", b"\x89PNG")):
        path = tmp_path / f"p{ending}"
        assert isinstance(plot_fault_map(CHIPS[0], path), Figure)
        assert path.read_bytes().startswith(start)
    with pytest.raises(ValueError, match=r"(?i)format 'xyz'"):
        plot_fault_map(CHIPS[0], tmp_path / "q.xyz")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("draw", DRAW)
def test_a_path_changes_nothing_in_the_figure(draw, tmp_path):
    figure = draw()
    assert isinstance(figure, Figure)
    assert not list(tmp_path.iterdir())
    assert isinstance(draw(tmp_path / "p.png"), Figure)
    assert np.array_equal(_rendered(figure), _pixels(tmp_path / "p.png"))  # what is saved is what is returned


def test_a_figure_may_be_changed_and_saved_again(tmp_path):
    figure = plot_union_growth(CHIPS, tmp_path / "before.png")
    figure.axes[0].set_ylabel("another label")
    figure.savefig(tmp_path / "after.svg")
    assert (tmp_path / "before.png").exists()
    assert "another label" in (tmp_path / "after.svg").read_text(encoding="utf-8")


def test_no_display_and_no_pyplot(tmp_path):
    code = """
import sys
from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.faults.analysis.pictures import plot_fault_map
assert "matplotlib" not in sys.modules
plot_fault_map(FaultMap(Memory(words=2, word_bits=2), [0], [1]), "p.png")
assert "matplotlib.pyplot" not in sys.modules
"""
    env = {**os.environ, "PYTHONPATH": str(Path(tm.__file__).parents[1]), "DISPLAY": ""}  # this checkout
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, check=True)
    assert (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("words", "bits", "banks"),
    [(1024, 32, 4), pytest.param(512, 256, 32, marks=pytest.mark.slow), (512, 1024, 8), (512, 1024, 1), (9999, 8, 1)],
)
def test_every_single_fault_has_a_pixel_in_the_file(words, bits, banks):
    memory = Memory(words=words, word_bits=bits, banks=banks)
    for cell in [0, memory.cells - 1, *np.random.default_rng(0).integers(0, memory.cells, 3).tolist()]:
        figure = plot_fault_map(FaultMap(memory, [cell], [1]))
        figure.legends[0].remove()
        pixels = _rendered(figure)
        colour = [int(COLOURS[1][i : i + 2], 16) for i in (1, 3, 5)]
        assert (abs(pixels - colour).max(axis=-1) <= 3).any(), cell


def _rendered(figure):
    file = io.BytesIO()
    figure.savefig(file, dpi=130, format="png")
    file.seek(0)
    return _pixels(file)


def _pixels(file):
    from matplotlib.image import imread

    return np.rint(imread(file)[..., :3] * 255).astype(int)


def test_fleets_without_faults_are_drawn(tmp_path):
    none = [FaultMap(MEMORY, [], [], name) for name in "ab"]
    plot_overlap(none, tmp_path / "o.png")
    plot_union_growth(none, tmp_path / "g.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.png", "o.png"]
    with pytest.raises(ValueError, match="an empty group"):
        plot_union_growth([], tmp_path / "x.png")


@pytest.mark.parametrize("draw", DRAW)
def test_without_matplotlib(draw, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for path in ((), (tmp_path / "p.png",)):
        with pytest.raises(ImportError, match=r"plotting needs matplotlib: pip install 'tremap_brevitas\[plot\]'"):
            draw(*path)
    assert not list(tmp_path.iterdir())
