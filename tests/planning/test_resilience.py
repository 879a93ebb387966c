import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tremap_brevitas.planning import Point, ResilienceCurve

points = st.builds(Point, st.floats(0, 2), st.floats(0, 1), st.sampled_from([0, 0, 50, 200]))
curves = st.lists(points, max_size=20).map(lambda p: ResilienceCurve([Point(0, 0.9), Point(0.5, 0.7), *p]))


def best_line(accuracies):
    """Isotonic regression by its definition: at each point the max-min of means (plain Python)."""
    n = len(accuracies)
    mean = [[sum(accuracies[i : j + 1]) / (j - i + 1) if j >= i else 0 for j in range(n)] for i in range(n)]
    return [min(max(mean[i][j] for j in range(k, n)) for i in range(k + 1)) for k in range(n)]


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_the_fit_is_isotonic_regression(accuracies):
    curve = ResilienceCurve([Point(float(i), a) for i, a in enumerate(accuracies)])
    expected = best_line(accuracies)
    # Corners stand in the middle of level stretches: there the curve has the fitted value.
    # Means of other stretches of equal numbers differ in their last digit.
    for value in expected:
        stretch = [i for i, e in enumerate(expected) if abs(e - value) < 1e-12]
        assert curve.predict(sum(stretch) / len(stretch)) == pytest.approx(value, abs=1e-9)


@given(curves, st.floats(0, 3), st.floats(0, 3), st.integers(0, 250), st.integers(0, 250))
def test_more_error_is_never_better_and_more_steps_never_worse(curve, a, b, few, many):
    low, high = sorted((a, b))
    few, many = sorted((few, many))
    assert curve.predict(high, steps=few) <= curve.predict(low, steps=few) + 1e-12
    assert curve.predict(low, steps=few) <= curve.predict(low, steps=many) + 1e-12


@given(curves, st.floats(0, 2), st.floats(0, 1))
def test_steps_are_the_fewest_that_are_enough(curve, error, goal):
    steps = curve.steps_for(error, goal)
    if steps is None:
        last = max(curve.budgets)
        assert curve.predict(error, steps=last) < goal or not curve.covers(error, steps=last)
    else:
        assert curve.predict(error, steps=steps) >= goal - 1e-6
        assert curve.covers(error, steps=steps)
        fewer = max(0, steps - 1)
        assert steps == 0 or curve.predict(error, steps=fewer) < goal + 1e-9 or not curve.covers(error, steps=fewer)


@given(curves, st.floats(0, 1), st.sampled_from([0, 50, 120]))
def test_the_largest_error_just_reaches_the_goal(curve, goal, steps):
    if curve.predict(0, steps=steps) < goal:
        with pytest.raises(ValueError, match="the accuracy without any error"):
            curve.largest_error(goal, steps=steps)
        return
    largest = curve.largest_error(goal, steps=steps)
    assert curve.predict(largest, steps=steps) >= goal
    assert curve.covers(largest, steps=steps)
    beyond = largest + 1e-6
    assert curve.predict(beyond, steps=steps) < goal + 1e-4 or not curve.covers(beyond, steps=steps)


def test_what_was_left_out_is_predicted_from_the_others():
    curve = ResilienceCurve([Point(0.0, 0.9), Point(0.1, 0.6), Point(0.2, 0.7)])
    assert curve.residuals(0) == pytest.approx([0.9 - 0.65, 0.6 - 0.8, 0.7 - 0.6])
    assert 0.2 < curve.spread < 0.25
    with pytest.raises(ValueError, match="0 points with 7 steps"):
        curve.residuals(7)


