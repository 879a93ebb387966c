"""Verify from the files alone that an ONNX file holds the trained network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.onnx_files.run import onnx_runner
from tremap_brevitas.onnx_files.weights import OnnxWeight, load_onnx, metadata_of, onnx_weights
from tremap_brevitas.placement import MemoryImage, PlacedLayer
from tremap_brevitas.printable import counted

Array = NDArray[Any]
Arrays = Array | Sequence[Array]


@dataclass(frozen=True)
class OnnxReport:
    """Result of [verify_onnx][tremap_brevitas.verify_onnx].

    Attributes:
        path: The file.
        layers: Name of the initializer for each layer that was found with the right codes.
        problems: Problems, one sentence each; empty if there is none.
        output_error: Largest difference of the outputs, relative to the largest output; None if they were not compared.
    """

    path: str
    layers: Mapping[str, str]
    problems: tuple[str, ...]
    output_error: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the file holds the network."""
        return not self.problems

    def __str__(self) -> str:
        verdict = "holds the network" if self.ok else "does NOT hold the network"
        outputs = "" if self.output_error is None else f", outputs within {self.output_error:.1e}"
        return "\n".join([f"{self.path}: {verdict} ({counted(len(self.layers), 'layer')} exact{outputs})", *self.problems])


def verify_onnx(
    path: str | os.PathLike[str],
    image: MemoryImage,
    *,
    scales: Mapping[str, NDArray[np.floating]] | None = None,
    inputs: Arrays | None = None,
    outputs: Arrays | None = None,
    tolerance: float = 1e-6,
) -> OnnxReport:
    """Compare an ONNX file with the codes that a network was trained with.

    Args:
        path: A QCDQ or QONNX file.
        image: The codes; every layer must be in the file with exactly these, in each place where the graph uses it. Files of
            ``export_qonnx`` and ``export_qcdq`` name the weight of each layer; in others a layer is identified by its codes,
            and among equal ones by its scale and by the initializer's name.
        scales: Scale of each layer's weight; compared exactly if given.
        inputs: Inputs (an array, or one for each input of the file) to run the file with, in onnxruntime, its graph
            optimizations off since they alone change outputs by 2e-3. QCDQ files only: onnxruntime knows no ``Quant`` node.
        outputs: The network's outputs for them: an array, or one for each output.
        tolerance: Allowed difference of the outputs, relative to the largest. Not zero, since onnxruntime and torch add the
            products of a convolution in another order; a few times 1e-7 is float32's rounding.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file, or only one of ``inputs`` and ``outputs`` is given.
    """
    if (inputs is None) != (outputs is None):
        raise ValueError("give inputs and outputs together, or neither")
    graph = load_onnx(path)
    about = metadata_of(graph) or {}
    if isinstance(about.get("layers"), dict) and set(image.codes) <= set(about["layers"]) and about.get("schema") != 1:
        weights, problems = named_weights(onnx_weights(graph), image, about["layers"])
    else:
        weights, problems = matched_weights(onnx_weights(graph), image, scales or {})
    for name, scale in (scales or {}).items():
        if name in weights and not np.array_equal(weights[name].scale.reshape(-1), np.asarray(scale).reshape(-1)):
            file_scale = weights[name].scale.reshape(-1)
            problems.append(
                f"layer {name!r}: scale {file_scale[0]:.8g} … in the file, expected {np.asarray(scale).reshape(-1)[0]:.8g} …"
            )
    error = None
    if inputs is not None and outputs is not None:
        error = float(output_errors(path, inputs, outputs).max())
        if not error <= tolerance:  # NaN too
            problems.append(f"outputs differ by {error:.3g} of the largest; the tolerance is {tolerance:.3g}")
    layers = {name: weight.initializer for name, weight in weights.items()}
    return OnnxReport(os.fspath(path), layers, tuple(problems), error)


def named_weights(
    weights: Sequence[OnnxWeight], image: MemoryImage, names: Mapping[str, str]
) -> tuple[dict[str, OnnxWeight], list[str]]:
    """Return the weight of each layer of an image, by the name of its initializer.

    Returns:
        The layers whose initializer has exactly the right codes wherever it is used, and a sentence for each other.
    """
    matched: dict[str, OnnxWeight] = {}
    problems: list[str] = []
    for name, codes in image.codes.items():
        uses = [w for w in weights if w.initializer == names[name]]
        if not uses:
            there = ", ".join(dict.fromkeys(w.initializer for w in weights)) or "none"
            problems.append(f"layer {name!r}: no quantized weight {names[name]!r} in the graph; it has {there}")
            continue
        wrong = next((w for w in uses if w.codes.shape != codes.shape or not np.array_equal(w.codes, codes)), None)
        if wrong is None:
            matched[name] = uses[0]
        elif wrong.codes.shape != codes.shape:
            problems.append(f"layer {name!r}: {wrong.initializer!r} has shape {wrong.codes.shape}, expected {codes.shape}")
        else:
            problems.append(f"layer {name!r}: {code_difference(image.placement.layer(name), wrong, codes)}")
    return matched, problems


