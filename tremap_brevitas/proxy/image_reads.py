"""One memory image, written under a group's faults and read by each member in turn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tremap_brevitas.codes import MAX_TABLE_BIT_WIDTH, Encoding, code_table
from tremap_brevitas.core import stuck_at
from tremap_brevitas.placement import LayerSites, PlacedLayer
from tremap_brevitas.proxy.guards import plain_tensors
from tremap_brevitas.proxy.weight_faults import (
    Gradient,
    Store,
    WeightFaults,
    as_tensor,
    flat_table,
    frozen_weights,
    stuck_patterns,
)

Located = Iterable[tuple[LayerSites, NDArray[np.uint8]]]
Patch = tuple[NDArray[np.int64], NDArray[np.int32]]


class ImageReads:
    """The values that each member of a group reads from one image written for all of them.

    The code of a weight is first replaced by the one stored for the group, and that one by what the member reads. Both steps
    together are one more row in the table of stuck patterns, so that a forward pass costs as much as with one map. Only the
    weights that a member reads differently are kept for it.

    Args:
        group: The stuck bits of each layer under which the image is written, with the value of each.
        members: The stuck bits of each member, likewise, each with the member's name.
        store: Rule by which the image's codes are chosen.
        gradient: Which weights get no gradient; the group's faults decide.

    Raises:
        ValueError: If a layer has codes of more than 8 bits.
    """

    def __init__(
        self, group: Located, members: Iterable[tuple[str, Located]], *, store: Store, gradient: Gradient = "identity"
    ) -> None:
        self._store = store
        self._layers: dict[str, _Layer] = {}
        self._rows: dict[tuple[int, Encoding], _Rows] = {}
        for sites, stuck in group:
            self._layers[sites.layer.name] = _Layer(
                sites.layer, stuck_patterns(sites, stuck), frozen_weights(sites, gradient), self._rows_of(sites.layer)
            )
        self._members = [(name, dict(self._patches(located))) for name, located in members]
        self._tables = {key: rows.table() for key, rows in self._rows.items()}

    def faults_of(self, member: int) -> dict[str, WeightFaults]:
        """Return the faults of every layer as this member reads it, by layer name."""
        chip, patches = self._members[member]
        faults = {}
        for name, (layer, stored, frozen, rows) in self._layers.items():
            patterns = stored.astype(rows.dtype)
            if name in patches:
                weights, numbers = patches[name]
                patterns[weights] = numbers
            tensors, shared = (as_tensor(patterns, layer),), (self._tables[layer.bit_width, layer.encoding],)
            faults[name] = WeightFaults(
                layer, self._store, stuck_at.TABLE, tensors, shared, frozen, read_by=chip, written=stored
            )
        return faults

    def __len__(self) -> int:
        return len(self._members)

    def _rows_of(self, layer: PlacedLayer) -> _Rows:
        if layer.bit_width > MAX_TABLE_BIT_WIDTH:
            raise ValueError(
                f"layer {layer.name!r}: codes of {layer.bit_width} bits, but an image read by every member in turn needs a "
                f"table, which is limited to {MAX_TABLE_BIT_WIDTH} bits"
            )
        key = (layer.bit_width, layer.encoding)
        if key not in self._rows:
            self._rows[key] = _Rows(*key, self._store)
        return self._rows[key]

    def _patches(self, member: Located) -> Iterable[tuple[str, Patch]]:
        """Yield, for each layer, the weights that a member misreads and the stuck pattern of each."""
        for sites, stuck in member:
            layer = self._layers.get(sites.layer.name)
            if layer is None:  # all its stuck cells are conflicts that were left free
                healthy = np.ones(sites.layer.size, dtype=np.int16)
                layer = self._layers[sites.layer.name] = _Layer(sites.layer, healthy, None, self._rows_of(sites.layer))
            weights = np.unique(sites.weight)
            stored = layer.stored[weights]
            numbers = layer.rows.combined(stored, stuck_patterns(sites, stuck)[weights])
            changed = numbers != stored
            yield sites.layer.name, (weights[changed], numbers[changed])


class _Layer(NamedTuple):
    """A layer, the stuck pattern (plus one) under which each weight is stored, and data shared by the members."""

    layer: PlacedLayer
    stored: NDArray[np.int16]
    frozen: Tensor | None
    rows: _Rows


class _Rows:
    """Extra table rows, one for each pair of the pattern a code is stored under and the pattern it is misread under."""

    def __init__(self, bit_width: int, encoding: Encoding, store: Store) -> None:
        self._flat = flat_table(bit_width, encoding, store)
        self._stored = code_table(bit_width=bit_width, encoding=encoding, nearest=store == "nearest")
        self._plain = code_table(bit_width=bit_width, encoding=encoding, nearest=False)
        self._lowest = 0 if encoding == "binary" else -(1 << (bit_width - 1))
        self._pairs: dict[tuple[int, int], int] = {}
        self._rows: list[NDArray[np.integer[Any]]] = []

    @property
    def dtype(self) -> type[np.integer[Any]]:
        """Smallest type that holds the number of every row, plus one."""
        return np.int16 if len(self._stored) + len(self._rows) < np.iinfo(np.int16).max else np.int32

    def combined(self, stored: NDArray[np.int16], own: NDArray[np.int16]) -> NDArray[np.int32]:
        """Return the patterns (plus one) of weights that are stored under one map and read under another."""
        patterns = len(self._stored) + 1
        pairs, at = np.unique(stored.astype(np.int64) * patterns + own, return_inverse=True)
        return np.array([self._number(*divmod(int(pair), patterns)) for pair in pairs], dtype=np.int32)[at]

    @plain_tensors()
    def table(self) -> Tensor:
        """Return the flat table with a row for every pair."""
        return torch.cat([self._flat, *(torch.from_numpy(row) for row in self._rows)])

    def _number(self, stored: int, own: int) -> int:
        """Return the number (plus one) of a pair's row; without a misread it is the stored pattern's own."""
        if (stored, own) not in self._pairs:
            written = self._stored[stored - 1]
            read = self._plain[own - 1][written.astype(np.int64) - self._lowest]
            number = stored
            if not np.array_equal(read, written):
                self._rows.append(read)
                number = len(self._stored) + len(self._rows)
            self._pairs[stored, own] = number
        return self._pairs[stored, own]
