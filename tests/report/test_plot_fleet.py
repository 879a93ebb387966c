"""What is drawn is what is in the reports, and in the image."""

import numpy as np
import pytest

import tremap_brevitas as tm
from tremap_brevitas.placement import LayerCodes, linear_placement
from tremap_brevitas.placement.activated import activated_faults
from tremap_brevitas.report import plot_fleet
from tremap_brevitas.report.fleet_report import ChipResult, FleetReport

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
    figure = plot_fleet._yield_figure(REPORTS, 0.9, "a fleet")
    left, right = figure.axes
    assert [line.get_label() for line in left.lines][:2] == ["one", "two"]
    assert np.asarray(left.lines[0].get_ydata()) == pytest.approx([95, 90, 90, 80])
    x, y = (np.asarray(v) for v in right.lines[0].get_data())
    for accuracy in (0.75, 0.8, 0.85, 0.9, 0.94, 0.95):
        drawn = y[np.searchsorted(x, 100 * accuracy - 1e-9)]  # steps end at their right
        assert drawn == pytest.approx(100 * REPORTS[0].yield_at(accuracy - 1e-12)), accuracy
    assert y[-1] == 0
    with pytest.raises(ValueError, match="no report to plot"):
        plot_fleet.plot_yield([], "x.png")
    with pytest.raises(ValueError, match="report 'none' has no chip"):
        plot_fleet.plot_yield([FleetReport("none", 0.9, ())], "x.png")
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["one", "two", "goal 90.0 %"]


def test_a_chip_without_a_figure_reaches_no_accuracy():
    report = FleetReport(
        "x",
        0.9,
        tuple(ChipResult(str(i), weights_that_differ=1, worst_error=1, accuracy=a) for i, a in enumerate([0.8, np.nan, 0.9])),
    )
    nothing = FleetReport("y", 0.9, (ChipResult("a", accuracy=np.nan),))
    left, right = plot_fleet._yield_figure([report, nothing], None, "").axes
    assert np.asarray(left.lines[0].get_ydata()) == pytest.approx([90, 80])
    assert np.asarray(right.lines[0].get_ydata()) == pytest.approx([100 * 2 / 3, 100 * 2 / 3, 100 / 3, 0])


def test_activated_faults(tmp_path):
    memory = tm.Memory(words=300, word_bits=16)
    layers = [LayerCodes("conv", (8, 3, 3, 3), 8, "twos_complement"), LayerCodes("a" * 40, (10, 20), 4, "twos_complement")]
    placement = linear_placement(layers, memory)
    rng = np.random.default_rng(0)
    image = tm.MemoryImage(placement, {x.name: rng.integers(-8, 8, x.shape) for x in layers})
    chips = tm.random_fault_maps(memory, chips=3, fault_rate=0.05, seed=0)
    figure = plot_fleet._activated_figure(image, chips, "")
    found = [activated_faults(image, chip) for chip in chips]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[:8] == pytest.approx(np.mean([f.faults_by_bit for f in found], axis=0))
    assert heights[8:] == pytest.approx(np.mean([f.by_bit for f in found], axis=0))
    widths = [bar.get_width() for bar in figure.axes[1].patches]
    assert widths[0] == pytest.approx(1000 * np.mean([f.by_layer["conv"] for f in found]) / 216)
    assert figure.axes[1].get_yticklabels()[1].get_text() == "…" + "a" * 27
    path = plot_fleet.plot_activated_faults(image, chips, tmp_path / "p.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert plot_fleet.plot_yield(REPORTS, tmp_path / "y.png").exists()
    with pytest.raises(ValueError, match="no chip to plot"):
        plot_fleet.plot_activated_faults(image, [], "x.png")


def test_long_names_stay_apart():
    front = [f"stage{i}.{'x' * 30}" for i in range(3)]
    back = [f"{'x' * 30}.stage{i}" for i in range(3)]
    middle = [f"{'x' * 30}{i}{'x' * 30}" for i in range(3)]
    assert plot_fleet._short(["fc", *back]) == ["fc", *(f"…{'x' * 20}.stage{i}" for i in range(3))]
    assert plot_fleet._short(front) == [f"stage{i}.{'x' * 20}…" for i in range(3)]
    assert plot_fleet._short(middle) == middle
