"""Certificates against reading the whole memory back, bit by bit."""

import numpy as np
import oracle
import pytest
from helpers import expected_codes
from hypothesis import given
from hypothesis import strategies as st
from strategies import images

import tremap_brevitas as tm
from tremap_brevitas.placement import LayerCodes, linear_placement


@st.composite
def images_and_chips(draw):
    """An image, and a chip that is wrong in places or happens to agree everywhere; memories with and without reuse."""
    image = draw(images())
    placement = image.placement
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cells = np.flatnonzero(rng.random(placement.memory.cells) < draw(st.sampled_from([0.02, 0.2])))
    stuck = rng.integers(0, 2, size=len(cells))
    if draw(st.booleans()):
        bits = np.unpackbits(image.bits, bitorder="little")
        stuck = bits[cells]  # agrees with what tile 0 stores
    return image, tm.FaultMap(placement.memory, cells, stuck, "chip")


@given(images_and_chips(), st.sampled_from(["group_image", "chip_image"]))
def test_a_certificate_against_the_oracle(case, deployment):
    image, chip = case
    certificate = tm.placement.certificate(image, chip, deployment=deployment)
    store = "plain" if deployment == "group_image" else "nearest"
    expected = expected_codes(image.codes, image.placement, chip, store)
    read = certificate.read()
    wrong, worst, squares = 0, 0, 0.0
    for layer in image.placement.layers:
        assert np.array_equal(read[layer.name], expected[layer.name])
        error = expected[layer.name].astype(int) - image.codes[layer.name].astype(int)
        wrong += int((error != 0).sum())
        worst = max(worst, int(abs(error).max()))
        squares += float((error**2).sum())
    assert certificate.bit_exact == (wrong == 0)
    assert (certificate.weights_that_differ, certificate.worst_error) == (wrong, worst)
    assert certificate.rms_error == pytest.approx(np.sqrt(squares / image.placement.weights))


def test_codes_that_satisfy_the_union_are_exact_on_every_member():
    memory = tm.Memory(words=200, word_bits=32)
    placement = linear_placement([LayerCodes("fc", (20, 40), 8, "twos_complement")], memory)
    chips = tm.random_fault_maps(memory, chips=4, fault_rate=0.02, seed=0)
    merged = tm.merge(chips, on_conflict="majority")
    codes = {"fc": np.random.default_rng(0).integers(-128, 128, size=(20, 40))}
    for store in ("plain", "nearest"):
        image = tm.MemoryImage(placement, expected_codes(codes, placement, merged, store))
        assert tm.placement.certificate(image, merged).bit_exact
        for chip in chips:
            certificate = tm.placement.certificate(image, chip)
            # Only conflicts can make a member differ.
            at = {placement.cell("fc", int(w), bit=b) for d in certificate.differences for w in d.weight for b in range(8)}
            assert bool(at & set(merged.conflicts.tolist())) == (not certificate.bit_exact)
            assert certificate.weights_that_differ <= len(np.intersect1d(merged.conflicts, chip.cells))
    without = tm.merge(chips[:1], on_conflict="error")
    assert tm.placement.certificate(tm.MemoryImage(placement, expected_codes(codes, placement, without)), chips[0]).bit_exact


def test_a_fault_in_an_unused_cell_matters_to_nobody():
    memory = tm.Memory(words=4, word_bits=10)
    placement = linear_placement([LayerCodes("fc", (2,), 8, "twos_complement")], memory)
    image = tm.MemoryImage(placement, {"fc": [0, 0]})
    assert tm.placement.certificate(image, tm.FaultMap(memory, [8, 9, 35], [1, 1, 1])).bit_exact
    assert oracle.read_back(0, {7: 1}, 8, "twos_complement") == -128
    assert tm.placement.certificate(image, tm.FaultMap(memory, [7], [1])).worst_error == 128


def test_codes_in_another_memory_order():
    placement = linear_placement([LayerCodes("fc", (2, 4), 8, "twos_complement")], tm.Memory(2, 32))
    image = tm.MemoryImage(placement, {"fc": np.arange(8).reshape(4, 2).T})
    certificate = tm.placement.certificate(image, tm.FaultMap(placement.memory, [7], [1]))
    assert certificate.read()["fc"].tolist() == [[-128, 2, 4, 6], [1, 3, 5, 7]]


def test_bad_questions():
    placement = linear_placement([LayerCodes("fc", (2,), 8, "twos_complement")], tm.Memory(2, 8))
    image = tm.MemoryImage(placement, {"fc": [0, 0]})
    with pytest.raises(ValueError, match="chip 'x' is of a memory of 1 word × 16 bits, the image's has 2 words × 8 bits"):
        tm.placement.certificate(image, tm.FaultMap(tm.Memory(1, 16), [0], [0], "x"))
    with pytest.raises(ValueError, match="deployment must be"):
        tm.placement.certificate(image, tm.FaultMap(tm.Memory(2, 8), [0], [0]), deployment="each")
