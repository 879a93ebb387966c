"""Errors of the layers' outputs on a chip, computed from moments alone."""

from __future__ import annotations

import math

from tremap_brevitas.moments import InputMoments
from tremap_brevitas.placement.certificate import Certificate


def output_error(proof: Certificate, moments: InputMoments) -> float:
    """Return the root of the summed squared relative errors of all layers' outputs, for the codes that a chip reads.

    Each layer is taken by itself, with the inputs that it has in the healthy network: ``e' H e`` over ``w' H w``, summed over
    its channels. Layers without moments (biases, embeddings) count with the relative error of their codes, as in the
    certificate's [relative_error][tremap_brevitas.Certificate.relative_error].

    Args:
        proof: Certificate of the chip.
        moments: Moments of the inputs, of the network that the certificate is about.

    Raises:
        ValueError: If the moments belong to another image.

    Examples:
        Two inputs that are always equal: errors of the two weights cancel each other.

        >>> from tremap_brevitas import FaultMap, Memory
        >>> from tremap_brevitas.moments import LayerMoments
        >>> from tremap_brevitas.placement import LayerCodes, MemoryImage, certificate, linear_placement
        >>> placement = linear_placement([LayerCodes("fc", (1, 2), 8, "twos_complement")], Memory(words=1, word_bits=16))
        >>> image = MemoryImage(placement, {"fc": [[5, 6]]})
        >>> layer = LayerMoments.of("fc", [[[1, 1], [1, 1]]], [[0, 0]], [[[5, 6]]], 0.5, samples=9)
        >>> moments = InputMoments({"fc": layer}, image.digest)
        >>> chips = FaultMap(placement.memory, [0], [0]), FaultMap(placement.memory, [0, 8], [0, 1])
        >>> [round(output_error(certificate(image, chip), moments), 4) for chip in chips]
        [0.0909, 0.0]
    """
    if moments.image != proof.image.digest:
        raise ValueError(f"the moments belong to an image of digest {moments.image}, but this one's is {proof.image.digest}")
    total = 0.0
    for difference in proof.differences:
        off = (difference.read - difference.trained).astype(float)
        layer = moments.layers.get(difference.layer)
        if layer is None:
            total += float(off @ off) / max(proof.image.squares[difference.layer], 1.0)
        else:
            total += layer.output_error(difference.weight, off, shape=proof.image.codes[difference.layer].shape) ** 2
    return math.sqrt(total)
