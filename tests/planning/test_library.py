import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import fault_maps, images

import tremap_brevitas as tm
from tremap_brevitas.planning.library import Library


@given(
    images().flatmap(lambda i: fault_maps(i.placement.memory).map(lambda c: (i, c))),
    st.sampled_from(["group_image", "chip_image"]),
)
def test_the_figures_are_those_of_the_certificates(drawn, deployment):
    """Reused memories, orders of their own and every encoding among them; two images of one placement."""
    image, chip = drawn
    others = {name: np.roll(codes, 1) for name, codes in image.codes.items()}
    shelf = [image, tm.MemoryImage(image.placement, others)]
    errors, differ, worst = Library(shelf, deployment=deployment).read_by(chip)
    proofs = [tm.placement.certificate(i, chip, deployment=deployment) for i in shelf]
    assert errors == pytest.approx([p.relative_error for p in proofs])
    assert differ.tolist() == [p.weights_that_differ for p in proofs]
    assert worst.tolist() == [p.worst_error for p in proofs]
