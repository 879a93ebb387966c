"""Errors of the layers' outputs, and chips assigned by them."""

import dataclasses

import numpy as np
import pytest
from patching.test_patch import a_case, relative_error

import tremap_brevitas as tm
from tremap_brevitas.moments import InputMoments
from tremap_brevitas.patching import patch
from tremap_brevitas.planning import Point, Prepared, ResilienceCurve, assign, output_error, plan_groups


def by_hand(image, moments, wholes, read):
    total = 0.0
    for name, codes in image.codes.items():
        if name in moments.layers:
            total += relative_error(moments.layers[name], wholes[name], read[name], codes.astype(float)) ** 2
        else:
            off = read[name].astype(float) - codes
            total += np.square(off).sum() / np.square(codes.astype(float)).sum()
    return total**0.5


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rate", [0.01, 0.2])
@pytest.mark.parametrize("deployment", ["chip_image", "group_image"])
def test_of_what_a_chip_reads(seed, rate, deployment):
    image, moments, wholes, chip = a_case(seed, rate=rate, reuse=seed % 3 == 0, ordered=seed % 2 == 0)
    proof = tm.placement.certificate(image, chip, deployment=deployment)
    assert output_error(proof, moments) == pytest.approx(by_hand(image, moments, wholes, proof.read()))


def test_moments_of_another_image():
    image, moments, _, chip = a_case(0)
    with pytest.raises(ValueError, match="the moments belong to an image of digest other"):
        output_error(tm.placement.certificate(image, chip), InputMoments(moments.layers, "other"))


def test_assigned_by_the_errors_of_outputs():
    """Two images: the codes of one are nearer, but the outputs of the other."""
    cases = [a_case(seed, rate=0.05) for seed in (0, 1)]
    chip = cases[0][3]
    images = [tm.MemoryImage(cases[0][0].placement, case[0].codes) for case in cases]
    wholes = [case[2] for case in cases]
    moments = [InputMoments(case[1].layers, image.digest) for case, image in zip(cases, images, strict=True)]
    library = [Prepared(name, i, 0.9, m) for name, i, m in zip("ab", images, moments, strict=True)]
    points = [Point(0.0, 0.9), Point(9.0, 0.0)]
    curve = ResilienceCurve(points, error_of="outputs")
    proofs = [tm.placement.certificate(image, chip, deployment="chip_image") for image in images]
    errors = [by_hand(i, m, w, p.read()) for i, m, w, p in zip(images, moments, wholes, proofs, strict=True)]
    (assignment,) = assign([chip], library, goal=0.5, curve=curve)
    best = int(np.argmin(errors))
    assert (assignment.image, assignment.verdict) == ("ab"[best], "good enough")
    assert assignment.error == pytest.approx(errors[best])
    assert assignment.result.accuracy == pytest.approx(curve.predict(errors[best]))
    (plain,) = assign([chip], library, goal=0.5, curve=ResilienceCurve(points))
    assert plain.error == pytest.approx(min(proof.relative_error for proof in proofs))
    bare = [library[0], dataclasses.replace(library[1], moments=None)]
    with pytest.raises(ValueError, match="the curve needs errors of outputs, but image 'b' has no moments; export it"):
        next(assign([chip], bare, goal=0.5, curve=curve))


def test_assigned_as_they_will_be_patched():
    image, moments, _, chip = a_case(0, rate=0.05)
    library = [Prepared("a", image, 0.9, moments)]
    points = [Point(0.0, 0.9), Point(9.0, 0.0)]
    curve = ResilienceCurve(points, error_of="outputs")
    (assignment,) = assign([chip], library, goal=0.5, curve=curve, deployment="patched")
    own = patch(image, moments, chip)
    assert assignment.error == pytest.approx(output_error(own.after, moments))
    assert assignment.error < output_error(tm.placement.certificate(image, chip, deployment="chip_image"), moments)
    assert assignment.result.accuracy == pytest.approx(curve.predict(assignment.error))
    healthy = tm.FaultMap(image.placement.memory, [], [])
    (exact,) = assign([healthy], library, goal=0.5, deployment="patched")
    assert (exact.verdict, exact.error) == ("exact", 0.0)
    with pytest.raises(ValueError, match="their curve must be over errors of outputs, not of codes"):
        next(assign([chip], library, goal=0.5, curve=ResilienceCurve(points), deployment="patched"))
    with pytest.raises(ValueError, match="deployment must be"):
        next(assign([chip], library, goal=0.5, deployment="best"))


def test_groups_go_by_errors_of_codes():
    image, _, _, chip = a_case(0)
    curve = ResilienceCurve([Point(0.0, 0.9), Point(9.0, 0.0)], error_of="outputs")
    with pytest.raises(ValueError, match="the curve is over errors of outputs; groups go by errors of codes"):
        plan_groups([chip], image, curve, goal=0.5, steps=0)


@pytest.mark.parametrize("deployment", ["chip_image", "group_image", "patched"])
def test_a_curve_of_compensated_chips_says_nothing_of_a_library(deployment):
    image, moments, _, chip = a_case(0)
    curve = ResilienceCurve([Point(0.0, 0.9), Point(9.0, 0.0)], error_of="compensated outputs")
    entry = Prepared("a", image, 0.9, moments=moments)
    with pytest.raises(ValueError, match="compensated outputs, but chips of a library are not compensated"):
        list(assign([chip], [entry], goal=0.5, curve=curve, deployment=deployment))
