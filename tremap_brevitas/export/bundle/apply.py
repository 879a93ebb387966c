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
    names = {layer.name: layer.initializers[form] for layer in bundle.manifest.layers}
    for difference in proof.differences:
        layer = difference.layer
        if list(names.values()).count(names[layer]) > 1:
            raise ValueError(f"{bundle.folder}: initializer {names[layer]!r} holds layer {layer!r} and another one")
        names[layer] = _replace(graph, names[layer], read[layer], f"{layer}.as_read")
    about = metadata_of(graph) or {}
    set_metadata(graph, {**about, "layers": names, "read_by": {"chip": chip.chip, "digest": chip.digest}})
    weights = {weight.initializer: weight.codes for weight in onnx_weights(graph)}
    for layer, initializer in names.items():
        if initializer not in weights or not np.array_equal(weights[initializer], read[layer]):
            raise ValueError(f"{bundle.folder}: layer {layer!r}: its graph does not take the codes that the chip reads")
    with whole_file(path) as draft:
        onnx.save(graph, str(draft))
    return Path(path)


def _replace(graph: ModelProto, initializer: str, codes: NDArray[Any], name: str) -> str:
    """Let the node that dequantizes a weight take these codes from a new initializer, with no clip in between."""
    known = constants(graph)
    makers = {output: node for node in graph.graph.node for output in node.output}
    for node in graph.graph.node:
        if node.op_type not in ("Quant", "DequantizeLinear"):
            continue
        source = node.input[0]
        while source in makers and source not in known:
            source = makers[source].input[0]
        if source != initializer:
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
        graph.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        node.input[0] = name
        break
    _prune(graph)
    return name


def _prune(graph: ModelProto) -> None:
    """Remove nodes and initializers that nobody takes any more."""
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
