"""Advice: the cheapest preparation that was measured to be good enough, and where that is no measurement."""

import math

import pytest

from tremap_brevitas.planning import advice as advice_module
from tremap_brevitas.planning import advise
from tremap_brevitas.planning.evidence import Measured, chip_rows, half_interval, measurements, union_rate

HEADING = "network,rate,preparation,seed,chips,chip,clean,seconds,written,accuracy,core_seconds,steps,images,labels"
COSTS = {"as they lie": "0,0,0", "nearest": "0,0,0", "compensated": "0,512,0", "200 steps": "200,0,25600"}


def line(preparation, rate, points, *, seed=0, chips=1, chip=0, network="resnet20", written=None, seconds=1):
    written = written or ("own image" if chips == 1 else "one image")
    accuracy = 0.9 + points / 100
    return f"{network},{rate},{preparation},{seed},{chips},{chip},0.9,{seconds},{written},{accuracy},,{COSTS[preparation]}"


@pytest.fixture
def table(tmp_path, monkeypatch):
    def write(*lines):
        path = tmp_path / "rows.csv"
        path.write_text("\n".join([HEADING, *lines]) + "\n")
        monkeypatch.setattr(advice_module, "measurements", lambda: measurements.__wrapped__(path))
        return path

    return write


def seeds(preparation, rate, *points, **options):
    return [line(preparation, rate, value, seed=seed, **options) for seed, value in enumerate(points)]


def test_the_cheapest_that_holds(table):
    table(
        *seeds("nearest", 1e-2, -0.2, -0.6, 0.1),  # its mean holds, its worst chip does not
        *seeds("compensated", 1e-2, -0.1, -0.4, 0.1),
        *seeds("200 steps", 1e-2, 0.5, 0.5, 0.5),
    )
    advice = advise(1e-2, bits=8, chips=10)
    assert [option.preparation for option in advice.options] == ["nearest", "compensated", "200 steps"]
    assert (advice.best.preparation, advice.best.basis, advice.notes) == ("compensated", "measured", ())
    assert advice.best.cost == (0, 0, 512, 10.0)
    assert advice.options[2].cost == (2000, 25600, 0, 10.0)
    assert [row.line for row in advice.best.measured.rows] == [5, 6, 7]
    assert advise(1e-2, bits=8, chips=10, within=0.6).best.preparation == "nearest"
    assert advise(1e-2, bits=8, chips=10, within=0.0).best.preparation == "200 steps"


def test_between_rates_the_higher_speaks(table):
    table(*seeds("nearest", 1e-3, 0, 0), *seeds("nearest", 1e-2, -0.4, 0), *seeds("nearest", 1e-1, -9, -9))
    advice = advise(2e-3, bits=8, chips=1)
    assert (advice.best.measured.first.rate, advice.best.basis) == (1e-2, "above")
    assert "between" in advice.notes[0]
    assert advise(2e-2, bits=8, chips=1).best is None
    assert advise(1e-5, bits=8, chips=1).best.measured.first.rate == 1e-3


def test_beyond_what_was_measured_nothing_holds(table):
    table(*seeds("nearest", 1e-3, 0, 0))
    advice = advise(1e-2, bits=8, chips=1)
    assert advice.best is None
    assert advice.options[0].basis == "extrapolated"
    assert "milder" in advice.notes[0]


def test_one_seed_does_not_hold(table):
    table(line("nearest", 1e-2, 0))
    assert advise(1e-2, bits=8, chips=1).best is None


def test_one_image_takes_groups_of_as_many_chips_or_more(table):
    table(
        *seeds("nearest", 1e-2, 0, 0),
        *seeds("as they lie", 1e-2, -0.1, 0),
        *seeds("compensated", 1e-2, 0, 0, chips=5),
        *seeds("compensated", 1e-2, -0.4, 0, chips=20),
    )
    advice = advise(1e-2, bits=8, chips=10, one_image=True, within=0.05)
    assert {option.preparation for option in advice.options} == {"as they lie", "compensated"}
    compensated = advice.options[1]
    assert (compensated.measured.first.chips, compensated.basis, compensated.times) == (20, "above", 1)
    # the same words for any number of chips
    assert advise(1e-2, bits=8, chips=10, one_image=True).best.preparation == "as they lie"
    assert advise(1e-2, bits=8, chips=21, one_image=True).options[1].basis == "extrapolated"
    # one chip alone needs no merging
    assert {o.preparation for o in advise(1e-2, bits=8, chips=1, one_image=True).options} == {"nearest", "as they lie"}


def test_widths(table):
    table(*seeds("nearest", 1e-2, 0, 0), *seeds("nearest", 1e-2, -1, -1, network="resnet20-4bit"))
    assert advise(1e-2, bits=8, chips=1).best is not None
    assert advise(1e-2, bits=4, chips=1).best is None
    six = advise(1e-2, bits=6, chips=1)
    assert six.options[0].measured.bits == 4
    assert "6 bits were not measured: the figures are of 4 bits" in six.notes[0]
    two = advise(1e-2, bits=2, chips=1, within=5)
    assert (two.best, two.options[0].basis) == (None, "extrapolated")


def test_a_chip_counts_once_and_unions_do_not(table):
    path = table(
        line("nearest", 1e-2, -1),
        line("nearest", 1e-2, -2, chips=20, written="own image"),
        line("nearest", 1e-2, -3, chips=20, chip="all", written="union"),
        line("nearest", 1e-2, -4, chips=20, chip=1, written="own image"),
    )
    assert sorted((round(row.points, 6), row.chips) for row in chip_rows(path)) == [(-4, 1), (-1, 1)]


def test_intervals_take_a_shared_image_as_one(table):
    path = table(
        *(line("nearest", 1e-2, p, seed=s, chips=5, chip=c) for s, c, p in [(0, 0, 1), (0, 1, 3), (1, 0, 4), (1, 1, 6)])
    )
    (one,) = measurements.__wrapped__(path)
    assert one.half_interval == pytest.approx(half_interval([2.0, 5.0]))
    assert one.half_interval == pytest.approx(12.706205 * (4.5**0.5) / 2**0.5, rel=1e-6)
    assert math.isnan(Measured(one.rows[:1]).half_interval)


def test_union_rate():
    assert union_rate(0.5, 2) == pytest.approx(0.75)
    assert union_rate(1.0, 3) == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "rate must lie between 0 and 1, got 0.0"),
        ({"rate": math.nan}, "rate must lie between 0 and 1, got nan"),
        ({"bits": 0}, "bits must be 1 or more, got 0"),
        ({"chips": -1}, "chips must be 1 or more, got -1"),
        ({"within": math.nan}, "within must be 0 or more points, got nan"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        advise(options.pop("rate", 1e-3), **{"bits": 8, "chips": 1, **options})


def test_a_rate_that_holds_holds_below_it():
    """On the published rows."""
    for one in measurements():
        advice = advise(one.first.rate, bits=one.bits, chips=one.first.chips, one_image=True)
        names = [option.preparation for option in advice.options if option.basis == "measured"]
        if one.first.network.startswith("resnet20"):
            assert one.first.preparation in names
