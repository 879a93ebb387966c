"""Modify ONNX graphs: weights of layers, and nodes that some tools cannot read; needs only onnx and NumPy."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from tremap_brevitas.onnx_files.weights import constants, sources


def set_weight(graph: ModelProto, initializers: Collection[str], codes: NDArray[np.integer], name: str) -> None:
    """Give these codes, in a new initializer without a clip, to every node that dequantizes one of ``initializers``.

    What is then unused is removed. A weight that is used twice may be in the graph once or twice; afterwards it is there
    once, under ``name``.

    Args:
        graph: The graph; changed in place.
        initializers: Names of all initializers that hold the weight at present.
        codes: The codes, in the weight's shape.
        name: Name of the new initializer; must be new to the graph.
    """
    known, source = constants(graph), sources(graph)
    made = False
    for node in graph.graph.node:
        if node.op_type not in ("Quant", "DequantizeLinear") or source(node) not in initializers:
            continue
        if node.op_type == "Quant":
            scale, zero_point = (known[i] for i in node.input[1:3])
            values = ((codes - zero_point) * scale).astype(np.float32)
            kept = [a for a in node.attribute if a.name != "narrow"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("narrow", 0)])
        else:
            typed = len(node.input) > 2 and node.input[2]
            values = codes.astype(known[node.input[2]].dtype if typed else np.int8)
        if not made:
            graph.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        node.input[0], made = name, True
    _prune(graph)


def complete_gemms(graph: ModelProto) -> None:
    """Add a third input of zeros to every ``Gemm`` without one: it is optional, but qonnx' ``GemmToMatMul`` needs it."""
    shapes = {i.name: list(i.dims) for i in graph.graph.initializer}
    for value in [*graph.graph.value_info, *graph.graph.output]:
        shapes.setdefault(value.name, [d.dim_value for d in value.type.tensor_type.shape.dim])
    for number, node in enumerate(graph.graph.node):
        if node.op_type != "Gemm" or (len(node.input) > 2 and node.input[2]):
            continue
        columns = (shapes.get(node.output[0]) or [0])[-1] or 1  # one zero serves all columns, where their number is unknown
        name = f"{node.name or f'Gemm_{number}'}.no_bias"
        graph.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [columns], [0.0] * columns))
        del node.input[2:]
        node.input.append(name)


def unshare_zero_points(graph: ModelProto) -> None:
    """Give every ``DequantizeLinear`` of a constant its own zero point.

    onnxruntime turns signed weights into unsigned ones for ``session.x64quantprecision``, and fails where two of them share
    one.
    """
    held = {initializer.name: initializer for initializer in graph.graph.initializer}
    seen: set[str] = set()
    for number, node in enumerate(graph.graph.node):
        if node.op_type != "DequantizeLinear" or len(node.input) < 3 or node.input[2] not in held:
            continue
        if node.input[2] in seen:
            copy = TensorProto.FromString(held[node.input[2]].SerializeToString())
            copy.name = f"{node.input[2]}.{number}"
            graph.graph.initializer.append(copy)
            node.input[2] = copy.name
        seen.add(node.input[2])


def initializers_are_constant(graph: ModelProto) -> None:
    """Remove initializers from the graph inputs; listed there, they are only defaults, which tools may not fold."""
    names = {i.name for i in graph.graph.initializer}
    kept = [ValueInfoProto.FromString(i.SerializeToString()) for i in graph.graph.input if i.name not in names]
    del graph.graph.input[:]
    graph.graph.input.extend(kept)


def keep_outputs(graph: ModelProto, positions: Sequence[int]) -> None:
    """Keep only these graph outputs, and remove what only the others needed."""
    kept = [ValueInfoProto.FromString(graph.graph.output[i].SerializeToString()) for i in positions]
    del graph.graph.output[:]
    graph.graph.output.extend(kept)
    _prune(graph)


def _prune(graph: ModelProto) -> None:
    """Remove unused nodes and initializers."""
    ends = {output.name for output in graph.graph.output}
    nodes = list(graph.graph.node)
    while True:
        used = ends | {name for node in nodes for name in node.input}
        kept = [node for node in nodes if used & set(node.output)]
        if len(kept) == len(nodes):
            break
        nodes = kept
    kept_nodes = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.graph.node[:]
    graph.graph.node.extend(kept_nodes)
    gone = [i for i in graph.graph.initializer if i.name not in used]
    inputs = [i for i in graph.graph.input if i.name in {g.name for g in gone}]  # exporters may list a weight there too
    for initializer in gone:
        graph.graph.initializer.remove(initializer)
    for value in inputs:
        graph.graph.input.remove(value)