def matched_weights(
    weights: Sequence[OnnxWeight], image: MemoryImage, scales: Mapping[str, Array]
) -> tuple[dict[str, OnnxWeight], list[str]]:
    """Match the layers of an image with the weights of a graph without layer names; each weight is used once.

    Returns:
        The layers found with exactly the right codes, and a sentence for each that was not, naming the closest weight of the
        same shape and where it differs.
    """
    left = list(weights)
    matched: dict[str, OnnxWeight] = {}
    problems: list[str] = []
    unclear: set[str] = set()

    def fits(weight: OnnxWeight, name: str) -> tuple[bool, bool]:
        scale = np.asarray(scales.get(name, weight.scale)).reshape(-1)
        own_name = weight.initializer.startswith((f"{name}.", f"/{name.replace('.', '/')}/")) or weight.initializer == name
        return np.array_equal(weight.scale.reshape(-1), scale), own_name

    for name, codes in image.codes.items():
        equal = [w for w in left if w.codes.shape == codes.shape and np.array_equal(w.codes, codes)]
        if codes.ndim == 1 and len(equal) > 1:
            # Two biases may well be equal, such as all zeros; which is whose, only the exporter's name says.
            equal = [w for w in equal if w.initializer == name]
            if not equal:
                problems.append(
                    f"layer {name!r}: several biases of the graph have its codes, and their names do not say which is its own"
                )
                unclear.add(name)
        if equal:
            matched[name] = max(equal, key=lambda w: fits(w, name))
            left.remove(matched[name])
    for name, codes in image.codes.items():
        if name in matched or name in unclear:
            continue
        layer = image.placement.layer(name)
        same_shape = [w for w in left if w.codes.shape == codes.shape]
        if not same_shape:
            shapes = ", ".join(str(w.codes.shape) for w in weights) or "none"
            problems.append(f"layer {name!r}: no quantized weight of shape {codes.shape} left in the graph; it has {shapes}")
            continue
        nearest = min(same_shape, key=lambda w: int((w.codes != codes).sum()))
        left.remove(nearest)
        problems.append(f"layer {name!r}: {code_difference(layer, nearest, codes)}")
    return matched, problems


def code_difference(layer: PlacedLayer, weight: OnnxWeight, codes: Array) -> str:
    """Describe how a graph's codes differ from the trained ones; both have the same shape and are not equal."""
    wrong = np.argwhere(weight.codes != codes)
    first = tuple(int(i) for i in wrong[0])
    text = (
        f"{len(wrong)} of {codes.size} codes differ in {weight.initializer!r}, the first at "
        f"[{','.join(map(str, first))}]: {weight.codes[first]} in the file, {codes[first]} trained"
    )
    lowest = -(1 << (layer.bit_width - 1))
    if layer.signed and np.all(codes[weight.codes != codes] == lowest):
        text += f"; the file clips {lowest} away"
    return text


def output_errors(path: str | os.PathLike[str], inputs: Arrays, outputs: Arrays) -> NDArray[np.float64]:
    """Run a QCDQ file with onnxruntime and compare its outputs with the expected ones.

    Args:
        path: The file.
        inputs: An array, or one for each input of the file.
        outputs: Expected outputs: an array, or one for each output.

    Returns:
        For each input, the largest difference to the expected output, relative to the largest number of that output.

    Raises:
        ValueError: If the file cannot be run, or its outputs have another number or shape.
    """
    actual, expected = several(onnx_runner(path)(*several(inputs))), several(outputs)
    if len(expected) == 1:
        actual = actual[:1]  # earlier versions wrote scale and zero point of a QuantTensor as outputs of their own
    if [f.shape for f in actual] != [e.shape for e in expected]:
        shapes = (", ".join(str(x.shape) for x in arrays) for arrays in (actual, expected))
        raise ValueError("{}: outputs of shape {}, expected {}".format(path, *shapes))
    count = len(several(inputs)[0])
    errors = []
    for f, e in zip(actual, expected, strict=True):
        wrong = np.abs(f.astype(np.float64) - e)
        rows = wrong.reshape(count, -1) if wrong.ndim and len(wrong) == count else wrong.reshape(1, -1)
        errors.append(np.broadcast_to(rows.max(axis=1) / max(float(np.abs(e).max()), 1e-30), count))
    return np.asarray(np.max(errors, axis=0))


def several(arrays: Arrays) -> tuple[Array, ...]:
    """Return a tuple: a single array becomes a tuple of one."""
    return tuple(np.asarray(a) for a in arrays) if isinstance(arrays, (tuple, list)) else (np.asarray(arrays),)
