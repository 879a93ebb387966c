"""Describe the layers of a bundle for a layout, from its files alone."""

from __future__ import annotations

from tremap_brevitas.bundle.read import Bundle
from tremap_brevitas.onnx_files.layer_inputs import layer_inputs
from tremap_brevitas.onnx_files.weights import load_onnx
from tremap_brevitas.placement import LayerCodes


def bundle_layers(bundle: Bundle) -> list[LayerCodes]:
    """Return the layers with a matrix or a kernel, without biases, in graph order, as described in the QONNX file.

    Raises:
        ValueError: If the bundle has no QONNX file, or it does not use a layer's weight in one way.
    """
    if "qonnx" not in bundle.manifest.onnx:
        raise ValueError(f"{bundle.folder}: has no QONNX file, which says what the layers are; export it with onnx_forms")
    layers = {layer.name: layer for layer in bundle.manifest.layers if len(layer.shape) > 1}
    graph = load_onnx(bundle.folder / bundle.manifest.onnx["qonnx"])
    inputs = layer_inputs(graph, {name: layer.initializers["qonnx"] for name, layer in layers.items()})
    unclear = next((name for name in layers if name not in inputs), None)
    if unclear is not None:
        raise ValueError(f"{bundle.folder}: layer {unclear!r}: its weight goes into no known operator of the QONNX file")
    placed = bundle.image.placement
    return [
        LayerCodes(
            name,
            layers[name].shape,
            layers[name].bit_width,
            placed.layer(name).encoding,
            layer_input.groups,
            layer_input.operator == "ConvTranspose",
            None if len(layers[name].shape) > 2 else layer_input.channels,
        )
        for name, layer_input in inputs.items()
    ]
