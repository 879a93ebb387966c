"""The faults of one weight, as tensors ready for the forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tremap_brevitas.codes import MAX_TABLE_BIT_WIDTH, Encoding, code_table
from tremap_brevitas.core import stuck_at
from tremap_brevitas.placement import LayerSites, PlacedLayer
from tremap_brevitas.proxy.guards import plain_tensors

Store = Literal["plain", "nearest"]
Gradient = Literal["identity", "zero_fully_stuck"]


class WeightCodes(NamedTuple):
    """The integers of one weight, int32 in its shape.

    Attributes:
        wanted: Codes that the quantizer makes of the float weight.
        stored: Codes that are written to the memory: ``wanted``, or under ``store="nearest"`` the nearest reachable.
        read_back: Codes that are read back from the memory; the network computes with these.
    """

    wanted: NDArray[np.int32]
    stored: NDArray[np.int32]
    read_back: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class WeightFaults:
    """The faults of one weight in its proxy: a mode of [StuckAt][tremap_brevitas.core.StuckAt] and its tensors.

    Args:
        layer: Placement of the weight.
        store: Rule by which codes are stored.
        mode: Mode of StuckAt.
        elementwise: Tensors in the shape of the weight.
        shared: Tensors that all layers share.
        frozen: Weights that get no gradient, as a mask in the shape of the weight; None for none.
        formula: Parameters of the ``FORMULA`` mode.
        read_by: Chip that reads a group's image with these faults; None if the image is made under them.
        written: With ``read_by``: flat stuck pattern plus one of every weight under which the image is made.
        origin: The record that came with them when they were set; faults set by anything else have another.
    """

    layer: PlacedLayer
    store: Store
    mode: int
    elementwise: tuple[Tensor, ...]
    shared: tuple[Tensor, ...] = ()
    frozen: Tensor | None = None
    formula: str = ""
    read_by: str | None = None
    written: NDArray[np.int16] | None = None
    origin: object = None

    def stored(self, wanted: NDArray[np.int32], read: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the codes written to the memory, from the wanted and the read-back ones, in the shape of the weight."""
        if self.store == "plain":
            return wanted
        if self.written is None:
            return read
        table = flat_table(self.layer.bit_width, self.layer.encoding, self.store).numpy()
        index = wanted.reshape(-1) + self.written.astype(np.int64) * self.columns
        return table[index].astype(np.int32).reshape(wanted.shape)

    @property
    def columns(self) -> int:
        """Number of codes, which is the width of a table row."""
        return 1 << self.layer.bit_width

    def laid_out_like(self, weight: Tensor) -> WeightFaults:
        """Return the same faults on the device and with the strides of ``weight``."""
        mine = self.elementwise[0]
        if mine.shape != weight.shape:
            raise ValueError(
                f"layer {self.layer.name!r}: its weight has shape {tuple(weight.shape)} now, but its faults were placed for "
                f"{tuple(mine.shape)}; place the model again and set the faults anew"
            )
        if mine.device == weight.device and mine.stride() == weight.stride():
            return self
        return replace(
            self,
            elementwise=tuple(_like(tensor, weight) for tensor in self.elementwise),
            shared=tuple(_on_device(tensor, weight.device) for tensor in self.shared),
            frozen=None if self.frozen is None else _like(self.frozen, weight),
        )

    def viewed(self, view: Callable[[Tensor], Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the tensors and the frozen mask for StuckAt, each passed through ``view``.

        A view may pad with zeros: masks are neutral there, and a padded pattern becomes the healthy one.
        """
        tensors = [view(tensor) for tensor in self.elementwise]
        if self.mode == stuck_at.TABLE and tensors[0].numel() != self.elementwise[0].numel():
            tensors[0] = tensors[0].clamp(min=1)
        frozen = [] if self.frozen is None else [view(self.frozen)]
        return [*tensors, *self.shared], frozen


def weight_faults(
    sites: LayerSites, stuck: NDArray[np.uint8], *, store: Store, gradient: Gradient = "identity"
) -> WeightFaults:
    """Turn the stuck bits of one layer into tensors, in time and memory linear in the weights and bits.

    Args:
        sites: The stuck bits of the layer.
        stuck: The value, 0 or 1, at which each is stuck.
        store: ``"plain"``: the quantized code is written as it is. ``"nearest"``: the code whose read-back is nearest.
        gradient: ``"identity"``: straight through everywhere. ``"zero_fully_stuck"``: none for weights all of whose bits
            are stuck.
    """
    layer = sites.layer
    width, encoding = layer.bit_width, layer.encoding
    frozen = frozen_weights(sites, gradient)
    # Each bit of a weight is stuck at most once, so adding is OR-ing, and faster.
    if width <= MAX_TABLE_BIT_WIDTH and (store == "nearest" or encoding == "sign_magnitude"):
        tensors = (as_tensor(stuck_patterns(sites, stuck), layer),)
        return WeightFaults(layer, store, stuck_at.TABLE, tensors, (flat_table(width, encoding, store),), frozen)
    if store == "nearest" or encoding == "sign_magnitude":
        sa0, sa1 = np.zeros((2, layer.size), dtype=np.int32)
        bits = np.left_shift(np.int32(1), sites.bit.astype(np.int32))
        np.add.at(sa0, sites.weight[stuck == 0], bits[stuck == 0])
        np.add.at(sa1, sites.weight[stuck == 1], bits[stuck == 1])
        formula = f"{store} {encoding} {width}"
        masks = (as_tensor(sa0, layer), as_tensor(sa1, layer))
        return WeightFaults(layer, store, stuck_at.FORMULA, masks, (), frozen, formula)
    dtype = _mask_dtype(layer)
    values = 1 << np.arange(width, dtype=np.int64)
    if layer.signed:
        values[-1] = -values[-1]  # the sign bit together with all its copies above
    zero = stuck == 0
    if encoding == "offset_binary":  # two's complement with the MSB inverted
        zero = zero ^ (sites.bit == width - 1)
    contribution = values.astype(dtype)[sites.bit]
    any_stuck, zeros = np.zeros((2, layer.size), dtype=dtype)
    np.add.at(any_stuck, sites.weight, contribution)
    np.add.at(zeros, sites.weight, contribution * zero)
    masks = (as_tensor(any_stuck, layer), as_tensor(zeros, layer))
    return WeightFaults(layer, store, stuck_at.MASKS, masks, (), frozen)


def frozen_weights(sites: LayerSites, gradient: Gradient) -> Tensor | None:
    """Return a mask of the weights that get no gradient, in the shape of the weight; None if all get one."""
    if gradient == "identity":
        return None
    count = np.zeros(sites.layer.size, dtype=np.uint8)
    np.add.at(count, sites.weight, np.uint8(1))
    full = count == sites.layer.bit_width
    return as_tensor(full, sites.layer) if full.any() else None


def stuck_patterns(sites: LayerSites, stuck: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the stuck pattern plus one of every weight, flat: see [code_table][tremap_brevitas.codes.code_table]."""
    digits = (3 ** np.arange(sites.layer.bit_width, dtype=np.int16)).astype(np.int16)
    patterns = np.ones(sites.layer.size, dtype=np.int16)
    np.add.at(patterns, sites.weight, digits[sites.bit] * (1 + stuck.astype(np.int16)))
    return patterns


def fixed_codes(layer: PlacedLayer, codes: NDArray[Any]) -> WeightFaults:
    """Return a weight's codes as read from a memory, independent of the float weight."""
    return WeightFaults(layer, "plain", stuck_at.FIXED, (as_tensor(codes.astype(_mask_dtype(layer)), layer),))


def _mask_dtype(layer: PlacedLayer) -> type[np.integer[Any]]:
    if layer.bit_width <= 8:
        return np.int8 if layer.signed else np.uint8
    return np.int16 if layer.signed or layer.bit_width < 16 else np.int32


@plain_tensors()
def as_tensor(array: NDArray[Any], layer: PlacedLayer) -> Tensor:
    """Turn an array with one entry per weight into a tensor of the weight's shape."""
    return torch.from_numpy(array).reshape(layer.shape)


@lru_cache(maxsize=32)
@plain_tensors()
def flat_table(bit_width: int, encoding: Encoding, store: Store) -> Tensor:
    """Return the flat code table, shifted so that ``(pattern + 1) * columns + code`` is the index of an entry."""
    table = code_table(bit_width=bit_width, encoding=encoding, nearest=store == "nearest")
    lowest = 0 if encoding == "binary" else -(1 << (bit_width - 1))
    padding = np.zeros((1 << bit_width) + lowest, dtype=table.dtype)
    return torch.from_numpy(np.concatenate([padding, table.reshape(-1)]))


@lru_cache(maxsize=32)
@plain_tensors()
def _on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return one copy of a shared tensor for each device."""
    return tensor.to(device)


def _like(tensor: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(weight, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
