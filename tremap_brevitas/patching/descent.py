"""Cyclic coordinate descent over reachable codes in NumPy, like ``prepare/compensation/descent.py``.

Both choose the same codes. That one works on all channels at once, a column at a time; this one on the few channels that a
fault hits, and it skips weights that do not change, so that only the necessary part of a large layer's moments is read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.moments import LayerMoments
from tremap_brevitas.patching.reachable import Reachable

Array = NDArray[np.float64]
BLOCK = 64


class Descended(NamedTuple):
    """Result of the descent.

    Attributes:
        codes: Reachable codes, (rows, columns).
        nearest: Mean squared error of each row's output with the nearest codes, (rows,).
        error: The same with the codes chosen; never more.
    """

    codes: Array
    nearest: Array
    error: Array


def descend(
    wanted: Array, reachable: Reachable, scale: Array, moments: LayerMoments, group: int, *, sweeps: int = 1
) -> Descended:
    """Choose the codes of some channels, one column after another, to minimize the error of their outputs.

    Args:
        wanted: The codes to approximate, (rows, columns).
        reachable: Which codes can be read back.
        scale: Scale of the codes, (rows, 1) or (rows, columns).
        moments: Moments of the layer's inputs.
        group: Group of channels that the rows are in.
        sweeps: Passes over all columns, at least one.

    Raises:
        ValueError: If the moments are not all finite.
    """
    scale = np.broadcast_to(scale, wanted.shape)
    codes, error = reachable.nearest(wanted, 0), np.zeros(len(wanted))
    nearest = error
    for sweep in range(sweeps):
        errors = (codes - wanted) * scale
        gradient = moments.times(group, errors)
        error = np.einsum("rk,rk->r", errors, gradient)
        nearest = nearest if sweep else error
        error = error - _sweep(codes, gradient, reachable, scale, moments, group)
        if not np.isfinite(error).all():
            raise ValueError(f"layer {moments.name!r}: its second moments are not all finite")
    return Descended(codes, np.maximum(nearest, 0.0), np.maximum(error, 0.0))


def _sweep(codes: Array, gradient: Array, reachable: Reachable, scale: Array, moments: LayerMoments, group: int) -> Array:
    """Change codes and gradient in place; return by how much each row's error falls."""
    curvature, fall = moments.curvature[group], np.zeros(len(codes))
    columns = codes.shape[1]
    for begin in range(0, columns, BLOCK):
        end = min(begin + BLOCK, columns)
        bend = curvature[begin:end]
        # The weights of a dead input stay, since they make no difference.
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
            step = (new[:, first] - now[:, j]) * scale[:, begin + j]
            fall -= step * (2 * local[:, j] + step * bend[j])
            now[:, j], moved[:, j] = new[:, first], step
            local[:, j + 1 :] += step[:, None] * ahead[j, j + 1 : end - begin]
            j += 1
        if ahead is not None:
            # Earlier columns are not visited again in this sweep.
            gradient[:, end:] += moved @ ahead[:, end - begin :]
    return fall
