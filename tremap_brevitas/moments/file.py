"""Save the moments of a network as one file, of which only the parts needed are read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tremap_brevitas.archive import mapped_archive, write_archive
from tremap_brevitas.moments.layer import LayerMoments
from tremap_brevitas.printable import counted
from tremap_brevitas.reading import reading

KIND = "tremap input moments"
SCHEMA = 1
ARRAYS = ("second", "mean", "scale", "power")


@dataclass(frozen=True, eq=False, repr=False)
class InputMoments:
    """Second moments of the inputs of a network's layers.

    Attributes:
        layers: By name. Biases, embeddings and layers that were not called as modules are left out.
        image: Digest of the memory image whose codes the network computed with.
    """

    layers: Mapping[str, LayerMoments]
    image: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self.layers), self.image)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the moments to a file, atomically.

        A layer of ``n`` inputs takes ``2 n (n + 1)`` bytes for each group of channels. The arrays are not compressed: that
        would save a tenth at most, and arrays that are not compressed can be mapped, so that one layer of a large network is
        available at once.
        """
        arrays = {f"{name}_{i}": getattr(layer, name) for i, layer in enumerate(self.layers.values()) for name in ARRAYS}
        layers = [
            {"name": layer.name, "groups": layer.groups, "transposed": layer.transposed, "samples": layer.samples}
            for layer in self.layers.values()
        ]
        header = {"image": self.image, "layers": layers}
        return write_archive(path, kind=KIND, schema=SCHEMA, header=header, arrays=arrays, compress=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> InputMoments:
        """Read moments that [save][tremap_brevitas.moments.InputMoments.save] wrote; the arrays are memory-mapped.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds something else, is damaged or has a newer schema. Damage inside an array shows only in the
                digest that a bundle keeps.
        """
        header, arrays = mapped_archive(path, kind=KIND, schema=SCHEMA)
        with reading(path, f"a {KIND} file"):
            layers = {}
            for i, about in enumerate(header["layers"]):
                groups, transposed, samples = about["groups"], about["transposed"], about["samples"]
                if type(groups) is not int or groups < 1 or type(transposed) is not bool or type(samples) is not int:
                    raise ValueError(f"layer {about['name']!r}: {groups} groups, transposed {transposed}, {samples} samples")
                for name in ARRAYS:
                    expected = np.float32 if name in ("second", "mean") else np.float64
                    if arrays[f"{name}_{i}"].dtype != expected:
                        raise ValueError(f"layer {about['name']!r}: {name} is of {arrays[f'{name}_{i}'].dtype}")
                parts = [arrays[f"{name}_{i}"] for name in ARRAYS]
                layers[str(about["name"])] = LayerMoments(str(about["name"]), groups, transposed, samples, *parts)
            if len(layers) != len(header["layers"]) or len(arrays) != len(ARRAYS) * len(layers):
                raise ValueError(f"{len(header['layers'])} layers, {len(layers)} names, {len(arrays)} arrays")
            return cls(layers, str(header["image"]))

    def __repr__(self) -> str:
        size = sum(layer.second.nbytes for layer in self.layers.values())
        return f"InputMoments({counted(len(self.layers), 'layer')}, {size / 1e6:.1f} MB)"
