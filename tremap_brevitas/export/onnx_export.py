"""Export to ONNX: QONNX and QCDQ files that hold the codes which the network was trained with, and say which they are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import brevitas.config
import brevitas.export
import onnx
import torch
from torch import Tensor, nn

from tremap_brevitas.export.verify import matched_weights
from tremap_brevitas.export.weights import load_onnx, onnx_weights, set_metadata
from tremap_brevitas.faults import FaultMap, MergedFaultMap
from tremap_brevitas.fleet import certificate
from tremap_brevitas.model import memory_image
from tremap_brevitas.model.modes import evaluation_mode
from tremap_brevitas.model.slots import matching_slots
from tremap_brevitas.placement import Placement

SCHEMA = 1


def export_qonnx(
    model: nn.Module,
    example_input: Tensor,
    path: str | os.PathLike[str],
    *,
    placement: Placement,
    fault_map: FaultMap,
    dynamo: bool = True,
) -> Path:
    """Write a model with faults set to a QONNX file (``Quant`` nodes, any bit width).

    The file is read again before it gets its name: every layer of the placement must be there with exactly the codes that the
    model computes with. Metadata under the key ``tremap_brevitas`` says, as JSON, which fault map, chips, placement and store
    rule made it, and which initializer belongs to which layer.

    Args:
        model: The model, with the faults of ``fault_map`` set; it is put into evaluation mode for the export.
        example_input: An input, for its shape.
        path: File to write.
        placement: Where the codes lie.
        fault_map: The map that the model was trained under.
        dynamo: Whether to use torch's newer exporter; ``False`` for the TorchScript one.

    Returns:
        The path written.

    Raises:
        ValueError: If the model's codes do not satisfy ``fault_map``, the file does not hold them, or (QCDQ) codes have more
            than 8 bits; nothing is written then.
        RuntimeError: If a layer cannot be exported (groups; a shared quantizer, or in QCDQ a bias, under ``dynamo=True``).
    """
    return _export("qonnx", model, example_input, path, placement, fault_map, dynamo)


def export_qcdq(
    model: nn.Module,
    example_input: Tensor,
    path: str | os.PathLike[str],
    *,
    placement: Placement,
    fault_map: FaultMap,
    dynamo: bool = True,
) -> Path:
    """Write a model with faults set to a QCDQ file (``QuantizeLinear``/``DequantizeLinear``, up to 8 bits), for onnxruntime.

    The weights are integer initializers. Arguments, checks, metadata and errors are those of
    [export_qonnx][tremap_brevitas.export_qonnx].
    """
    return _export("qcdq", model, example_input, path, placement, fault_map, dynamo)


def _export(
    form: Literal["qonnx", "qcdq"],
    model: nn.Module,
    example_input: Tensor,
    path: str | os.PathLike[str],
    placement: Placement,
    fault_map: FaultMap,
    dynamo: bool,
) -> Path:
    target = Path(path)
    wide = next((layer for layer in placement.layers if layer.bit_width > 8), None)
    if form == "qcdq" and wide is not None:
        raise ValueError(
            f"layer {wide.name!r}: QCDQ holds codes of up to 8 bits, its codes have {wide.bit_width}; use QONNX alone"
        )
    for name, entry in matching_slots(model, placement).items():
        if dynamo and entry.proxy.has_faults and len(entry.proxy.tracked_module_list) > 1:
            raise RuntimeError(
                f"layer {name!r}: its weight quantizer serves several weights, and torch's dynamo exporter hides which one is "
                f"meant; export with dynamo=False"
            )
        if dynamo and form == "qcdq" and entry.is_bias:
            raise RuntimeError(
                f"layer {name!r}: torch's dynamo exporter cannot write a quantized bias; export with dynamo=False"
            )
        tracked = entry.proxy.tracked_module_list
        if form == "qcdq" and entry.is_bias and (not entry.proxy.is_signed or any(m.bias is None for m in tracked)):
            raise RuntimeError(
                f"layer {name!r}: Brevitas' QCDQ exporter takes signed biases only, and no bias quantizer that is shared with "
                f"a layer without a bias; use QONNX"
            )
    image = memory_image(model, placement)
    held = certificate(image, fault_map)
    if not held.bit_exact:
        raise ValueError(
            f"the model's codes do not satisfy the fault map of chip {fault_map.chip!r}: {held.weights_that_differ} weights "
            f"read differently; set these faults first"
        )
    options: dict[str, Any] = {"verbose": False}
    if dynamo and form == "qcdq":
        options["opset_version"] = 18  # what torch takes today by default; the file shall not change with it
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        draft = Path(folder) / target.name
        write = brevitas.export.export_qonnx if form == "qonnx" else brevitas.export.export_onnx_qcdq
        try:
            with evaluation_mode(model), torch.no_grad():
                write(model, args=example_input, export_path=str(draft), dynamo=dynamo, **options)
        except BaseException:
            # Brevitas leaves this set when an export fails, and the model's next forward pass would go wrong.
            brevitas.config._ONGOING_EXPORT = None
            raise
        graph = load_onnx(draft)
        weights, problems = matched_weights(onnx_weights(graph), image)
        if problems:
            raise ValueError(f"{target}: the exported graph does not hold the model's codes: {'; '.join(problems)}")
        about = {
            "schema": SCHEMA,
            "fault_map": fault_map.digest,
            "chips": [
                {"chip": m.chip, "digest": m.digest}
                for m in (fault_map.members if isinstance(fault_map, MergedFaultMap) else (fault_map,))
            ],
            "on_conflict": fault_map.on_conflict if isinstance(fault_map, MergedFaultMap) else None,
            "placement": placement.digest,
            "image": image.digest,
            "store": {
                name: None if faults is None else faults.store
                for name, entry in matching_slots(model, placement).items()
                for faults in (entry.proxy.fault_slot(entry.slot),)
            },
            "layers": {name: weight.initializer for name, weight in weights.items()},
        }
        set_metadata(graph, about)
        onnx.save(graph, str(draft))
        os.replace(draft, target)
    return target
