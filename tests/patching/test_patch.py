"""A chip's own image: what must hold whatever the layers, the codes and the map, against whole matrices."""

import dataclasses

import numpy as np
import pytest
from helpers import expected_codes
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import ENCODINGS

import tremap_brevitas as tm
from tremap_brevitas.codes import code_range
from tremap_brevitas.moments import InputMoments, LayerMoments
from tremap_brevitas.patching import patch
from tremap_brevitas.placement import LayerCodes, Placement, linear_placement

SHAPES = {"fc": ((4, 9), 1, False), "conv": ((4, 2, 2, 2), 2, False), "up": ((4, 3, 3), 2, True), "fc.bias": ((4,), 1, False)}


def a_case(seed, *, encoding="twos_complement", bits=8, rate=0.02, reuse=False, ordered=False, without=()):
    """(image, moments, whole matrices by layer, chip)."""
    rng = np.random.default_rng(seed)
    specs = [LayerCodes(name, shape, bits, encoding) for name, (shape, _, _) in SHAPES.items()]
    needed = linear_placement(specs, tm.Memory(1000, 20)).words
    memory = tm.Memory(needed // 2 if reuse else needed + 1, 20)
    placement = linear_placement(specs, memory, reuse=reuse)
    if ordered:
        layers = [dataclasses.replace(layer, order=rng.permutation(layer.size)) for layer in placement.layers]
        placement = Placement(placement.memory, tuple(layers), placement.reuse)
    low, high = code_range(bit_width=bits, encoding=encoding)
    image = tm.MemoryImage(placement, {n: rng.integers(low + 1, high + 1, shape) for n, (shape, _, _) in SHAPES.items()})
    layers, wholes = {}, {}
    for name, (shape, groups, transposed) in SHAPES.items():
        if len(shape) == 1 or name in without:
            continue
        kernel = int(np.prod(shape[2:]))
        rows, columns = (shape[1], shape[0] // groups * kernel) if transposed else (shape[0] // groups, shape[1] * kernel)
        inputs = np.maximum(rng.normal(size=(groups, 30, columns)) + 0.3, 0)
        whole = (inputs.swapaxes(1, 2) @ inputs / 30).astype(np.float32).astype(float)
        about = {"samples": 30, "groups": groups, "transposed": transposed}
        empty = LayerMoments.of(name, whole, inputs.mean(1), np.ones((groups, rows, columns)), 1.0, **about)
        scale = rng.uniform(0.1, 1, (groups, rows, 1))
        layers[name] = LayerMoments.of(name, whole, inputs.mean(1), empty.matrices(image.codes[name]), scale, **about)
        wholes[name] = whole
    (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=rate, seed=seed)
    return image, InputMoments(layers, image.digest), wholes, chip


def relative_error(layer, whole, codes, wanted):
    """Of a layer's output, by whole matrices."""
    off = layer.matrices(codes.astype(float) - wanted) * layer.scale
    squares = sum(e @ h @ e for part, h in zip(off, whole, strict=True) for e in part)
    return (squares / layer.power.sum()) ** 0.5


@given(st.integers(0, 9999), st.sampled_from(ENCODINGS), st.sampled_from([3, 8, 11]), st.booleans(), st.booleans())
@settings(max_examples=50)
def test_what_must_hold(seed, encoding, bits, reuse, ordered):
    image, moments, wholes, chip = a_case(seed, encoding=encoding, bits=bits, reuse=reuse, ordered=ordered)
    before = tm.placement.certificate(image, chip)
    if before.bit_exact:
        with pytest.raises(ValueError, match="reads every code of the image correctly: there is nothing to patch"):
            patch(image, moments, chip)
        return
    patched = patch(image, moments, chip)
    assert tm.placement.certificate(patched.image, chip).bit_exact  # what is written comes back
    if not reuse:
        read = expected_codes(patched.image.codes, image.placement, chip, store="plain")
        assert all(np.array_equal(read[name], codes) for name, codes in patched.image.codes.items())
    assert patched.before.weights_that_differ == before.weights_that_differ
    assert patched.after.weights_that_differ == sum((patched.image.codes[n] != c).sum() for n, c in image.codes.items())
    assert {layer.layer for layer in patched.layers} == {d.layer for d in before.differences}
    wrong = {d.layer: d for d in before.differences}
    nearest = tm.placement.certificate(image, chip, deployment="chip_image").read()
    for name, codes in image.codes.items():
        if name not in wrong:
            assert np.array_equal(patched.image.codes[name], codes)
            continue
        (line,) = [layer for layer in patched.layers if layer.layer == name]
        assert line.differ_before == len(wrong[name].weight)
        assert line.differ_after == (patched.image.codes[name] != codes).sum()
        if name not in moments.layers:
            assert np.array_equal(patched.image.codes[name], nearest[name])
            assert line.reason
            continue
        layer = moments.layers[name]
        changed = (layer.matrices(patched.image.codes[name]) != layer.matrices(codes)).any(-1).reshape(-1)
        hit = np.zeros(codes.size, dtype=bool)
        hit[wrong[name].weight] = True
        channels = layer.matrices(hit.reshape(codes.shape)).any(-1).reshape(-1)
        assert not (changed & ~channels).any()
        assert line.channels == channels.sum()
        wanted = codes.astype(float)
        assert line.before == pytest.approx(relative_error(layer, wholes[name], before.read()[name], wanted))
        assert line.after == pytest.approx(relative_error(layer, wholes[name], patched.image.codes[name], wanted), abs=1e-9)
        assert line.nearest == pytest.approx(relative_error(layer, wholes[name], nearest[name], wanted), abs=1e-9)
        assert line.after <= line.nearest + 1e-12
    assert patched.error <= patched.nearest_error + 1e-12
    lines = [line for line in patched.layers if not line.reason]
    assert patched.error == pytest.approx(sum(line.after**2 for line in lines) ** 0.5)


def test_white_inputs_leave_the_nearest_codes():
    image, moments, _, chip = a_case(3, rate=0.05)
    white = {}
    for name, layer in moments.layers.items():
        eye = np.tile(np.eye(layer.columns), (layer.groups, 1, 1))
        codes = layer.matrices(image.codes[name])
        about = {"samples": 1, "groups": layer.groups, "transposed": layer.transposed}
        white[name] = LayerMoments.of(name, eye, layer.mean, codes, layer.scale, **about)
    patched = patch(image, InputMoments(white, image.digest), chip)
    nearest = tm.placement.certificate(image, chip, deployment="chip_image").read()
    assert all(np.array_equal(patched.image.codes[name], nearest[name]) for name in nearest)


@pytest.mark.parametrize("encoding", ["twos_complement", "offset_binary"])
def test_a_narrow_range_stays_narrow(encoding):
    """No code of the image is the lowest of the memory; only stuck bits may make one."""
    image, moments, _, chip = a_case(1, encoding=encoding, bits=3, rate=0.1)
    patched = patch(image, moments, chip)
    stuck = {(s.layer.name, int(w)) for s in image.placement.sites(chip.cells) for w in s.weight}
    for name, codes in patched.image.codes.items():
        for weight in np.flatnonzero(codes.reshape(-1) == -4):
            assert (name, int(weight)) in stuck


def test_layers_without_moments_are_named():
    image, moments, _, chip = a_case(0, rate=0.1, without=("fc",))
    patched = patch(image, moments, chip)
    reasons = {layer.layer: layer.reason for layer in patched.layers}
    assert reasons == dict.fromkeys(SHAPES, "") | dict.fromkeys(("fc", "fc.bias"), "no moments of its inputs: nearest codes")
    assert "unknown" in str(patched)


def test_more_sweeps_are_no_worse():
    image, moments, _, chip = a_case(5, rate=0.1)
    errors = [patch(image, moments, chip, sweeps=sweeps).error for sweeps in (1, 2, 5)]
    assert errors[0] >= errors[1] - 1e-12
    assert errors[1] >= errors[2] - 1e-12


def test_what_is_refused():
    image, moments, _, chip = a_case(0)
    with pytest.raises(ValueError, match="sweeps must be at least 1, got 0"):
        patch(image, moments, chip, sweeps=0)
    with pytest.raises(ValueError, match="moments belong to an image of digest other, but this one's is "):
        patch(image, InputMoments(moments.layers, "other"), chip)
    with pytest.raises(ValueError, match="is of a memory of 1 word"):
        patch(image, moments, tm.FaultMap(tm.Memory(1, 8), [0], [0]))
    with pytest.raises(ValueError, match="nothing to patch"):
        patch(image, moments, tm.FaultMap(image.placement.memory, [], []))
