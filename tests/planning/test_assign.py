import dataclasses

import numpy as np
import pytest
from helpers import expected_codes
from hypothesis import given
from hypothesis import strategies as st
from strategies import fault_maps, images

import tremap_brevitas as tm
from tremap_brevitas.placement import LayerCodes, Placement, linear_placement
from tremap_brevitas.planning import Point, Prepared, ResilienceCurve, assign, fault_costs

MEMORY = tm.Memory(words=64, word_bits=16)
PLACEMENT = linear_placement([LayerCodes("a", (10, 8), 8, "twos_complement"), LayerCodes("b", (30,), 4, "binary")], MEMORY)
CURVE = ResilienceCurve([Point(0.0, 0.9), Point(0.05, 0.85), Point(0.5, 0.3)])


def an_image(seed):
    rng = np.random.default_rng(seed)
    return tm.MemoryImage(PLACEMENT, {"a": rng.integers(-128, 128, (10, 8)), "b": rng.integers(0, 16, 30)})


def stored(image, cells):
    words = image.words()
    return [words[c // 16] >> c % 16 & 1 for c in cells]


LIBRARY = [Prepared(f"image {i}", an_image(i), 0.9 + i / 100) for i in range(4)]


def relative_error(image, read):
    """By the definition, in plain Python."""
    total = 0.0
    for name, codes in image.codes.items():
        wrong = sum((int(a) - int(b)) ** 2 for a, b in zip(codes.reshape(-1), read[name].reshape(-1), strict=True))
        total += wrong / max(1, sum(int(a) ** 2 for a in codes.reshape(-1)))
    return total**0.5


@given(images().flatmap(lambda i: fault_maps(i.placement.memory).map(lambda c: (i, c))))
def test_the_relative_error_is_that_of_the_oracle(drawn):
    image, chip = drawn
    if image.placement.reuse:  # a chip image of a reused memory is a matter of every tile: the oracle's too
        certificate = tm.placement.certificate(image, chip, deployment="chip_image")
        assert certificate.relative_error == pytest.approx(relative_error(image, certificate.read()))
        return
    read = expected_codes(image.codes, image.placement, chip)
    assert tm.placement.certificate(image, chip, deployment="chip_image").relative_error == pytest.approx(
        relative_error(image, read)
    )


@given(images().flatmap(lambda i: fault_maps(i.placement.memory).map(lambda c: (i, c))))
def test_a_fault_costs_what_it_does_alone(drawn):
    image, chip = drawn
    costs = fault_costs(image, chip)
    for cell, value, cost in zip(chip.cells, chip.stuck_at, costs, strict=True):
        alone = tm.FaultMap(chip.memory, [cell], [value])
        assert cost == pytest.approx(tm.placement.certificate(image, alone, deployment="chip_image").relative_error ** 2)


def test_an_exact_image_wins_whatever_the_others():
    cells = [3, 77, 200, 401]
    chip = tm.FaultMap(MEMORY, cells, stored(LIBRARY[2].image, cells), "A7")
    (assignment,) = assign([chip], LIBRARY, goal=0.9, curve=CURVE)
    assert (assignment.image, assignment.verdict, assignment.result.accuracy, assignment.error) == (
        "image 2",
        "exact",
        0.92,
        0.0,
    )
    healthy = tm.FaultMap(MEMORY, [], [], "A8")
    (assignment,) = assign([healthy], LIBRARY, goal=0.9, curve=CURVE)
    assert (assignment.image, assignment.verdict) == ("image 3", "exact")  # all are: the most accurate
    (assignment,) = assign([healthy], LIBRARY, goal=0.99, curve=CURVE)
    assert (assignment.verdict, assignment.result.accuracy) == ("retrain", 0.93)


def test_good_enough_by_the_curve_or_not():
    chips = tm.random_fault_maps(MEMORY, chips=40, fault_rate=0.01, seed=2)
    for goal, margin in ((0.8, 0.0), (0.88, 0.0), (0.88, 0.03)):
        for chip, assignment in zip(chips, assign(chips, LIBRARY, goal=goal, curve=CURVE, margin=margin), strict=True):
            image = next(e for e in LIBRARY if e.name == assignment.image)
            proof = tm.placement.certificate(image.image, chip, deployment="chip_image")
            assert assignment.error == pytest.approx(proof.relative_error)
            assert dataclasses.replace(assignment.result, accuracy=None) == proof.result
            if proof.bit_exact:
                continue
            expected = image.accuracy - 0.9 + CURVE.predict(proof.relative_error)
            assert assignment.result.accuracy == pytest.approx(expected)
            assert assignment.verdict == ("good enough" if expected >= goal + margin else "retrain")


def test_without_a_curve_only_exact_chips_are_served():
    chips = tm.random_fault_maps(MEMORY, chips=10, fault_rate=0.05, seed=2)
    for assignment in assign(chips, LIBRARY, goal=0.5):
        assert assignment.verdict == "retrain"
        assert assignment.result.accuracy is None


def test_beyond_what_was_measured_it_must_be_retrained():
    short = ResilienceCurve([Point(0.0, 0.9), Point(1e-9, 0.89)])
    (chip,) = tm.random_fault_maps(MEMORY, chips=1, fault_rate=0.1, seed=2)
    (assignment,) = assign([chip], LIBRARY, goal=0.5, curve=short)
    assert assignment.verdict == "retrain"


@given(
    st.lists(images(), min_size=1, max_size=4),
    st.lists(st.floats(0.5, 1), min_size=4, max_size=4),
    st.sampled_from(["group_image", "chip_image"]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_no_image_would_have_served_better(drawn, accuracies, deployment, with_curve, seed):
    """Against every image's certificate, one by one; goals that some reach and some do not."""
    memory = tm.Memory(words=max(i.placement.words for i in drawn), word_bits=drawn[0].placement.memory.word_bits)
    drawn = [i for i in drawn if i.placement.memory.word_bits == memory.word_bits]
    shelf = [tm.MemoryImage(Placement(memory, i.placement.layers), i.codes) for i in drawn]
    library = [Prepared(str(i), image, accuracies[i]) for i, image in enumerate(shelf)]
    (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=0.05, seed=seed)
    curve = ResilienceCurve([Point(0.0, 0.9), Point(0.3, 0.8), Point(0.6, 0.3)]) if with_curve else None
    goal = 0.75
    (assignment,) = assign([chip], library, goal=goal, curve=curve, deployment=deployment)
    served = {}
    for entry in library:
        proof = tm.placement.certificate(entry.image, chip, deployment=deployment)
        accuracy = entry.accuracy if proof.bit_exact else float("nan")
        if curve is not None and not proof.bit_exact:
            accuracy = entry.accuracy - 0.9 + curve.predict(proof.relative_error)
        sure = proof.bit_exact or (curve is not None and curve.covers(proof.relative_error))
        served[entry.name] = (sure and accuracy >= goal, proof.bit_exact, accuracy, proof)
    reached, exact, accuracy, proof = served[assignment.image]
    assert assignment.error == pytest.approx(proof.relative_error)
    assert dataclasses.replace(assignment.result, accuracy=None) == proof.result
    assert assignment.result.accuracy == (None if np.isnan(accuracy) else pytest.approx(accuracy))
    assert assignment.verdict == ("retrain" if not reached else "exact" if exact else "good enough")
    rivals = [s for s in served.values() if s[0]]
    if rivals:
        assert reached
        assert exact == any(s[1] for s in rivals)
        assert accuracy >= max(s[2] for s in rivals if s[1] == exact) - 1e-9


def test_a_zero_with_its_sign_stuck_is_no_harm():
    """Sign and magnitude store two zeros: a chip that turns one into the other is exact."""
    memory = tm.Memory(words=1, word_bits=16)
    placement = linear_placement([LayerCodes("fc", (2,), 8, "sign_magnitude")], memory)
    library = [Prepared(str(codes), tm.MemoryImage(placement, {"fc": codes}), 0.9) for codes in ([-4, 9], [0, 8])]
    for deployment in ("chip_image", "group_image"):
        (assignment,) = assign([tm.FaultMap(memory, [7, 8], [1, 0])], library, goal=0.8, deployment=deployment)
        assert (assignment.image, assignment.verdict, assignment.result.weights_that_differ) == ("[0, 8]", "exact", 0)


def test_an_image_that_reaches_the_goal_wins_over_the_least_harm():
    memory = tm.Memory(words=1, word_bits=16)
    placement = linear_placement([LayerCodes("fc", (2,), 8, "twos_complement")], memory)
    curve = ResilienceCurve([Point(0, 0.95), Point(1, 0.94)])
    chip = tm.FaultMap(memory, [0], [0])
    for harmless in ([2, 80], [3, 90]):  # exact, and hardly wrong
        codes = {"poor": harmless, "good": [3, 80]}
        accuracy = {"poor": 0.8, "good": 0.95}
        library = [Prepared(name, tm.MemoryImage(placement, {"fc": codes[name]}), accuracy[name]) for name in codes]
        (assignment,) = assign([chip], library, goal=0.9, curve=curve)
        assert (assignment.image, assignment.verdict) == ("good", "good enough")
    (assignment,) = assign([chip], library[:1], goal=0.9, curve=curve)
    assert (assignment.image, assignment.verdict) == ("poor", "retrain")


def test_of_images_that_do_not_serve_the_most_promising_is_named():
    memory = tm.Memory(words=1, word_bits=16)
    placement = linear_placement([LayerCodes("fc", (2,), 8, "twos_complement")], memory)
    chip = tm.FaultMap(memory, [0, 7], [0, 1])
    codes = {"far": [127, 1], "near": [1, 1], "low": [3, 100]}
    library = [Prepared(name, tm.MemoryImage(placement, {"fc": codes[name]}), 0.9 - 0.3 * (name == "low")) for name in codes]
    error = {a.image: a.error for entry in library for a in assign([chip], [entry], goal=0.99)}
    assert error["low"] < error["far"] < error["near"]
    (assignment,) = assign([chip], library, goal=0.99)
    assert assignment.image == "low"  # without a curve nothing is known of any but their errors
    curve = ResilienceCurve([Point(0, 0.9), Point(2, 0.8)])
    (assignment,) = assign([chip], library, goal=0.99, curve=curve)
    assert assignment.image == "far"
    (assignment,) = assign([chip], library, goal=0.99, curve=ResilienceCurve([Point(0, 0.9), Point(error["low"] + 1e-6, 0.8)]))
    assert assignment.image == "low"  # beyond its points the curve only guesses


def test_bad_arguments():
    (chip,) = tm.random_fault_maps(MEMORY, chips=1, fault_rate=0.01, seed=0)
    with pytest.raises(ValueError, match="the library is empty"):
        next(assign([chip], [], goal=0.5))
    with pytest.raises(ValueError, match="two images of the library have the same name"):
        next(assign([chip], [LIBRARY[0], LIBRARY[0]], goal=0.5))
    with pytest.raises(ValueError, match="deployment must be"):
        next(assign([chip], LIBRARY, goal=0.5, deployment="both"))
    other = tm.FaultMap(tm.Memory(words=3, word_bits=16), [], [])
    with pytest.raises(ValueError, match="the library's"):
        next(assign([other], LIBRARY, goal=0.5))
    small = linear_placement([LayerCodes("a", (2,), 8, "twos_complement")], tm.Memory(words=3, word_bits=16))
    with pytest.raises(ValueError, match="image 'small' is for 3 words × 16 bits, but 'image 0' for 64 words × 16 bits"):
        next(assign([chip], [LIBRARY[0], Prepared("small", tm.MemoryImage(small, {"a": [1, 2]}), 1.0)], goal=0.5))
