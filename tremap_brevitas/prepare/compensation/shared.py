"""Moments of a healthy network's inputs, computed once and shared by all chips of a fleet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from tremap_brevitas.placed.identity import network_digest
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.slots import matching_slots
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.prepare.compensation.absorb import trace_successors
from tremap_brevitas.prepare.compensation.lockstep import first_argument
from tremap_brevitas.prepare.compensation.moments import Sums, has_rows


@dataclass(frozen=True, eq=False)
class HealthyInputs:
    """Statistics of one layer's inputs in a healthy network.

    Args:
        second: Second moments of the rows of inputs, (groups, inputs, inputs), float64.
        mean: Mean of the rows, (groups, inputs), float64.
        norm: Name of the BatchNorm that alone gets the layer's output; empty if there is none.
    """

    second: NDArray[np.float64]
    mean: NDArray[np.float64]
    norm: str = ""

    def __post_init__(self) -> None:
        for name in ("second", "mean"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        groups, inputs = self.mean.shape
        if self.second.shape != (groups, inputs, inputs):
            raise ValueError(f"second has shape {self.second.shape}, but mean has {self.mean.shape}")
        if not (np.isfinite(self.second).all() and np.isfinite(self.mean).all()):
            raise ValueError("moments are not all finite")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HealthyInputs):
            return NotImplemented
        same = np.array_equal(self.second, other.second) and np.array_equal(self.mean, other.mean)
        return same and self.norm == other.norm

    def __reduce__(self) -> tuple[Any, ...]:
        return HealthyInputs, (self.second, self.mean, self.norm)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class HealthyMoments:
    """Moments of the inputs of a healthy network's layers; made by ``PlacedModel.moments``.

    Args:
        layers: By name, in order of execution; layers without rows of inputs, such as embeddings, are not in it.
        images: Number of inputs that they were measured on.
        network: Digest of the network that they belong to; they are refused for others.
    """

    layers: Mapping[str, HealthyInputs]
    images: int
    network: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    @property
    def digest(self) -> str:
        """SHA-256 over the whole content, as 64 hexadecimal digits."""
        sha = hashlib.sha256(repr((self.images, self.network)).encode())
        for name, layer in self.layers.items():
            sha.update(repr((name, layer.norm, layer.mean.shape)).encode() + layer.second.tobytes() + layer.mean.tobytes())
        return sha.hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return HealthyMoments, (dict(self.layers), self.images, self.network)

    __hash__ = None  # type: ignore[assignment]


def first_of(batch: Any) -> Any:
    """Return the inputs of a batch: the batch itself, or the first item of a tuple or list."""
    return batch[0] if isinstance(batch, (tuple, list)) else batch


@torch.no_grad()
def moments_of_network(
    net: PlacedState,
    batches: Iterable[Any],
    *,
    samples: int,
    forward: Callable[[nn.Module, Any], Any] | None,
    progress: bool,
) -> HealthyMoments:
    """Compute moments of a network's inputs in a healthy memory; see ``PlacedModel.moments``."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    inputs = [first_of(b) for b in batches]
    images = sum(len(x) for x in inputs)
    if not images:
        raise ValueError("no inputs were given; a few hundred are needed")
    run = forward or (lambda model, batch: model(batch))
    slots = {n: e for n, e in matching_slots(net.model, net.placement).items() if not e.is_bias}
    sums: dict[str, Sums] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def add(module: nn.Module, args: Any, kwargs: Any) -> None:
            total = sums.setdefault(name, Sums(samples=max(1, samples // len(inputs))))
            total.add(module, quantized_input(module, first_argument(args, kwargs)), None)

        return add

    handles = []
    with net.using(None), evaluation_mode(net.model):
        trace = trace_successors(net.model, lambda: run(net.model, inputs[0][:1]), list(slots))
        try:
            for name, entry in slots.items():
                if has_rows(entry.module):
                    handles.append(entry.module.register_forward_pre_hook(hook(name), with_kwargs=True))
            for x in tqdm(inputs, desc="moments", unit="batch", leave=False, disable=not progress):
                run(net.model, x)
        finally:
            for handle in handles:
                handle.remove()
    layers = {}
    for name, total in sums.items():
        second, _, mean, _ = total.means()
        if not bool(second.isfinite().all()):
            raise ValueError(f"layer {name!r}: its inputs are not all finite")
        layers[name] = HealthyInputs(second.cpu().numpy(), mean.cpu().numpy(), trace.absorbers.get(name, ""))
    return HealthyMoments(layers, images, network_digest(net.model))


def quantized_input(module: Any, x: Any) -> Any:
    """Return a layer's input as the layer uses it: quantized, if the layer has an input quantizer."""
    x = getattr(x, "value", x) if not module.input_quant.is_quant_enabled else module.input_quant(x)
    return getattr(x, "value", x)
