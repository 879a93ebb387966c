"""Export to ONNX: QONNX and QCDQ files with the trained codes and the name of each layer's weight."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import brevitas.export
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.onnx_export.call import Inputs, as_inputs, check_float32, leaves_of
from tremap_brevitas.onnx_files.graph import (
    complete_gemms,
    initializers_are_constant,
    keep_outputs,
    set_weight,
    unshare_zero_points,
)
from tremap_brevitas.onnx_files.tell_apart import marked_codes
from tremap_brevitas.onnx_files.verify import code_difference, named_weights
from tremap_brevitas.onnx_files.weights import load_onnx, onnx_weights, set_metadata
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.slots import WeightSlot, weight_slots
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.placement import MemoryImage, Placement, certificate
from tremap_brevitas.proxy import FaultyWeightProxy
from tremap_brevitas.proxy.export_handlers import GROUPS
from tremap_brevitas.proxy.unchanged import unchanged
from tremap_brevitas.proxy.weight_faults import fixed_codes
from tremap_brevitas.proxy.weight_proxy import FaultyGroupwiseWeightQuantProxyFromInjector

Form = Literal["qonnx", "qcdq"]

SCHEMA = 2  # 1: layers and weights were matched by their codes alone


@dataclass(frozen=True)
class Written:
    """A written file and its content.

    Attributes:
        path: The file.
        graph: Its graph.
        about: Its metadata.
    """

    path: Path
    graph: ModelProto
    about: Mapping[str, Any]


class OnnxExport:
    """Shared parts of a network's QONNX and QCDQ files, computed once: codes, certificate, layer identification.

    Args:
        net: The network, under the faults that it was prepared for, or none.
        example_input: An input, for its shape; several as a tuple.
        forms: Which forms will be written.
        dynamo: Whether to use torch's newer exporter.
        dynamic_batch: Whether the files take any number of inputs at a time.

    Raises:
        ValueError: If the model or an input is not in float32, a form cannot hold the codes, or the codes do not satisfy the
            live map.
        TypeError: If an input is not a tensor, or the model returns anything but tensors.
        RuntimeError: If a layer cannot be exported.
    """

    def __init__(
        self, net: PlacedState, example_input: Inputs, forms: Collection[Form], *, dynamo: bool, dynamic_batch: bool
    ) -> None:
        self._dynamo, self._dynamic_batch = dynamo, dynamic_batch
        self.net = net = on_cpu(net)
        self.inputs = tuple(x.cpu() for x in as_inputs(example_input, "example_input"))
        check_float32(net.model)
        self.image = net.memory_image()  # the model matches the placement, and nobody changed its faults
        slots = {entry.name: entry for entry in weight_slots(net.model, biases=True)}
        self._slots = {layer.name: slots[layer.name] for layer in net.placement.layers}
        for form in forms:
            _check_layers(form, self._slots, net.placement, dynamo)
        live = net.fault_map
        self.fault_map = FaultMap(net.placement.memory, [], []) if live is None else live  # type: ignore[arg-type]
        self.members = () if live is None else live.members
        self.certificate = certificate(self.image, self.fault_map)
        if not self.certificate.bit_exact:
            raise ValueError(
                f"the model's codes do not satisfy the fault map of chip {self.fault_map.chip!r}: {self.certificate.result}"
            )
        placed = {(entry.proxy, entry.slot) for entry in self._slots.values()}
        others = [_codes_of(entry) for entry in slots.values() if (entry.proxy, entry.slot) not in placed]
        self._marked = marked_codes(self.image, [codes for codes in others if codes is not None])
        if dynamo:
            self._check_shared()
        self._about = self._description()
        # The first call may initialize values, which must happen before the state of the model is recorded.
        leaves = leaves_of(net.model, self.inputs)
        self.outputs = tuple(several[0] for several in leaves)
        self._leaves = [len(several) for several in leaves]

    def write(self, form: Form, path: str | os.PathLike[str]) -> Written:
        """Write one of the two formats; see ``PlacedModel.export_qonnx``."""
        target = Path(path)
        options = _options(form, self.inputs, self._leaves, self._dynamo, self._dynamic_batch)
        model = self.net.model
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            draft = Path(folder) / target.name
            write = brevitas.export.export_qonnx if form == "qonnx" else brevitas.export.export_onnx_qcdq
            replaced = _codes_replaced(self._slots, self.net.placement, self._marked)
            with replaced, unchanged(model), evaluation_mode(model), torch.no_grad():
                try:
                    write(model, export_path=str(draft), **options)
                except AssertionError as error:
                    raise RuntimeError(f"Brevitas' exporter refuses the model: {error}") from error
            graph = load_onnx(draft)
            about = {**self._about, "layers": _locate_weights(target, graph, self.image, self._marked)}
            if len(graph.graph.output) == sum(self._leaves) > len(self._leaves):  # of a QuantTensor only the value is an output
                keep_outputs(graph, [sum(self._leaves[:i]) for i in range(len(self._leaves))])
            complete_gemms(graph)
            unshare_zero_points(graph)
            initializers_are_constant(graph)
            set_metadata(graph, about)
            onnx.save(graph, str(draft))
            os.replace(draft, target)
        return Written(target, graph, about)

    def _check_shared(self) -> None:
        for name, entry in self._slots.items():
            shared = len(entry.proxy.tracked_module_list) > 1
            if shared and (entry.proxy.has_faults or name in self._marked):
                raise RuntimeError(
                    f"layer {name!r}: its weight quantizer serves several weights, and torch's dynamo exporter hides which one "
                    f"it quantizes; export with dynamo=False"
                )

    def _description(self) -> dict[str, Any]:
        faults = {name: entry.proxy.fault_slot(entry.slot) for name, entry in self._slots.items()}
        return {
            "schema": SCHEMA,
            "fault_map": self.fault_map.digest,
            "chips": [{"chip": m.chip, "digest": m.digest} for m in self.members],
            "on_conflict": self.fault_map.on_conflict,
            "placement": self.net.placement.digest,
            "image": self.image.digest,
            "store": {name: None if layer_faults is None else layer_faults.store for name, layer_faults in faults.items()},
        }


def on_cpu(net: PlacedState) -> PlacedState:
    """Return a network that is on a CPU as a whole: a copy of one that is not.

    Brevitas' exporters make tensors on the CPU beside the network's own, which torch's dynamo exporter refuses to add up; and
    files that were computed on a CPU are the same wherever the network was trained.
    """
    if all(tensor.device.type == "cpu" for tensor in (*net.model.parameters(), *net.model.buffers())):
        return net
    twin = copy.deepcopy(net)
    twin.model.cpu()
    return twin


def export_onnx(
    net: PlacedState, form: Form, path: str | os.PathLike[str], example_input: Inputs, *, dynamo: bool, dynamic_batch: bool
) -> Path:
    """Write one file; see ``PlacedModel.export_qonnx``."""
    return OnnxExport(net, example_input, [form], dynamo=dynamo, dynamic_batch=dynamic_batch).write(form, path).path


def _check_layers(form: Form, slots: Mapping[str, WeightSlot], placement: Placement, dynamo: bool) -> None:
    """Raise an error, with the layer's name, for anything that Brevitas' exporters cannot write."""
    wide = next((layer for layer in placement.layers if layer.bit_width > 8), None)
    if form == "qcdq" and wide is not None:
        raise ValueError(
            f"layer {wide.name!r}: QCDQ holds codes of at most 8 bits, but its codes have {wide.bit_width}; export QONNX only"
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
        options["opset_version"] = 18  # torch's present default, fixed so that it does not change with torch
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
    """Return the codes of a weight that is not placed; None if it has no constant codes."""
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
    except Exception:  # a quantizer that needs an input, is delayed, or has no codes: it cannot be mistaken for a placed one
        return None


@contextmanager
def _codes_replaced(
    slots: Mapping[str, WeightSlot], placement: Placement, codes: Mapping[str, NDArray[np.int32]]
) -> Iterator[None]:
    """Temporarily let some layers compute with these codes."""
    before = {name: slots[name].proxy.fault_slot(slots[name].slot) for name in codes}
    try:
        for name, values in codes.items():
            slots[name].proxy.set_fault_slot(slots[name].slot, fixed_codes(placement.layer(name), values))
        yield
    finally:
        for name, faults in before.items():
            slots[name].proxy.set_fault_slot(slots[name].slot, faults)


def _locate_weights(
    target: Path, graph: ModelProto, image: MemoryImage, marked: Mapping[str, NDArray[np.int32]]
) -> dict[str, str]:
    """Find each layer's weight in an exported graph; restore the codes of those that were marked.

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
