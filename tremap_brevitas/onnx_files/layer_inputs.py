"""Find each layer's operator in a QONNX file, and what its inputs are; needs only onnx and NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from tremap_brevitas.onnx_files.weights import constants

OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
QUANTIZERS = ("Quant", "IntQuant")
SAME_INTEGERS = ("Cast", "Dropout", "Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
SAME_CHANNELS = (
    "BatchNormalization",
    "Cast",
    "Clip",
    "Dropout",
    "HardSigmoid",
    "Identity",
    "Relu",
    "Sigmoid",
    "Tanh",
    *QUANTIZERS,
)
POOLING = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")


@dataclass(frozen=True)
class LayerInput:
    """Operator of a layer, and properties of its inputs.

    Attributes:
        operator: ``"Conv"``, ``"ConvTranspose"``, ``"Gemm"`` or ``"MatMul"``.
        groups: Groups of a convolution; else 1.
        channels: For a matrix, the channels of the feature map that was flattened before it; its number of columns if there
            was none; 0 if unknown.
        integers: Lowest and highest integer that the input's quantizer can give, by its bit width and sign alone; None if
            the input is not quantized, or has a zero point other than 0.
    """

    operator: str
    groups: int
    channels: int
    integers: tuple[int, int] | None


def layer_inputs(model: ModelProto, initializers: Mapping[str, str]) -> dict[str, LayerInput]:
    """Find the operators of layers, and their inputs.

    Args:
        model: A QONNX graph.
        initializers: For each layer, the name of the initializer that holds its weight.

    Returns:
        One entry for each layer, in the order of the graph; layers of no such operator, or of several unlike ones, are left
        out.
    """
    graph = _Graph(model)
    place = {output: index for index, node in enumerate(model.graph.node) for output in node.output}
    entries = []
    for layer, initializer in initializers.items():
        users = graph.users(initializer)
        uses = [graph.use(node, position) for node, position in users]
        if uses and uses[0] is not None and all(use == uses[0] for use in uses):
            entries.append((min(place[node.output[0]] for node, _ in users), layer, uses[0]))
    return {layer: use for _, layer, use in sorted(entries, key=lambda entry: entry[0])}


class _Graph:
    """A graph that can be searched in both directions."""

    def __init__(self, model: ModelProto) -> None:
        self.known = constants(model)
        self.makers = {output: node for node in model.graph.node for output in node.output}
        self.takers: dict[str, list[tuple[NodeProto, int]]] = {}
        for node in model.graph.node:
            for position, name in enumerate(node.input):
                self.takers.setdefault(name, []).append((node, position))
        dims = [value.type.tensor_type.shape.dim for value in model.graph.input if value.name not in self.known]
        self.batch = dims[0][0].dim_value if dims and dims[0] else 0
        self.sources: dict[tuple[str, bool, int], int] = {}

    def users(self, initializer: str) -> list[tuple[NodeProto, int]]:
        """Return the nodes that use a weight, after quantization and transposition, with the input position."""
        readers = []
        for node, position in self.takers.get(initializer, ()):
            if node.op_type in (*QUANTIZERS, "Transpose", "Identity", "Cast") and position == 0:
                readers += self.users(node.output[0])
            else:
                readers.append((node, position))
        return readers

    def use(self, node: NodeProto, position: int) -> LayerInput | None:
        if node.op_type not in OPERATORS or position != 1:
            return None
        groups = int(_attribute(node, "group", 1))
        return LayerInput(node.op_type, groups, self.channels(node), self.integers(node.input[0]))

    def integers(self, name: str) -> tuple[int, int] | None:
        node = self.makers.get(name)
        if node is None:
            return None
        if node.op_type not in QUANTIZERS:
            return self.integers(node.input[0]) if node.op_type in SAME_INTEGERS else None
        zero_point, bits = (self.known.get(name) for name in node.input[2:4])
        if zero_point is None or bits is None or np.any(zero_point):
            return None
        # As in qonnx' get_integer_datatype, a narrow range counts as the full range.
        width, signed = int(bits.reshape(-1)[0]), bool(_attribute(node, "signed", 1))
        if signed:
            return (-1, 1) if width == 1 else (-(1 << (width - 1)), (1 << (width - 1)) - 1)
        return 0, (1 << width) - 1

    def channels(self, node: NodeProto) -> int:
        """Return the channels that were flattened into the columns of a matrix."""
        if node.op_type in ("Conv", "ConvTranspose"):
            return 0
        columns = self._columns(node)
        channels = self._source(node.input[0], flattened=False, columns=columns)
        return channels if channels and columns % channels == 0 else 0

    def _columns(self, node: NodeProto) -> int:
        weight, turned = node.input[1], bool(_attribute(node, "transB", 0))
        while weight not in self.known:
            maker = self.makers[weight]
            turned ^= maker.op_type == "Transpose"
            weight = maker.input[0]
        return int(self.known[weight].shape[1 if turned else 0])

    def _source(self, name: str, *, flattened: bool, columns: int) -> int:
        key = name, flattened, columns
        if key not in self.sources:
            self.sources[key] = self._find(name, flattened, columns)
        return self.sources[key]

    def _find(self, name: str, flattened: bool, columns: int) -> int:
        node = self.makers.get(name)
        if node is None:
            return 0 if flattened else columns
        first = node.input[0] if node.input else ""
        if node.op_type in ("Conv", "ConvTranspose"):
            weight = self._weight(node.input[1])
            if not flattened or weight is None:
                return 0
            groups = int(_attribute(node, "group", 1))
            return int(weight.shape[0] if node.op_type == "Conv" else weight.shape[1] * groups)
        if node.op_type in ("Gemm", "MatMul"):
            return 0 if flattened else columns
        if node.op_type == "Add":
            return self._sum([self._summand(name, flattened, columns) for name in node.input])
        if self._flattens(node, columns):
            at_once = first not in self.makers
            return columns if at_once else self._source(first, flattened=True, columns=columns)
        if node.op_type in SAME_CHANNELS or (flattened and (node.op_type in POOLING or self._is_mean(node))):
            return self._source(first, flattened=flattened, columns=columns)
        return 0

    def _summand(self, name: str, flattened: bool, columns: int) -> int | None:
        """Return the channels of one term of a sum; None for a constant, such as a bias."""
        return None if name in self.known else self._source(name, flattened=flattened, columns=columns)

    @staticmethod
    def _sum(parts: list[int | None]) -> int:
        """Return the channels of a sum: all terms have one shape, so one known term suffices, unless it may be broadcast."""
        told = {part for part in parts if part}
        return told.pop() if len(told) == 1 and (0 not in parts or told != {1}) else 0

    def _weight(self, name: str) -> NDArray[Any] | None:
        while name not in self.known and name in self.makers:
            name = self.makers[name].input[0]
        return self.known.get(name)

    def _flattens(self, node: NodeProto, columns: int) -> bool:
        if node.op_type == "Flatten":
            return bool(_attribute(node, "axis", 1) == 1)
        shape = self.known.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None or shape.size != 2:
            return False
        rows, rest = (int(n) for n in shape)
        return rest in (-1, columns) and rows in (0, self.batch) and rows != -1

    def _is_mean(self, node: NodeProto) -> bool:
        """Check whether a node computes the mean over rows and columns of a feature map."""
        axes = self.known.get(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) > 1 else None
        return axes is not None and bool(_attribute(node, "keepdims", 1)) and {int(a) % 4 for a in axes.reshape(-1)} == {2, 3}


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
