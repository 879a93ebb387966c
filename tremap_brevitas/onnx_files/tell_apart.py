"""Choose codes that identify every weight of a network in an exported graph; needs only NumPy.

Exporters choose the names of initializers, merge equal ones and copy those that are used twice, so that two layers with equal
codes cannot be told apart in the file. Such layers are therefore exported with one or two codes changed, identified by these,
and given their own codes afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.codes import code_range
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.printable import counted

Array = NDArray[np.int32]


def marked_codes(image: MemoryImage, others: Iterable[NDArray[np.integer]]) -> dict[str, Array]:
    """Return distinct codes for layers that have the same codes as another layer.

    Args:
        image: The codes of the placed layers.
        others: Codes of the network's weights that are not placed.

    Returns:
        Codes in the weight's shape, for those layers only. Biases are always among them: their codes are often all zeros, and
        a graph may contain some that belong to no layer of the network.

    Raises:
        ValueError: If there are more equal layers than codes to tell them apart.
    """
    taken = {_key(codes) for codes in others}
    left = []
    for layer in image.placement.layers:
        key = _key(image.codes[layer.name])
        if key in taken or len(layer.shape) == 1:
            left.append(layer)
        taken.add(key)
    marked = {}
    for layer in left:
        codes = image.codes[layer.name]
        low, high = code_range(bit_width=layer.bit_width, encoding=layer.encoding)
        levels = high - low + 1
        for turn in range(codes.size * (levels - 1)):
            step, at = divmod(turn, codes.size)
            changed = np.array(codes, dtype=np.int32)
            flat = changed.reshape(-1)
            flat[at] = low + (int(flat[at]) - low + step + 1) % levels
            if _key(changed) not in taken:
                break
        else:
            raise ValueError(
                f"layer {layer.name!r}: {counted(codes.size, 'code')} of {counted(layer.bit_width, 'bit')} cannot tell it "
                f"from the other layers of its shape in a graph"
            )
        taken.add(_key(changed))
        marked[layer.name] = changed
    return marked


def _key(codes: NDArray[np.integer]) -> tuple[tuple[int, ...], bytes]:
    return codes.shape, np.ascontiguousarray(codes, dtype=np.int32).tobytes()
