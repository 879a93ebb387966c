"""One image, written under the faults of a group and read by one member after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tremap_brevitas.codes import MAX_TABLE_BIT_WIDTH, Encoding, code_table
from tremap_brevitas.core import stuck_at
from tremap_brevitas.placement import LayerSites, PlacedLayer
from tremap_brevitas.proxy.weight_faults import (
    Gradient,
    Store,
    WeightFaults,
    as_tensor,
    flat_table,
    frozen_weights,
    stuck_patterns,
)

Located = Sequence[tuple[LayerSites, NDArray[np.uint8]]]


def image_reads(
    group: Located, members: Mapping[str, Located], *, store: Store, gradient: Gradient = "identity"
) -> list[dict[str, WeightFaults]]:
    """What each member of a group reads of one image that is written for all of them.

    The code of a weight first becomes what is stored for the group, then what the member makes of it. Both steps together
    are one more row in the table of stuck patterns, so that a forward pass costs what it costs with one map. All layers of a
    bit width and encoding, and all members, share one table.

    Args:
        group: The stuck bits of each layer under which the image is written, with the value of each.
        members: The stuck bits of each member, by its name.
        store: Rule by which the image's codes are chosen.
        gradient: Which weights get no gradient; the group's faults decide.

    Returns:
        For each member the faults of every layer that has some, by the layer's name.

    Raises:
        ValueError: If a layer has codes of more than 8 bits.
    """
    tables: dict[tuple[int, Encoding], _Rows] = {}
    for sites, stuck in group:
        if len(stuck) and sites.layer.bit_width > MAX_TABLE_BIT_WIDTH:
            raise ValueError(
                f"layer {sites.layer.name!r}: codes of {sites.layer.bit_width} bits, but an image read by every member in turn "
                f"needs a table, and those go up to {MAX_TABLE_BIT_WIDTH}"
            )
    written = {sites.layer.name: (sites.layer, stuck_patterns(sites, stuck), sites) for sites, stuck in group if len(stuck)}
    found: list[list[tuple[PlacedLayer, NDArray[np.int32]]]] = []
    for member in members.values():
        patterns = {name: (layer, stored.astype(np.int32)) for name, (layer, stored, _) in written.items()}
        for sites, stuck in member:
            if not len(stuck):
                continue
            layer = sites.layer
            _, stored = patterns.get(layer.name, (layer, np.ones(layer.size, dtype=np.int32)))
            key = (layer.bit_width, layer.encoding)
            if key not in tables:
                tables[key] = _Rows(*key, store)
            patterns[layer.name] = (layer, tables[key].combined(stored, stuck_patterns(sites, stuck)))
        found.append(list(patterns.values()))
    made = {key: rows.table() for key, rows in tables.items()}
    frozen = {name: frozen_weights(sites, gradient) for name, (_, _, sites) in written.items()}
    return [
        {
            layer.name: WeightFaults(
                layer,
                store,
                stuck_at.TABLE,
                (as_tensor(patterns, layer),),
                (made.get((layer.bit_width, layer.encoding), flat_table(layer.bit_width, layer.encoding, store)),),
                frozen.get(layer.name),
                read_by=chip,
            )
            for layer, patterns in member
        }
        for chip, member in zip(members, found, strict=True)
    ]


class _Rows:
    """Rows below those of the plain table: one for each pair of a stored pattern and one under which it is misread."""

    def __init__(self, bit_width: int, encoding: Encoding, store: Store) -> None:
        self._flat = flat_table(bit_width, encoding, store)
        self._stored = code_table(bit_width=bit_width, encoding=encoding, nearest=store == "nearest")
        self._plain = code_table(bit_width=bit_width, encoding=encoding, nearest=False)
        self._lowest = 0 if encoding == "binary" else -(1 << (bit_width - 1))
        self._pairs: dict[tuple[int, int], int] = {}  # to the number plus one; that of the stored pattern if nothing is misread
        self._rows: list[NDArray[np.integer[Any]]] = []

    def combined(self, stored: NDArray[np.int32], own: NDArray[np.int16]) -> NDArray[np.int32]:
        """Patterns (plus one) of weights that are stored under one map and read under another."""
        patterns = len(self._stored) + 1
        pairs, at = np.unique(stored.astype(np.int64) * patterns + own, return_inverse=True)
        return np.array([self._number(*divmod(int(pair), patterns)) for pair in pairs], dtype=np.int32)[at]

    def table(self) -> Tensor:
        """The flat table with a row for every pair."""
        return torch.cat([self._flat, *(torch.from_numpy(row) for row in self._rows)])

    def _number(self, stored: int, own: int) -> int:
        if (stored, own) not in self._pairs:
            written = self._stored[stored - 1]
            read = self._plain[own - 1][written.astype(np.int64) - self._lowest]
            number = stored
            if not np.array_equal(read, written):
                number = len(self._stored) + 1 + len(self._rows)
                self._rows.append(read)
            self._pairs[stored, own] = number
        return self._pairs[stored, own]
