import numpy as np
import pytest
from helpers import expected_codes
from hypothesis import given
from strategies import fault_maps, images

import tremap_brevitas as tm
from tremap_brevitas.fleet import Point, Prepared, ResilienceCurve, assign, fault_costs
from tremap_brevitas.placement import LayerCodes, linear_placement

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
        found = tm.certificate(image, chip, deployment="chip_image")
        assert found.relative_error == pytest.approx(relative_error(image, found.read()))
        return
    read = expected_codes(image.codes, image.placement, chip)
    assert tm.certificate(image, chip, deployment="chip_image").relative_error == pytest.approx(relative_error(image, read))


@given(images().flatmap(lambda i: fault_maps(i.placement.memory).map(lambda c: (i, c))))
def test_a_fault_costs_what_it_does_alone(drawn):
    image, chip = drawn
    costs = fault_costs(image, chip)
    for cell, value, cost in zip(chip.cells, chip.stuck_at, costs, strict=True):
        alone = tm.FaultMap(chip.memory, [cell], [value])
        assert cost == pytest.approx(tm.certificate(image, alone, deployment="chip_image").relative_error ** 2)


def test_an_exact_image_wins_whatever_the_others():
    cells = [3, 77, 200, 401]
    chip = tm.FaultMap(MEMORY, cells, stored(LIBRARY[2].image, cells), "A7")
    (found,) = assign([chip], LIBRARY, goal=0.9, curve=CURVE)
    assert (found.image, found.verdict, found.accuracy, found.error) == ("image 2", "exact", 0.92, 0.0)
    healthy = tm.FaultMap(MEMORY, [], [], "A8")
    (found,) = assign([healthy], LIBRARY, goal=0.9, curve=CURVE)
    assert (found.image, found.verdict) == ("image 3", "exact")  # all are: the most accurate
    (found,) = assign([healthy], LIBRARY, goal=0.99, curve=CURVE)
    assert (found.verdict, found.accuracy) == ("retrain", 0.93)


def test_good_enough_by_the_curve_or_not():
    chips = tm.random_fault_maps(MEMORY, chips=40, fault_rate=0.01, seed=2)
    for goal, margin in ((0.8, 0.0), (0.88, 0.0), (0.88, 0.03)):
        for chip, found in zip(chips, assign(chips, LIBRARY, goal=goal, curve=CURVE, margin=margin), strict=True):
            image = next(e for e in LIBRARY if e.name == found.image)
            proof = tm.certificate(image.image, chip, deployment="chip_image")
            assert found.error == proof.relative_error
            assert found.weights_that_differ == proof.weights_that_differ
            if proof.bit_exact:
                continue
            expected = image.accuracy - 0.9 + CURVE.predict(proof.relative_error)
            assert found.accuracy == pytest.approx(expected)
            assert found.verdict == ("good enough" if expected >= goal + margin else "retrain")


def test_without_a_curve_only_exact_chips_are_served():
    chips = tm.random_fault_maps(MEMORY, chips=10, fault_rate=0.05, seed=2)
    for found in assign(chips, LIBRARY, goal=0.5):
        assert found.verdict == "retrain"
        assert np.isnan(found.accuracy)


def test_beyond_what_was_measured_it_must_be_retrained():
    short = ResilienceCurve([Point(0.0, 0.9), Point(1e-9, 0.89)])
    (chip,) = tm.random_fault_maps(MEMORY, chips=1, fault_rate=0.1, seed=2)
    (found,) = assign([chip], LIBRARY, goal=0.5, curve=short)
    assert found.verdict == "retrain"


def test_the_chosen_image_is_near_the_best():
    """By stuck bits alone the choice need not be the very best; over many chips it is far better than a random one."""
    chips = tm.random_fault_maps(MEMORY, chips=60, fault_rate=0.02, seed=5)
    errors = np.array([[tm.certificate(e.image, c, deployment="chip_image").relative_error for e in LIBRARY] for c in chips])
    chosen = np.array([a.error for a in assign(chips, LIBRARY, goal=0.5)])
    assert np.mean(chosen - errors.min(axis=1)) < 0.35 * np.mean(errors.mean(axis=1) - errors.min(axis=1))


def test_bad_arguments():
    (chip,) = tm.random_fault_maps(MEMORY, chips=1, fault_rate=0.01, seed=0)
    with pytest.raises(ValueError, match="the library is empty"):
        next(assign([chip], [], goal=0.5))
    with pytest.raises(ValueError, match="two images of the library have the same name"):
        next(assign([chip], [LIBRARY[0], LIBRARY[0]], goal=0.5))
    other = tm.FaultMap(tm.Memory(words=3, word_bits=16), [], [])
    with pytest.raises(ValueError, match="the library's"):
        next(assign([other], LIBRARY, goal=0.5))
    small = linear_placement([LayerCodes("a", (2,), 8, "twos_complement")], tm.Memory(words=3, word_bits=16))
    with pytest.raises(ValueError, match="image 'small' is for 3 words × 16 bits, but 'image 0' for 64 words × 16 bits"):
        next(assign([chip], [LIBRARY[0], Prepared("small", tm.MemoryImage(small, {"a": [1, 2]}), 1.0)], goal=0.5))
