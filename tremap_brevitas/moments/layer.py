"""Second moments of one layer's inputs, stored as upper triangles."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
CHUNK = 256  # full rows of the moments that are held at once


@dataclass(frozen=True, eq=False, repr=False)
class LayerMoments:
    """Second moments of one layer's inputs, for its weight as matrices (groups, rows, columns).

    A row is an output channel of a group; a column is one of its inputs: for a convolution a channel of the group at a position
    of the kernel, in the weight's own order. A transposed convolution is treated as the ordinary one that computes the same.
    The error of an output whose weights are off by ``e`` is ``e' H e``, in the mean over the inputs.

    Args:
        name: Name of the layer.
        groups: Groups of its channels.
        transposed: Whether the weight is that of a transposed convolution, (inputs, outputs of a group, kernel).
        samples: Number of rows of inputs.
        second: Upper triangle of ``H``, row by row: float32, (groups, columns * (columns + 1) / 2); may be mapped from a file.
        mean: Mean of each input, (groups, columns).
        scale: Scale of the codes: float64, (groups, rows, 1), or (groups, rows, columns) where it differs along a row.
        power: Mean square of each output without its bias, for the codes that the moments belong to: (groups, rows).

    Raises:
        ValueError: If shapes do not match, or a number is not finite, a scale not positive or a square negative.

    Examples:
        Of two inputs the second is twice the first, always; the codes are 3 and 1 at a scale of one half.

        >>> moments = LayerMoments.of("fc", [[[1, 2], [2, 4]]], [[1, 2]], [[[3, 1]]], [[[0.5]]], samples=10)
        >>> moments.power.item(), moments.second.tolist()
        (6.25, [[1.0, 2.0, 4.0]])

        An error of one code in the first weight, and one that the second weight cancels:

        >>> moments.output_error([0], [1.0]), moments.output_error([0, 1], [2.0, -1.0])
        (0.2, 0.0)
    """

    name: str
    groups: int
    transposed: bool
    samples: int
    second: NDArray[np.float32]
    mean: NDArray[np.float32]
    scale: Array
    power: Array

    def __post_init__(self) -> None:
        rows, columns = np.shape(self.power)[-1], np.shape(self.mean)[-1]
        shapes = {
            "second": ((self.groups, columns * (columns + 1) // 2),),
            "mean": ((self.groups, columns),),
            "scale": ((self.groups, rows, 1), (self.groups, rows, columns)),
            "power": ((self.groups, rows),),
        }
        for name, allowed in shapes.items():
            array = np.asarray(getattr(self, name), dtype=np.float32 if name in ("second", "mean") else np.float64).view()
            if array.shape not in allowed:
                raise ValueError(f"layer {self.name!r}: {name} of shape {array.shape}, expected {allowed[0]}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if not (np.isfinite(self.mean).all() and np.isfinite(self.scale).all() and np.isfinite(self.power).all()):
            raise ValueError(f"layer {self.name!r}: means, scales and squares must be finite")
        if not ((self.scale > 0).all() and (self.power >= 0).all() and (self.curvature >= 0).all()):
            raise ValueError(f"layer {self.name!r}: scales must be positive, and no mean square may be negative")

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, so that the arrays are read-only again, and no copy maps a file.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @classmethod
    def of(
        cls,
        name: str,
        second: ArrayLike,
        mean: ArrayLike,
        codes: ArrayLike,
        scale: ArrayLike,
        *,
        samples: int,
        groups: int = 1,
        transposed: bool = False,
    ) -> LayerMoments:
        """Create moments from full matrices.

        Args:
            name: Name of the layer.
            second: Second moments, (groups, columns, columns).
            mean: Means, (groups, columns).
            codes: Codes less their zero points, as matrices.
            scale: Scale of each, in a shape that broadcasts to theirs.
            samples: Number of rows of inputs.
            groups: Groups of channels.
            transposed: Whether the layer is a transposed convolution.
        """
        full, values = np.asarray(second), np.asarray(codes, dtype=np.float64)
        scales: Array = np.broadcast_to(np.asarray(scale, dtype=np.float64), values.shape)
        if (scales == scales[..., :1]).all():
            scales = scales[..., :1]
        weights = values * scales
        packed = np.stack([np.concatenate([matrix[i, i:] for i in range(len(matrix))]).astype(np.float32) for matrix in full])
        power = np.maximum(np.einsum("grk,grk->gr", weights @ full, weights), 0.0)
        return cls(name, groups, transposed, samples, packed, np.asarray(mean, dtype=np.float32), scales.copy(), power)

    @property
    def columns(self) -> int:
        """Number of inputs of one output."""
        return int(self.mean.shape[1])

    @property
    def rows(self) -> int:
        """Number of output channels of a group."""
        return int(self.power.shape[1])

    @cached_property
    def _start(self) -> NDArray[np.int64]:
        """Index at which each row of the triangle begins."""
        index = np.arange(self.columns, dtype=np.int64)
        return index * self.columns - index * (index - 1) // 2

    @cached_property
    def curvature(self) -> Array:
        """Mean square of each input, (groups, columns), which is the diagonal."""
        diagonal = self.second[:, self._start].astype(np.float64)
        if not np.isfinite(diagonal).all():
            raise ValueError(f"layer {self.name!r}: its second moments are not all finite")
        return diagonal

    def ahead(self, group: int, begin: int, end: int) -> Array:
        """Return rows ``begin`` to ``end`` of the upper triangle, from column ``begin`` on; 0 below the diagonal."""
        packed, columns = self.second[group], self.columns
        triangle = np.zeros((end - begin, columns - begin))
        for i, first in enumerate(self._start[begin:end].tolist()):
            triangle[i, i:] = packed[first : first + columns - begin - i]
        return triangle

    def whole(self, group: int, columns: NDArray[np.int64]) -> Array:
        """Return full rows of the moments, (len(columns), columns)."""
        packed, start, size = self.second[group], self._start, self.columns
        index = np.arange(size)
        rows = np.empty((len(columns), size))
        for i, column in enumerate(columns.tolist()):
            rows[i, :column] = packed[start[:column] + column - index[:column]]
            rows[i, column:] = packed[start[column] : start[column] + size - column]
        return rows

    def times(self, group: int, errors: Array) -> Array:
        """Compute ``errors @ H`` for errors of weights, (rows, columns)."""
        wrong = np.flatnonzero(errors.any(axis=0))
        product = np.zeros(errors.shape)
        for begin in range(0, len(wrong), CHUNK):
            some = wrong[begin : begin + CHUNK]
            product += errors[:, some] @ self.whole(group, some)
        return product

    def squared(self, group: int, errors: Array) -> Array:
        """Compute the mean squared error of each output, (rows,), from errors of its weights, (rows, columns)."""
        return np.maximum(np.einsum("rk,rk->r", self.times(group, errors), errors), 0.0)

    def matrices(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Return an array in the shape of the weight as (groups, rows, columns)."""
        if not self.transposed:
            return weight.reshape(self.groups, self.rows, self.columns)
        parts = weight.reshape(self.groups, weight.shape[0] // self.groups, *weight.shape[1:])
        kernel = tuple(range(3, parts.ndim))  # a transposed convolution uses the kernel in reverse
        return np.flip(parts, kernel).swapaxes(1, 2).reshape(self.groups, self.rows, self.columns)

    def places(self, weight: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return output channel (counted through all groups) and column of weights given by their flat index.

        Raises:
            ValueError: If a weight of that shape does not match the moments.
        """
        self.check(shape)
        if self.transposed:
            flat = self.matrices(np.arange(int(np.prod(shape))).reshape(shape)).reshape(-1)
            place = np.empty_like(flat)
            place[flat] = np.arange(len(flat))
            weight = place[weight]
        row, column = np.divmod(weight, self.columns)
        return row, column

    def weights(self, rows: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the flat indices of the weights of some output channels, (len(rows), columns)."""
        if not self.transposed:
            return rows[:, None] * self.columns + np.arange(self.columns)
        return self.matrices(np.arange(int(np.prod(shape))).reshape(shape)).reshape(-1, self.columns)[rows]

    def check(self, shape: tuple[int, ...]) -> None:
        """Check that a weight has the shape that the moments are for.

        Raises:
            ValueError: If it does not.
        """
        kernel = int(np.prod(shape[2:]))
        inside = shape[0] // self.groups if self.transposed else shape[1] if len(shape) > 1 else 0
        outside = self.groups * shape[1] if self.transposed else shape[0]
        if (outside, inside * kernel) != (self.groups * self.rows, self.columns):
            raise ValueError(
                f"layer {self.name!r}: moments for {self.groups * self.rows} outputs of {self.columns} inputs, but its weight "
                f"has shape {shape}"
            )

    def output_error(self, weight: ArrayLike, errors: ArrayLike, *, shape: tuple[int, ...] | None = None) -> float:
        """Return the root mean square error of the layer's output for wrong codes, relative to the output.

        Args:
            weight: Flat, row-major indices of the weights.
            errors: Errors of the codes.
            shape: Shape of the weight; None for (groups * rows, columns).
        """
        index, off = np.asarray(weight, dtype=np.int64), np.asarray(errors, dtype=np.float64)
        shape = (self.groups * self.rows, self.columns) if shape is None else shape
        total = self.power.sum()
        if not len(index) or not total:
            return 0.0
        row, column = self.places(index, shape)
        group, inner = np.divmod(row, self.rows)
        off = off * self.scale[group, inner, column if self.scale.shape[2] > 1 else 0]
        return float(np.sqrt(max(self._squares(row, column, off), 0.0) / total))

    def _squares(self, row: NDArray[np.int64], column: NDArray[np.int64], off: Array) -> float:
        """Compute the sum of ``e' H e`` over the channels."""
        hit, inverse, counts = np.unique(row, return_inverse=True, return_counts=True)
        if np.square(counts).sum() <= 64 * self.columns:  # few errors: pair by pair, through the triangle
            order = np.argsort(inverse, kind="stable")
            first = np.repeat(np.cumsum(counts) - counts, counts)
            size = np.repeat(counts, counts)
            one = np.repeat(order, size)
            step = np.arange(len(one)) - np.repeat(np.cumsum(size) - size, size)
            other = order[np.repeat(first, size) + step]
            low, high = np.minimum(column[one], column[other]), np.maximum(column[one], column[other])
            moments = self.second[row[one] // self.rows, self._start[low] + high - low]
            return float((off[one] * off[other] * moments).sum())
        total = 0.0
        for group in np.unique(hit // self.rows).tolist():
            inside = row // self.rows == group
            errors = np.zeros((self.rows, self.columns))
            errors[row[inside] % self.rows, column[inside]] = off[inside]
            total += float(self.squared(group, errors[errors.any(axis=1)]).sum())
        return total

    def __repr__(self) -> str:
        return f"LayerMoments({self.name!r}, {self.groups} × {self.columns} inputs, {self.samples} samples)"
