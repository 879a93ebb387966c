"""Cyclic coordinate descent over reachable codes, from moments alone: NumPy's twin of ``prepare/compensation/descent.py``.

The two give the same codes. That one works on all channels at once, a column at a time; this one on the few channels that a
fault hits, and passes over what does not move, so that of a large layer's moments only what is needed is read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.moments import LayerMoments
from tremap_brevitas.patching.reachable import Reachable

Array = NDArray[np.float64]
BLOCK = 64


def descend(wanted: Array, reachable: Reachable, scale: Array, moments: LayerMoments, group: int, *, sweeps: int = 1) -> Array:
    """Choose codes of some channels, one column after the other, so that their outputs are least wrong.

    Args:
        wanted: The codes that would be right, (rows, columns).
        reachable: Which codes can be read back.
        scale: Scale of the codes, (rows, 1) or (rows, columns).
        moments: Moments of the layer's inputs.
        group: Group of channels that the rows are in.
        sweeps: Passes over all columns.

    Returns:
        Reachable codes, whose error is never above that of the nearest ones.

    Raises:
        ValueError: If the moments are not all finite.
    """
    codes = reachable.nearest(wanted, 0)
    for _ in range(sweeps):
        _sweep(codes, wanted, reachable, np.broadcast_to(scale, wanted.shape), moments, group)
    return codes


def _sweep(codes: Array, wanted: Array, reachable: Reachable, scale: Array, moments: LayerMoments, group: int) -> None:
    gradient = moments.times(group, (codes - wanted) * scale)
    curvature = moments.curvature[group]
    columns = codes.shape[1]
    for begin in range(0, columns, BLOCK):
        end = min(begin + BLOCK, columns)
        bend = curvature[begin:end]
        # A dead input's weights stay: what they are makes no difference.
        inverse = np.divide(1.0, bend, out=np.zeros_like(bend), where=bend > 0) / scale[:, begin:end]
        local, now = gradient[:, begin:end], codes[:, begin:end]
        ahead, moved, j = None, np.zeros_like(local), 0
        while j < end - begin:
            new = reachable.nearest(now[:, j:] - local[:, j:] * inverse[:, j:], begin + j)
            moves = (new != now[:, j:]).any(axis=0)
            first = int(moves.argmax())
            if not moves[first]:
                break
            if ahead is None:
                ahead = moments.ahead(group, begin, end)
            j += first
            moved[:, j] = (new[:, first] - now[:, j]) * scale[:, begin + j]
            now[:, j] = new[:, first]
            local[:, j + 1 :] += moved[:, j, None] * ahead[j, j + 1 : end - begin]
            j += 1
        if ahead is not None:
            # What lies behind is not looked at again in this sweep.
            gradient[:, end:] += moved @ ahead[:, end - begin :]
    if not np.isfinite(gradient).all():
        raise ValueError(f"layer {moments.name!r}: its second moments are not all finite")
