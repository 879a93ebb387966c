"""Range of each layer's accumulator values on the chips of a fleet. Needs only onnx and NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from tremap_brevitas.bundle.read import Bundle
from tremap_brevitas.onnx_files.layer_inputs import LayerInput, layer_inputs
from tremap_brevitas.onnx_files.weights import load_onnx
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.certificate import Certificate

Range = tuple[int, int]


def accumulator_ranges(
    model: ModelProto, initializers: Mapping[str, str], image: MemoryImage, certificates: Iterable[Certificate] = ()
) -> dict[str, Range]:
    """Compute the lowest and highest sum that a layer's outputs can reach on given chips, for any inputs.

    By qonnx' rule (``calculate_matvec_accumulator_range``), which FINN sizes its accumulators with: each weight meets the
    input's lowest or highest integer, whichever is worse; the extremes of all outputs together. FINN does so for the trained
    codes alone; a chip that reads others can reach further.

    Args:
        model: The QONNX graph, whose ``Quant`` nodes say which integers a layer's input can be.
        initializers: For each layer, the initializer that holds its weight.
        image: The codes that the network was trained with.
        certificates: Certificates of the chips; with none, only the trained codes count.

    Returns:
        ``(lowest, highest)`` by layer. Biases, and layers whose input is not quantized or has a zero point, are left out.

    Examples:
        >>> accumulator_type((-40, 200)), accumulator_type((0, 255)), accumulator_type((-129, 0))
        ('INT9', 'UINT8', 'INT9')
    """
    inputs = layer_inputs(model, initializers)
    sums = {
        name: _Sums(codes, layer_input)
        for name, codes in image.codes.items()
        if codes.ndim > 1 and (layer_input := inputs.get(name)) is not None and layer_input.integers is not None
    }
    ranges = {name: layer.range() for name, layer in sums.items()}
    for proof in certificates:
        for difference in proof.differences:
            if difference.layer in sums:
                low, high = ranges[difference.layer]
                lowest, highest = sums[difference.layer].range(difference.weight, difference.trained, difference.read)
                ranges[difference.layer] = min(low, lowest), max(high, highest)
    return ranges


def beyond_accumulators(bundle: Bundle, proof: Certificate) -> dict[str, tuple[Range, Range]]:
    """Find layers whose sums on a chip can exceed the range stated in the bundle.

    Args:
        bundle: The bundle; without a QONNX file it has no ranges of accumulators.
        proof: Certificate of the chip.

    Returns:
        By layer, the range in the manifest and the range that the chip can reach.
    """
    said = bundle.manifest.accumulators
    if said is None or "qonnx" not in bundle.manifest.onnx:
        return {}
    names = {layer.name: layer.initializers["qonnx"] for layer in bundle.manifest.layers if layer.name in said}
    now = accumulator_ranges(load_onnx(bundle.folder / bundle.manifest.onnx["qonnx"]), names, bundle.image, [proof])
    return {
        name: (said[name], reached) for name, reached in now.items() if reached[0] < said[name][0] or reached[1] > said[name][1]
    }


def accumulator_type(sums: Range) -> str:
    """Return the smallest integer type for a range of sums, named as in FINN: ``"INT19"``, ``"UINT8"``."""
    low, high = sums
    if low >= 0:
        return f"UINT{max(high.bit_length(), 1)}"
    return f"INT{max((-low - 1).bit_length(), high.bit_length()) + 1}"


class _Sums:
    """Highest and lowest sum of every output of one layer."""

    def __init__(self, codes: NDArray[Any], layer_input: LayerInput) -> None:
        assert layer_input.integers is not None
        self.low, self.high = layer_input.integers
        index = np.arange(codes.shape[0])
        if layer_input.operator == "ConvTranspose":  # (inputs, outputs of a group, …)
            group = index // (codes.shape[0] // layer_input.groups)
            index = group[:, None] * codes.shape[1] + np.arange(codes.shape[1])
        shape = (*index.shape, *[1] * (codes.ndim - index.ndim))
        self.output = np.broadcast_to(index.reshape(shape), codes.shape).reshape(-1)
        self.outputs = int(index.max()) + 1
        flat = codes.reshape(-1).astype(np.int64)
        self.lowest, self.highest = (self._added(self.output, part) for part in self._extremes(flat))

    def range(self, weight: Any = None, trained: Any = None, read: Any = None) -> Range:
        """Return the extremes over all outputs, after some weights are read differently."""
        lowest, highest = self.lowest, self.highest
        if weight is not None:
            was, now = self._extremes(trained.astype(np.int64)), self._extremes(read.astype(np.int64))
            lowest = lowest + self._added(self.output[weight], now[0] - was[0])
            highest = highest + self._added(self.output[weight], now[1] - was[1])
        return int(lowest.min()), int(highest.max())

    def _extremes(self, codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        products = codes * self.low, codes * self.high
        return np.minimum(*products), np.maximum(*products)

    def _added(self, output: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
        sums = np.zeros(self.outputs, dtype=np.int64)
        np.add.at(sums, output, values)
        return sums
