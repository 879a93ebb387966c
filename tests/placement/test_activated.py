"""Activated faults, counted once more bit by bit, and against the certificate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import fault_maps, images

from tremap_brevitas import FaultMap, Memory
from tremap_brevitas.placement import certificate
from tremap_brevitas.placement.activated import activated_faults


@given(st.data(), images())
def test_bit_by_bit(data, image):
    placement = image.placement
    chip = data.draw(fault_maps(placement.memory))
    words, width = image.words(), placement.memory.word_bits
    faults = activated = 0
    layers: dict[str, int] = {}
    weights = set()
    for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
        word, bit = divmod(cell, width)
        for tile in range(placement.tiles):
            held = [
                x for x in placement.layers if x.first_word <= word + tile * placement.memory.words < x.first_word + x.words
            ]
            if not held:
                continue
            position = (word + tile * placement.memory.words - held[0].first_word) * held[0].codes_per_word
            position += bit // held[0].bit_width
            if bit >= held[0].bit_width * held[0].codes_per_word or position >= held[0].size:
                continue
            faults += 1
            if words[word + tile * placement.memory.words] >> bit & 1 != value:
                activated += 1
                layers[held[0].name] = layers.get(held[0].name, 0) + 1
                weights.add((held[0].name, position))
    counts = activated_faults(image, chip)
    assert (counts.faults, counts.activated, counts.chip) == (faults, activated, chip.chip)
    assert {k: v for k, v in counts.by_layer.items() if v} == layers
    assert (sum(counts.by_bit), sum(counts.faults_by_bit)) == (activated, faults)
    proof = certificate(image, chip)
    assert proof.weights_that_differ <= len(weights)  # minus zero reads as zero
    assert proof.bit_exact or activated
    with pytest.raises(ValueError, match="is of a memory of"):
        activated_faults(image, FaultMap(Memory(words=999, word_bits=3), [], []))
