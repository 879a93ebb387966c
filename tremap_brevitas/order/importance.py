"""Weight the errors of codes by their effect on the output of their layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.moments import InputMoments
from tremap_brevitas.placement import MemoryImage


def output_importance(moments: InputMoments, image: MemoryImage) -> dict[str, NDArray[np.float64]]:
    """Return the squared relative error of the layer's output caused by an error of one LSB in each weight.

    Made for ``importance=`` of [solve][tremap_brevitas.order.solve]: the diagonal of the moments alone, so that errors of two
    weights count as if their inputs were independent. Layers without moments (biases, embeddings) count with the squared
    relative error of their codes.

    Args:
        moments: Moments of the inputs, as a bundle keeps them.
        image: The network's codes.

    Returns:
        For each layer by name an array in the shape of its weight.

    Raises:
        ValueError: If the moments belong to another image.

    Examples:
        Of two inputs the second is twice the first, so that its weight counts four times as much.

        >>> from tremap_brevitas import Memory
        >>> from tremap_brevitas.moments import LayerMoments
        >>> from tremap_brevitas.placement import LayerCodes, linear_placement
        >>> placement = linear_placement([LayerCodes("fc", (1, 2), 8, "twos_complement")], Memory(words=1, word_bits=16))
        >>> image = MemoryImage(placement, {"fc": [[2, 4]]})
        >>> layer = LayerMoments.of("fc", [[[1, 2], [2, 4]]], [[0, 0]], [[[2, 4]]], 0.5, samples=9)
        >>> output_importance(InputMoments({"fc": layer}, image.digest), image)
        {'fc': array([[0.01, 0.04]])}
    """
    if moments.image != image.digest:
        raise ValueError(f"the moments belong to an image of digest {moments.image}, but this one's is {image.digest}")
    result = {}
    for name, codes in image.codes.items():
        layer = moments.layers.get(name)
        if layer is None:
            result[name] = np.full(codes.shape, 1.0 / max(image.squares[name], 1.0))
            continue
        row, column = layer.places(np.arange(codes.size), codes.shape)
        each = np.broadcast_to(layer.curvature[:, None, :] * np.square(layer.scale), (layer.groups, layer.rows, layer.columns))
        total = layer.power.sum()  # 0 where the output is always 0: then no error counts
        each = each.reshape(-1, layer.columns)[row, column] / total if total else np.zeros(codes.size)
        result[name] = each.reshape(codes.shape)
    return result
