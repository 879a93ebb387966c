"""Export to ONNX: QONNX and QCDQ files that hold the codes which the network was trained with, and say which they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import brevitas.export
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from tremap_brevitas.export.call import Inputs, as_inputs, check_float32, leaves_of
from tremap_brevitas.export.graph import (
    complete_gemms,
    initializers_are_constant,
    keep_outputs,
    set_weight,
    unshare_zero_points,
)
from tremap_brevitas.export.tell_apart import marked_codes
from tremap_brevitas.export.verify import code_difference, named_weights
from tremap_brevitas.export.weights import load_onnx, onnx_weights, set_metadata
from tremap_brevitas.faults import FaultMap, MergedFaultMap
from tremap_brevitas.fleet import certificate
from tremap_brevitas.model import memory_image
from tremap_brevitas.model.modes import evaluation_mode
from tremap_brevitas.model.slots import WeightSlot, matching_slots, weight_slots
from tremap_brevitas.placement import MemoryImage, Placement
from tremap_brevitas.proxy import FaultyWeightProxy
from tremap_brevitas.proxy.export_handlers import GROUPS
from tremap_brevitas.proxy.unchanged import unchanged
from tremap_brevitas.proxy.weight_faults import fixed_codes
from tremap_brevitas.proxy.weight_proxy import FaultyGroupwiseWeightQuantProxyFromInjector

Form = Literal["qonnx", "qcdq"]

SCHEMA = 2  # 1: layers and weights were matched by their codes alone


def export_qonnx(
    model: nn.Module,
    example_input: Inputs,
    path: str | os.PathLike[str],
    *,
    placement: Placement,
    fault_map: FaultMap,
    dynamo: bool = True,
    dynamic_batch: bool = False,
) -> Path:
    """Write a model with faults set to a QONNX file (``Quant`` nodes, any bit width).

    The file is read again before it gets its name: every layer of the placement must be there with exactly the codes that the
    model computes with. Metadata under the key ``tremap_brevitas`` says, as JSON, which fault map, chips, placement and store
    rule made it, and which initializer belongs to which layer; a weight that is used twice stands in the file once. The model
    itself is as before afterwards, whether the export went well or not.

    Args:
        model: The model, with the faults of ``fault_map`` set; it is put into evaluation mode for the export. It computes in
            float32, and returns a tensor or a tuple of tensors.
        example_input: An input, for its shape: a tensor or an array, or for a model of several inputs a tuple of them.
        path: File to write.
        placement: Where the codes lie.
        fault_map: The map that the model was trained under.
        dynamo: Whether to use torch's newer exporter; ``False`` for the TorchScript one.
        dynamic_batch: Whether the file takes any number of inputs at a time; else as many as ``example_input`` has.

    Returns:
        The path written.

    Raises:
        ValueError: If the model's codes do not satisfy ``fault_map``, the file does not hold them, the model or an input is not
            in float32, or (QCDQ) codes have more than 8 bits; nothing is written then.
        TypeError: If an input is no tensor, or the model returns something else than tensors.
        RuntimeError: If a layer cannot be exported (groups; a shared quantizer, or in QCDQ a bias, under ``dynamo=True``), or
            torch's exporter refuses the model. ``dynamo=False`` may then still work, and the other way round.
    """
    return _export("qonnx", model, example_input, path, placement, fault_map, dynamo, dynamic_batch)


def export_qcdq(
    model: nn.Module,
    example_input: Inputs,
    path: str | os.PathLike[str],
    *,
    placement: Placement,
    fault_map: FaultMap,
    dynamo: bool = True,
    dynamic_batch: bool = False,
) -> Path:
    """Write a model with faults set to a QCDQ file (``QuantizeLinear``/``DequantizeLinear``, up to 8 bits), for onnxruntime.

    The weights are integer initializers. Arguments, checks, metadata and errors are those of
    [export_qonnx][tremap_brevitas.export_qonnx].
    """
    return _export("qcdq", model, example_input, path, placement, fault_map, dynamo, dynamic_batch)


def _export(
    form: Form,
    model: nn.Module,
    example_input: Inputs,
    path: str | os.PathLike[str],
    placement: Placement,
    fault_map: FaultMap,
    dynamo: bool,
    dynamic_batch: bool,
) -> Path:
    target = Path(path)
    inputs = as_inputs(example_input, "example_input")
    check_float32(model)
    slots = matching_slots(model, placement)
    _check_layers(form, slots, placement, dynamo)
    image = memory_image(model, placement)
    held = certificate(image, fault_map)
    if not held.bit_exact:
        raise ValueError(
            f"the model's codes do not satisfy the fault map of chip {fault_map.chip!r}: {held.weights_that_differ} weights "
            f"read differently; set these faults first"
        )
    placed = {(entry.proxy, entry.slot) for entry in slots.values()}
    others = [_codes_of(e) for e in weight_slots(model, biases=True) if (e.proxy, e.slot) not in placed]
    marked = marked_codes(image, [codes for codes in others if codes is not None])
    if dynamo:
        for name, entry in slots.items():
            shared = len(entry.proxy.tracked_module_list) > 1
            if shared and (entry.proxy.has_faults or name in marked):
                raise RuntimeError(
                    f"layer {name!r}: its weight quantizer serves several weights, and torch's dynamo exporter hides which one "
                    f"is meant; export with dynamo=False"
                )
    leaves = [
        len(several) for several in leaves_of(model, inputs)
    ]  # whatever a first call settles is settled before the model is put back
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
            for name, entry in slots.items()
            for faults in (entry.proxy.fault_slot(entry.slot),)
        },
    }
    options = _options(form, inputs, leaves, dynamo, dynamic_batch)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        draft = Path(folder) / target.name
        write = brevitas.export.export_qonnx if form == "qonnx" else brevitas.export.export_onnx_qcdq
        with _holding(slots, placement, marked), unchanged(model), evaluation_mode(model), torch.no_grad():
            try:
                write(model, export_path=str(draft), **options)
            except AssertionError as error:
                raise RuntimeError(f"Brevitas' exporter refuses the model: {error}") from error
        graph = load_onnx(draft)
        about["layers"] = _settle(target, graph, image, marked)
        if len(graph.graph.output) == sum(leaves) > len(leaves):  # of a QuantTensor only the value is an output
            keep_outputs(graph, [sum(leaves[:i]) for i in range(len(leaves))])
        complete_gemms(graph)
        unshare_zero_points(graph)
        initializers_are_constant(graph)
        set_metadata(graph, about)
        onnx.save(graph, str(draft))
        os.replace(draft, target)
    return target


def _check_layers(form: Form, slots: Mapping[str, WeightSlot], placement: Placement, dynamo: bool) -> None:
    """Refuse what Brevitas' exporters cannot write, by the layer's name."""
    wide = next((layer for layer in placement.layers if layer.bit_width > 8), None)
    if form == "qcdq" and wide is not None:
        raise ValueError(
            f"layer {wide.name!r}: QCDQ holds codes of up to 8 bits, its codes have {wide.bit_width}; use QONNX alone"
        )
    for name, entry in slots.items():
        if isinstance(entry.proxy, FaultyGroupwiseWeightQuantProxyFromInjector):
            raise RuntimeError(f"layer {name!r}: {GROUPS}")
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


def _options(form: Form, inputs: tuple[Tensor, ...], leaves: list[int], dynamo: bool, dynamic_batch: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"args": inputs, "verbose": False, "dynamo": dynamo}
    if dynamo and form == "qcdq":
        options["opset_version"] = 18  # what torch takes today by default; the file shall not change with it
    if dynamic_batch and dynamo:
        # A batch of one would be taken for a constant.
        options["args"] = tuple(torch.cat([x, x]) if x.shape[0] == 1 else x for x in inputs)
        options["dynamic_shapes"] = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    elif dynamic_batch:
        options["input_names"] = [f"input_{i}" for i in range(len(inputs))]
        options["output_names"] = [f"output_{i}" + (f".{j}" if j else "") for i, n in enumerate(leaves) for j in range(n)]
        values = [name for name in options["output_names"] if "." not in name]
        options["dynamic_axes"] = {name: {0: "batch"} for name in [*options["input_names"], *values]}
    return options


def _codes_of(entry: WeightSlot) -> NDArray[np.int32] | None:
    """Codes of a weight that is not placed, or None if it has none that stay the same."""
    if entry.is_bias or not entry.proxy.is_quant_enabled:
        return None
    try:
        if isinstance(entry.proxy, FaultyWeightProxy):
            codes: NDArray[np.int32] = entry.proxy.codes(entry.slot).read_back
            return codes
        with torch.no_grad():
            layer: Any = entry.module
            quantized = layer.quant_weight()
            values = torch.round(quantized.value / quantized.scale + quantized.zero_point)
        return values.to(torch.int32).cpu().numpy()
    except Exception:  # a quantizer that needs an input, is delayed, or knows no codes: nothing that ours could be taken for
        return None


@contextmanager
def _holding(slots: Mapping[str, WeightSlot], placement: Placement, codes: Mapping[str, NDArray[np.int32]]) -> Iterator[None]:
    """Let some layers compute with these codes for a while."""
    before = {name: slots[name].proxy.fault_slot(slots[name].slot) for name in codes}
    try:
        for name, values in codes.items():
            slots[name].proxy.set_fault_slot(slots[name].slot, fixed_codes(placement.layer(name), values))
        yield
    finally:
        for name, faults in before.items():
            slots[name].proxy.set_fault_slot(slots[name].slot, faults)


def _settle(target: Path, graph: ModelProto, image: MemoryImage, marked: Mapping[str, NDArray[np.int32]]) -> dict[str, str]:
    """Find each layer's weight in a fresh graph; give those that were marked their own codes back.

    Returns:
        Name of the one initializer that holds each layer's weight.
    """
    weights = onnx_weights(graph)
    names: dict[str, str] = {}
    problems: list[str] = []
    for layer in image.placement.layers:
        codes = marked.get(layer.name, image.codes[layer.name])
        same_shape = [w for w in weights if w.codes.shape == codes.shape]
        own = {w.initializer for w in same_shape if np.array_equal(w.codes, codes)}
        if not own:
            near = min(same_shape, key=lambda w, codes=codes: int((w.codes != codes).sum()), default=None)  # type: ignore[misc]
            shapes = ", ".join(str(w.codes.shape) for w in weights) or "none"
            missing = f"no quantized weight of shape {codes.shape} in the graph; it has {shapes}"
            problems.append(f"layer {layer.name!r}: {missing if near is None else code_difference(layer, near, codes)}")
        elif len(own) == 1 and layer.name not in marked:
            (names[layer.name],) = own
        else:
            names[layer.name] = f"{layer.name}.codes"
            set_weight(graph, own, image.codes[layer.name], names[layer.name])
    if not problems:
        problems = named_weights(onnx_weights(graph), image, names)[1]
    if problems:
        raise ValueError(f"{target}: the exported graph does not hold the model's codes: {'; '.join(problems)}")
    return names
