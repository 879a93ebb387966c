"""Write the network that one chip really computes as an ONNX file. Needs neither torch nor Brevitas."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from tremap_brevitas.bundle.in_order import read_in_own_order
from tremap_brevitas.bundle.manifest import Form
from tremap_brevitas.bundle.read import Bundle
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.files import atomic_file
from tremap_brevitas.onnx_files.graph import set_weight
from tremap_brevitas.onnx_files.weights import OnnxWeight, load_onnx, metadata_of, onnx_weights, set_metadata
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.certificate import certificate, certificate_of

if TYPE_CHECKING:
    from tremap_brevitas.order import ChipOrder


def apply_to_onnx(
    bundle: str | os.PathLike[str] | Bundle,
    fault_map: FaultMap,
    path: str | os.PathLike[str],
    *,
    form: Form = "qcdq",
    image: MemoryImage | None = None,
    order: ChipOrder | None = None,
) -> Path:
    """Write an ONNX file with the weights that one chip reads from its memory, to run it without PyTorch.

    With ``order`` the chip holds the network's channels in an order of its own. The file then holds the codes that it reads,
    *put back into the network's own order*: its weights are not permuted, nor are biases, BatchNorms and scales. It is the same
    network; for a chip that is exact in its order it has exactly the bundle's integers. The words to write into the chip are
    those in its order, ``order.image``, which ``write_memory_image`` writes; with hardware ``order.words``, which
    [write_chip_words][tremap_brevitas.order.write_chip_words] writes. To get the graph itself in the chip's order, apply the
    order to the model ([apply_order_][tremap_brevitas.apply_order_]) and export that.

    Args:
        bundle: The folder of a bundle, or one that was loaded before.
        fault_map: The chip's own fault map; of a chip whose order has hardware, that of its memory with flags and amounts.
        path: File to write, atomically. Its metadata names the chip.
        form: Which of the bundle's files to start from.
        image: Codes that are written into the chip, such as those of [patch][tremap_brevitas.patching.patch]; None for the
            bundle's image for it.
        order: The chip's order of channels; None if it holds the network in its own order. Not together with ``image``.

    Returns:
        The path written.

    Raises:
        FileNotFoundError: If there is no such bundle.
        ValueError: If the bundle is not what was exported, has no file of that form, or map or image are of
            another memory or placement, the order is of another chip, network or groups of channels, or both image and order
            are given.
    """
    if not isinstance(bundle, Bundle):
        bundle = Bundle.load(bundle)
    if form not in bundle.manifest.onnx:
        raise ValueError(f"form must be one of {', '.join(bundle.manifest.onnx)}, got {form!r}")
    if image is not None and image.placement.digest != bundle.image.placement.digest:
        raise ValueError(f"{bundle.folder}: image is in another placement than the bundle's")
    if image is not None and order is not None:
        raise ValueError("give image or order, not both: an order has the image of its chip")
    if order is not None:
        image = order.image
        proof = certificate_of(fault_map.chip, bundle.image, read_in_own_order(bundle, fault_map, order))
    elif image is not None:
        proof = certificate_of(fault_map.chip, bundle.image, certificate(image, fault_map).read())
    else:
        proof = bundle.certificate(fault_map)
    read = proof.read()
    graph = load_onnx(bundle.folder / bundle.manifest.onnx[form])
    names = {layer.name: layer.initializers[form] for layer in bundle.manifest.layers}
    about = metadata_of(graph) or {}
    if about.get("schema") in (None, 1):
        _check_names(bundle, names, onnx_weights(graph), [difference.layer for difference in proof.differences])
    for difference in proof.differences:
        layer, name = difference.layer, f"{difference.layer}.as_read"
        set_weight(graph, {names[layer]}, read[layer], name)
        names[layer] = name
    reader = {"chip": fault_map.chip, "digest": fault_map.digest, **({} if image is None else {"image": image.digest})}
    if order is not None:
        reader["in_order"] = "yes"  # the image's words are in the chip's order, the file's weights in the network's own
        if order.hardware is not None:
            reader["hardware"] = str(order.hardware.hardware)  # lies between the image's words and the chip's cells
    set_metadata(graph, {**about, "layers": names, "read_by": reader})
    weights = onnx_weights(graph)
    for layer, initializer in names.items():
        uses = [weight.codes for weight in weights if weight.initializer == initializer]
        if not uses or not all(np.array_equal(codes, read[layer]) for codes in uses):
            raise ValueError(f"{bundle.folder}: layer {layer!r}: its graph does not take the codes that the chip reads")
    with atomic_file(path) as draft:
        onnx.save(graph, str(draft))
    return Path(path)


def _check_names(bundle: Bundle, names: Mapping[str, str], weights: Sequence[OnnxWeight], layers: Iterable[str]) -> None:
    """Check that a file of schema 1 states which weights of the graph belong to these layers.

    Schema 1 identified weights by their codes, so that equal layers could be mistaken for each other, and two copies for one.
    """
    for layer in layers:
        name, codes = names[layer], bundle.image.codes[layer]
        twins = {w.initializer for w in weights if w.codes.shape == codes.shape and np.array_equal(w.codes, codes)} - {name}
        if twins or list(names.values()).count(name) > 1:
            raise ValueError(
                f"{bundle.folder}: layer {layer!r} has the codes of another one, or is used twice, and an older version of "
                f"tremap_brevitas did not write down which of the graph's weights are its own; export the bundle again"
            )