def test_where_it_has_not_measured():
    curve = ResilienceCurve([Point(0.0, 0.9), Point(0.4, 0.6), Point(0.9, 0.8, steps=10)])
    assert (curve.covers(0.4), curve.covers(0.41)) == (True, False)
    assert (curve.covers(0.9, steps=9), curve.covers(0.9, steps=10)) == (False, True)
    assert curve.predict(7) == 0.6
    # What lies beyond is no plan: neither free of retraining, nor within reach of one.
    assert curve.largest_error(0.5) == 0.4
    assert (curve.steps_for(0.4, 0.5), curve.steps_for(0.5, 0.5), curve.steps_for(1.0, 0.5)) == (0, 10, None)


def test_a_file_holds_it(tmp_path):
    curve = ResilienceCurve([Point(0.0, 0.9), Point(0.4, 0.6), Point(0.4, 0.8, steps=10)], name="net")
    loaded = ResilienceCurve.load(curve.save(tmp_path / "curve.json"))
    assert (loaded.points, loaded.name, repr(loaded)) == (curve.points, "net", repr(curve))


@pytest.mark.parametrize("kind", ["outputs", "compensated outputs"])
def test_a_curve_over_errors_of_outputs_is_another_file(tmp_path, kind):
    points = [Point(0.0, 0.9), Point(0.4, 0.6)]
    plain, other = ResilienceCurve(points), ResilienceCurve(points, error_of=kind)
    assert (plain.error_of, other.error_of) == ("codes", kind)
    assert f"over errors of {kind}" in repr(other)
    contents = [json.loads(c.save(tmp_path / "curve.json").read_text()) for c in (plain, other)]
    assert set(contents[0]) == {"kind", "schema", "name", "points"}
    assert (contents[0]["schema"], contents[1]["schema"], contents[1]["error_of"]) == (1, 2, kind)
    assert ResilienceCurve.load(tmp_path / "curve.json").error_of == kind
    with pytest.raises(ValueError, match="error_of must be one of codes, outputs, compensated outputs, got 'weights'"):
        ResilienceCurve(points, error_of="weights")


def test_a_curve_of_an_earlier_version_still_loads():
    curve = ResilienceCurve.load(Path(__file__).parents[2] / "docs" / "resnet20_resilience.json")
    assert curve.error_of == "codes"
    assert curve.predict(0.0) > 0.85


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: "not JSON", "not a tremap resilience curve, or damaged .*Expecting value"),
        (lambda c: json.dumps({**c, "kind": "x"}), "it is a 'x'"),
        (lambda c: json.dumps({**c, "schema": 3}), "its schema is 3, but this version reads 1 to 2 only"),
        (lambda c: json.dumps({**c, "schema": 2}), "error_of"),
        (lambda c: json.dumps({**c, "schema": 2, "error_of": ["codes"]}), "error_of"),
        (lambda c: json.dumps({**c, "points": c["points"][:1]}), "at least two points"),
        (lambda c: json.dumps({**c, "points": [{"error": -1, "accuracy": 1}] * 2}), "a finite error >= 0"),
        (lambda c: json.dumps({**c, "points": [{"mistake": 1}]}), "unknown field `mistake`"),
        (lambda c: json.dumps([]), "not a tremap resilience curve"),
        (lambda c: "[" * 100_000, "not a tremap resilience curve"),
    ],
)
def test_damaged_files(tmp_path, change, message):
    path = ResilienceCurve([Point(0.0, 0.9), Point(0.4, 0.6)]).save(tmp_path / "curve.json")
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(ValueError, match=message) as error:
        ResilienceCurve.load(path)
    assert str(path) in str(error.value)


def test_bad_arguments():
    curve = ResilienceCurve([Point(0.0, 0.9), Point(0.4, 0.6)])
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        curve.predict(-1)
    with pytest.raises(ValueError, match="must not be negative, got nan"):
        curve.predict(float("nan"))
    with pytest.raises(ValueError, match="finite error"):
        Point(float("inf"), 0.5)
    with pytest.raises(FileNotFoundError):
        ResilienceCurve.load("nowhere.json")


def test_a_goal_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="the goal nan"):
        ResilienceCurve([Point(0, 0.9), Point(0.2, 0.8)]).largest_error(float("nan"))
