"""What a stuck bit costs a code, against the oracle: of all widths, by table and by formula."""

import numpy as np
import oracle
import pytest

from tremap_brevitas.order.cost import squared_errors, wrong_codes
from tremap_brevitas.placement import PlacedLayer


@pytest.mark.parametrize("width", [4, 8, 11])
@pytest.mark.parametrize("encoding", ["twos_complement", "offset_binary", "sign_magnitude", "binary"])
def test_errors_of_codes_are_those_of_the_nearest_readable_ones(width, encoding):
    rng = np.random.default_rng(width)
    layer = PlacedLayer("fc", (60,), width, encoding, 0, 1)
    least = {"binary": 0, "sign_magnitude": 1 - 2 ** (width - 1)}.get(encoding, -(2 ** (width - 1)))
    most = 2 ** (width - 1) - 1 + (2 ** (width - 1) if encoding == "binary" else 0)
    codes = rng.integers(least, most + 1, size=60)
    stuck = rng.integers(2**width, size=60) & rng.integers(2**width, size=60)
    ones = stuck & rng.integers(2**width, size=60)
    words = [sum(bit << i for i, bit in enumerate(oracle.to_bits(int(code), width, encoding))) for code in codes]
    stored = np.array(words, dtype=np.uint8 if width <= 8 else np.uint16)
    zeros, ones = (stuck & ~ones).astype(np.int32), ones.astype(np.int32)
    expected = []
    for code, sa0, sa1 in zip(codes.tolist(), zeros.tolist(), ones.tolist(), strict=True):
        expected.append((oracle.nearest(code, oracle.stuck_bits(sa0, sa1, width), width, encoding) - code) ** 2)
    assert squared_errors(stored, zeros, ones, layer).tolist() == expected
    assert wrong_codes(stored, zeros, ones, layer).tolist() == [error > 0 for error in expected]
    assert 5 < sum(error > 0 for error in expected) < 60
