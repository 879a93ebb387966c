"""Supply voltages: what each needs, how far down each preparation goes, and which tables are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas.planning import SupplyPoint, advise, advise_supply, read_supply_points

VOLTAGES = "voltage,rate\n0.6,1e-3\n1.0,0\n0.5,1e-2\n"


@pytest.fixture
def written(tmp_path):
    def write(text, name="sram.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_energy_is_the_square_of_the_voltage(written):
    assert read_supply_points(written(VOLTAGES)) == (
        SupplyPoint(1.0, 0.0, 1.0),
        SupplyPoint(0.6, 1e-3, pytest.approx(0.36)),
        SupplyPoint(0.5, 1e-2, 0.25),
    )


def test_a_table_of_energies_is_interpolated_and_may_have_any_unit(written):
    energy = written("energy,voltage,source\n12,1.2,data sheet\n10,1.0,data sheet\n4,0.4,data sheet\n", "energy.csv")
    assert [point.energy for point in read_supply_points(written(VOLTAGES), energy)] == pytest.approx([1.0, 0.6, 0.5])


@given(st.lists(st.floats(1e-6, 0.09), min_size=1, max_size=6, unique=True), st.booleans())
def test_a_preparation_goes_down_to_the_first_voltage_that_it_does_not_hold(rates, healthy):
    """Against a search voltage by voltage, on the published rows."""
    rates = sorted(rates)
    points = [SupplyPoint(1 - 0.1 * (i + 1), rate, 0.5) for i, rate in enumerate(rates)]
    points += [SupplyPoint(1.0, 0.0, 1.0)] if healthy else []
    supply = advise_supply(points, bits=8, chips=3)
    answers = {rate: {o.preparation: o for o in advise(rate, bits=8, chips=3).options} for rate in rates}
    for name in supply.preparations:
        reached = 1.0 if healthy else None
        for point in sorted((p for p in points if p.rate), key=lambda p: -p.voltage):
            if not answers[point.rate][name].holds:
                break
            reached = point.voltage
        found = supply.lowest(name)
        assert (None if found is None else found.voltage) == reached
    costs = [[o.cost for o in supply.advice[-1].options if o.preparation == name] for name in supply.preparations]
    assert len(costs) == len(answers[rates[-1]])


def test_a_voltage_without_stuck_cells_needs_nothing():
    supply = advise_supply([SupplyPoint(0.9, 0.0, 1.0)], bits=8, chips=1)
    assert (supply.advice, supply.preparations) == ((None,), ())
    with pytest.raises(ValueError, match="points must not be empty"):
        advise_supply([], bits=8, chips=1)
    with pytest.raises(ValueError, match="bits must be 1 or more, got 0"):
        advise_supply([SupplyPoint(0.9, 0.1, 1.0)], bits=0, chips=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "voltage\n1\n",
            r":1: not a table of voltages and rates of stuck cells: its columns are voltage, expected voltage,rate",
        ),
        ("voltage,rate\n", r": no line with a voltage"),
        ("voltage,rate\n1,0\nlow,0.1\n", r":3: voltage is 'low', not a number"),
        ("voltage,rate\n-1,0\n", r":2: voltage is '-1', not a number of volts above 0"),
        ("voltage,rate\nnan,0\n", r":2: voltage is 'nan', not a number of volts above 0"),
        ("voltage,rate\n1,1\n", r":2: rate is '1', expected 0 or more, below 1"),
        ("voltage,rate\n1,-0.1\n", r":2: rate is '-0.1', expected 0 or more, below 1"),
        ("voltage,rate\n1,nan\n", r":2: rate is 'nan', expected 0 or more, below 1"),
        ("voltage,rate\n1,0\n0.5,0.1\n1.0,0\n", r":4: 1 V stands there twice, first on line 2"),
        ("voltage,rate\n0.5,0.1\n1,0.2\n", r":3: 0.2 of the cells are stuck at 1 V, but 0.1 at 0.5 V, which is lower"),
        ("voltage,rate\n1,0,2\n", r":2: 3 columns, expected 2"),
    ],
)
def test_wrong_tables_are_refused_by_line(written, text, message):
    with pytest.raises(ValueError, match=rf"sram\.csv{message}"):
        read_supply_points(written(text))


def test_wrong_energies_are_refused(written):
    voltages = written(VOLTAGES)
    with pytest.raises(ValueError, match=r"sram\.csv:4: the energy at 0.5 V is not known: .*energy\.csv has 0.6 to 1 V"):
        read_supply_points(voltages, written("voltage,energy\n1,1\n0.6,0.3\n", "energy.csv"))
    with pytest.raises(ValueError, match=r"energy\.csv:3: energy is '-1', expected 0 or more"):
        read_supply_points(voltages, written("voltage,energy\n1,1\n0.6,-1\n", "energy.csv"))
    with pytest.raises(ValueError, match=r"energy\.csv: the energy at 1 V, the highest voltage, is 0"):
        read_supply_points(voltages, written("voltage,energy\n1,0\n0.5,0\n", "energy.csv"))
