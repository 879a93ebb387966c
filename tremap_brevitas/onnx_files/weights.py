"""Read the quantized weights of an ONNX file as integers; needs only onnx and NumPy, neither torch nor Brevitas."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

Array = NDArray[Any]

METADATA = "tremap_brevitas"
ON_THE_WAY = ("Clip", "QuantizeLinear", "Identity")  # nodes that may lie between a weight and its dequantization


@dataclass(frozen=True, eq=False)
class OnnxWeight:
    """One quantized weight of a graph.

    Attributes:
        initializer: Name of the initializer that holds it.
        codes: The integers that the graph computes with, after every clip, int32.
        scale: Scale, a scalar or one number for each channel.
        zero_point: Zero point, likewise.
        bit_width: Bits of a code, as the graph says it: in QCDQ 8 for a weight, whatever the clip.
        integer: Whether the initializer itself holds integers.
    """

    initializer: str
    codes: NDArray[np.int32]
    scale: Array
    zero_point: Array
    bit_width: int
    integer: bool


def load_onnx(path: str | os.PathLike[str]) -> ModelProto:
    """Read an ONNX file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file, or a damaged one.
    """
    try:
        model = onnx.load(os.fspath(path))
    except FileNotFoundError:
        raise
    except Exception as error:  # protobuf raises errors of many types
        raise ValueError(f"{path}: not an ONNX file, or damaged ({type(error).__name__}: {error})") from None
    if not model.graph.node:
        raise ValueError(f"{path}: an ONNX file without a single node")
    return model


def onnx_weights(model: ModelProto) -> list[OnnxWeight]:
    """Return the quantized weights of a QCDQ or QONNX graph, in the order of its nodes.

    A weight is an initializer of one dimension (a bias) or more that runs into a ``DequantizeLinear`` node, directly or through
    ``QuantizeLinear`` and ``Clip``, or into a ``Quant`` node of QONNX. The operations on this path are computed here as the
    ONNX and QONNX operators are defined: quantize, round half to even, saturate, clip.

    Raises:
        ValueError: If a weight's scale or zero point is not constant.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    return list(_weights(model, constants(model), makers))


def constants(model: ModelProto) -> dict[str, Array]:
    """Return all constant tensors of a graph by name: initializers and outputs of ``Constant`` nodes."""
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            (value,) = [helper.get_attribute_value(a) for a in node.attribute]
            constants[node.output[0]] = numpy_helper.to_array(value) if hasattr(value, "data_type") else np.asarray(value)
    return constants


def sources(model: ModelProto) -> Callable[[NodeProto], str]:
    """Return a function from a node to the name of the constant that it dequantizes, or of a non-constant value."""
    known = constants(model)
    makers = {output: node for node in model.graph.node for output in node.output}

    def source(node: NodeProto) -> str:
        name: str = node.input[0]
        while name not in known and name in makers and makers[name].op_type in ON_THE_WAY:
            name = makers[name].input[0]
        return name

    return source


def _weights(model: ModelProto, known: dict[str, Array], makers: dict[str, NodeProto]) -> Iterator[OnnxWeight]:
    def origin(name: str) -> str:
        while name not in known and name in makers and makers[name].op_type in ("Identity", "Cast"):
            name = makers[name].input[0]
        return name

    def constant(node: NodeProto, index: int, default: Any = None) -> Array:
        if index >= len(node.input) or not node.input[index]:
            return np.asarray(default)
        name = origin(node.input[index])
        if name not in known:
            raise ValueError(f"node {node.name or node.output[0]!r} ({node.op_type}): input {index} is not constant")
        return known[name]

    def is_constant(node: NodeProto) -> bool:
        """Check whether a bias has constant codes; not if its scale depends on the input."""
        return all(not name or origin(name) in known for name in node.input[1:])

    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            chain, name = [], node.input[0]
            while name not in known and name in makers and makers[name].op_type in ON_THE_WAY:
                chain.append(makers[name])
                name = makers[name].input[0]
            if name not in known or known[name].ndim < 1 or (known[name].ndim == 1 and not is_constant(node)):
                continue
            values = known[name]
            for step in reversed(chain):
                if step.op_type == "QuantizeLinear":
                    values = _quantize_linear(values, constant(step, 1), constant(step, 2, np.uint8(0)), _axis(step))
                elif step.op_type == "Clip":
                    low, high = (constant(step, i, None) for i in (1, 2))
                    values = np.clip(values, low if low.dtype != object else None, high if high.dtype != object else None)
            zero_point = constant(node, 2, np.int8(0))
            integer = known[name].dtype.kind in "iu"
            yield OnnxWeight(name, values.astype(np.int32), constant(node, 1), zero_point, 8, integer)
        elif node.op_type == "Quant":
            if node.input[0] not in known or known[node.input[0]].ndim < 1:
                continue
            if known[node.input[0]].ndim == 1 and not is_constant(node):
                continue
            value, scale, zero_point = (constant(node, i) for i in range(3))
            bits = round(float(constant(node, 3)))
            flags = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            signed, narrow = bool(flags.get("signed", 1)), bool(flags.get("narrow", 0))
            lowest = -(1 << (bits - 1)) + narrow if signed else 0
            highest = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1 - narrow
            codes = np.clip(np.rint(value / scale + zero_point), lowest, highest)
            yield OnnxWeight(node.input[0], codes.astype(np.int32), scale, zero_point, bits, False)


def _axis(node: NodeProto) -> int:
    return next((int(helper.get_attribute_value(a)) for a in node.attribute if a.name == "axis"), 1)


def _quantize_linear(values: Array, scale: Array, zero_point: Array, axis: int) -> Array:
    """Compute ONNX QuantizeLinear: divide, round half to even, add the zero point, saturate to the type."""
    shape = [1] * values.ndim
    if scale.ndim == 1 and scale.size > 1:
        shape[axis] = scale.size
    limits = np.iinfo(zero_point.dtype)
    codes = np.rint(values / scale.reshape(shape)) + zero_point.reshape(-1 if zero_point.size == 1 else shape)
    return np.clip(codes, limits.min, limits.max).astype(zero_point.dtype)


def onnx_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the metadata of an exported file.

    Raises:
        ValueError: If the file is damaged, or was not written by this package.
    """
    about = metadata_of(load_onnx(path))
    if about is None:
        raise ValueError(f"{path}: has no metadata of tremap_brevitas, so that it was written by another tool")
    return about


def metadata_of(model: ModelProto) -> dict[str, Any] | None:
    """Return the metadata of a graph, or None if it was not written by this package."""
    for entry in model.metadata_props:
        if entry.key == METADATA:
            try:
                about = json.loads(entry.value)
            except ValueError:
                return None
            return about if isinstance(about, dict) else None
    return None


def set_metadata(model: ModelProto, about: dict[str, Any]) -> None:
    """Set the metadata of a graph, replacing earlier ones."""
    kept = [(entry.key, entry.value) for entry in model.metadata_props if entry.key != METADATA]
    del model.metadata_props[:]
    for key, value in [*kept, (METADATA, json.dumps(about, sort_keys=True))]:
        model.metadata_props.add(key=key, value=value)
