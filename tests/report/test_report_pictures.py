"""What is drawn is what is in the reports, and in the image."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure

import tremap_brevitas as tm
from tremap_brevitas.placement import LayerCodes, linear_placement
from tremap_brevitas.placement.activated import activated_faults
from tremap_brevitas.report import ChipResult, FleetReport, plot_activated_faults, plot_reports, plot_yield

REPORTS = [
    FleetReport(
        "one",
        0.95,
        tuple(
            ChipResult(str(i), weights_that_differ=1, worst_error=1, accuracy=a) for i, a in enumerate([0.9, 0.95, 0.8, 0.9])
        ),
    ),
    FleetReport("two", 0.95, tuple(ChipResult(str(i), accuracy=0.93) for i in range(4))),
]


def test_yield():
    figure = plot_yield(REPORTS, threshold=0.9, title="a fleet")
    left, right = figure.axes
    assert [line.get_label() for line in left.lines][:2] == ["one", "two"]
    assert np.asarray(left.lines[0].get_ydata()) == pytest.approx([95, 90, 90, 80])
    x, y = (np.asarray(v) for v in right.lines[0].get_data())
    for accuracy in (0.75, 0.8, 0.85, 0.9, 0.94, 0.95):
        drawn = y[np.searchsorted(x, 100 * accuracy - 1e-9)]  # steps end at their right
        assert drawn == pytest.approx(100 * REPORTS[0].yield_at(accuracy - 1e-12)), accuracy
    assert y[-1] == 0
    with pytest.raises(ValueError, match="no report to plot"):
        plot_yield([], "x.png")
    with pytest.raises(ValueError, match="report 'none' has no chip"):
        plot_yield([FleetReport("none", 0.9, ())], "x.png")
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["one", "two", "goal 90.0 %"]


def test_a_chip_without_a_figure_reaches_no_accuracy():
    report = FleetReport(
        "x",
        0.9,
        tuple(ChipResult(str(i), weights_that_differ=1, worst_error=1, accuracy=a) for i, a in enumerate([0.8, np.nan, 0.9])),
    )
    nothing = FleetReport("y", 0.9, (ChipResult("a", accuracy=np.nan),))
    left, right = plot_yield([report, nothing]).axes
    assert np.asarray(left.lines[0].get_ydata()) == pytest.approx([90, 80])
    assert np.asarray(right.lines[0].get_ydata()) == pytest.approx([100 * 2 / 3, 100 * 2 / 3, 100 / 3, 0])


def image_and_chips(names=("conv", "a" * 40)):
    memory = tm.Memory(words=300, word_bits=16)
    shapes = [((8, 3, 3, 3), 8), ((10, 20), 4), ((4, 4), 8), ((4, 4), 8)]
    layers = [LayerCodes(name, *shape, "twos_complement") for name, shape in zip(names, shapes, strict=False)]
    placement = linear_placement(layers, memory)
    rng = np.random.default_rng(0)
    image = tm.MemoryImage(placement, {x.name: rng.integers(-8, 8, x.shape) for x in layers})
    chips = tm.random_fault_maps(memory, chips=3, fault_rate=0.05, seed=0)
    return image, chips


def test_activated_faults():
    image, chips = image_and_chips()
    figure = plot_activated_faults(image, iter(chips))
    activated = [activated_faults(image, chip) for chip in chips]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[:8] == pytest.approx(np.mean([a.faults_by_bit for a in activated], axis=0))
    assert heights[8:] == pytest.approx(np.mean([a.by_bit for a in activated], axis=0))
    widths = [bar.get_width() for bar in figure.axes[1].patches]
    assert widths[0] == pytest.approx(1000 * np.mean([a.by_layer["conv"] for a in activated]) / 216)
    assert figure.axes[1].get_yticklabels()[1].get_text() == "…" + "a" * 27
    assert figure.get_suptitle().startswith(f"3 chips: {np.mean([a.activated for a in activated]):.0f} activated bits a chip, ")
    with pytest.raises(ValueError, match="no chip to plot"):
        plot_activated_faults(image, [], "x.png")


def test_long_names_stay_apart():
    front = [f"stage{i}.{'x' * 30}" for i in range(3)]
    back = [f"{'x' * 30}.stage{i}" for i in range(3)]
    middle = [f"{'x' * 30}{i}{'x' * 30}" for i in range(3)]
    for names, drawn in (
        (["fc", *back], ["fc", *(f"…{'x' * 20}.stage{i}" for i in range(3))]),
        (front, [f"stage{i}.{'x' * 20}…" for i in range(3)]),
        (middle, middle),
    ):
        figure = plot_activated_faults(*image_and_chips(names))
        assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == drawn


def test_accuracy_and_cost_of_every_report():
    reports = [dataclasses.replace(REPORTS[0], name="per $chip$", steps=1200), dataclasses.replace(REPORTS[1], steps=300)]
    figure = plot_reports(reports, threshold=0.9, title="a fleet")
    left, right = figure.axes
    dots = [np.asarray(points.get_offsets()) for points in left.collections[:2]]
    assert [x.tolist() for x in (dots[0][:, 0], dots[1][:, 0])] == [pytest.approx([90, 95, 80, 90]), pytest.approx([93] * 4)]
    assert [len(points.get_facecolors()) for points in left.collections[:2]] == [4, 4]
    filled = [points.get_facecolors()[:, :3].min(axis=1) < 1 for points in left.collections[:2]]
    assert [f.tolist() for f in filled] == [[False] * 4, [True] * 4]  # bit-exact chips only
    assert [line.get_xdata()[0] for line in left.lines[:2]] == pytest.approx([100 * r.mean for r in reports])
    assert [bar.get_width() for bar in right.patches] == [1200, 300]
    assert [label.get_text() for label in left.get_yticklabels()] == [r"per \$chip\$", "two"]
    assert [t.get_text() for t in figure.legends[0].get_texts()][-1] == "goal 90.0 %"
    assert figure.get_suptitle() == "a fleet"
    with pytest.raises(ValueError, match="no report to plot"):
        plot_reports([], "x.png")


@pytest.mark.parametrize(
    "draw", [partial(plot_reports, REPORTS), partial(plot_yield, REPORTS), partial(plot_activated_faults, *image_and_chips())]
)
def test_with_a_path_the_figure_is_saved_too(draw, tmp_path):
    assert isinstance(draw(), Figure)
    assert isinstance(draw(tmp_path / "p.png"), Figure)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"(?i)format 'xyz'"):
        draw(tmp_path / "q.xyz")
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]
