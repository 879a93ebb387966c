"""The network as one chip really computes it, as an ONNX file. Neither torch nor Brevitas."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from tremap_brevitas.export.bundle.manifest import Form
from tremap_brevitas.export.bundle.read import Bundle
from tremap_brevitas.export.weights import constants, load_onnx, metadata_of, onnx_weights, set_metadata
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.files import whole_file


def apply_to_onnx(
    bundle: str | os.PathLike[str] | Bundle,
    chip: FaultMap,
    path: str | os.PathLike[str],
    *,
    form: Form = "qcdq",
) -> Path:
    """Write the ONNX file with the weights that one chip reads from its memory, so that it can be run without PyTorch.

    Args:
        bundle: The folder of a bundle, or one that was loaded before.
        chip: The chip's own fault map.
        path: File to write; it appears whole or not at all. Its metadata names the chip.
        form: Which of the bundle's files to start from.

    Returns:
        The path written.

    Raises:
        FileNotFoundError: If there is no such bundle.
        ValueError: If the bundle is not what was exported, has no file of that form, or the map is of another memory.
    """
    if not isinstance(bundle, Bundle):
        bundle = Bundle.load(bundle)
    if form not in bundle.manifest.onnx:
        raise ValueError(f"form must be one of {', '.join(bundle.manifest.onnx)}, got {form!r}")
    proof = bundle.certificate(chip)
    read = proof.read()
    graph = load_onnx(bundle.folder / bundle.manifest.onnx[form])
    names = {layer.initializers[form]: layer.name for layer in bundle.manifest.layers}
    changed = {difference.layer for difference in proof.differences}
    for initializer, layer in names.items():
        if layer in changed:
            _replace(graph, initializer, read[layer])
    about = metadata_of(graph) or {}
    set_metadata(graph, {**about, "read_by": {"chip": chip.chip, "digest": chip.digest}})
    for weight in onnx_weights(graph):
        layer = names.get(weight.initializer, "")
        if layer and not np.array_equal(weight.codes, read[layer]):
            raise ValueError(f"{bundle.folder}: layer {layer!r}: its graph does not take the codes that the chip reads")
    with whole_file(path) as draft:
        onnx.save(graph, str(draft))
    return Path(path)


def _replace(graph: ModelProto, initializer: str, codes: NDArray[Any]) -> None:
    """Let the node that dequantizes a weight take these codes, with no clip in between."""
    makers = {output: node for node in graph.graph.node for output in node.output}
    for node in graph.graph.node:
        if node.op_type == "Quant" and node.input[0] == initializer:
            _replace_quant(graph, node, codes)
        elif node.op_type == "DequantizeLinear":
            name = node.input[0]
            chain = []
            while name in makers:
                chain.append(makers[name])
                name = makers[name].input[0]
            if name == initializer:
                kind = _dtype(graph, node)
                _set_initializer(graph, initializer, codes.astype(kind))
                if chain and _alone(graph, chain):  # clip and quantize nodes of a layer that no fault hit would clip -128 away
                    for step in chain:
                        graph.graph.node.remove(step)
                    node.input[0] = initializer


def _replace_quant(graph: ModelProto, node: NodeProto, codes: NDArray[Any]) -> None:
    known = constants(graph)
    scale, zero_point = (known[name] for name in node.input[1:3])
    value = ((codes - zero_point) * scale).astype(np.float32)
    _set_initializer(graph, node.input[0], value)
    kept = [a for a in node.attribute if a.name != "narrow"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("narrow", 0)])


def _alone(graph: ModelProto, chain: list[NodeProto]) -> bool:
    """Whether nobody else takes what these nodes make."""
    made = {output for step in chain for output in step.output}
    users = [node for node in graph.graph.node for name in node.input if name in made]
    return len(users) == len(chain)


def _dtype(graph: ModelProto, node: NodeProto) -> Any:
    if len(node.input) > 2 and node.input[2]:
        return constants(graph)[node.input[2]].dtype
    return np.int8


def _set_initializer(graph: ModelProto, name: str, values: NDArray[Any]) -> None:
    for initializer in graph.graph.initializer:
        if initializer.name == name:
            initializer.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))
            return
    for node in graph.graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            graph.graph.node.remove(node)
            graph.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
            return
