"""What FINN makes of a bundle: folded integer weights, and the memories of its matrix-vector units.

    python export/finn/memories.py out/digits/group_0 --folding export/finn/digits_folding.json --out out/finn
    python export/finn/memories.py group_0 --folding folding.json --out out/finn --orders orders.npz --chips A7.npz

Reads the QONNX file as FINN's front end does (clean-up, then each weight's Quant node folded into integers with a datatype
annotation) and compares with the bundle's codes; then writes one ``.dat`` file a layer for the given PE and SIMD, and says
which accumulators FINN would size from the trained codes and which the fleet needs. With the orders of ``tremap order`` and
chips, each chip gets a folder of its own, with the memories in its order and what else there is one of for each channel. FINN
itself is not run. Ends with 1 if a weight is not what was trained, or an order does not hold on its chip.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.general.quant import quant
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.infer_datatypes import InferDataTypes
from qonnx.util.basic import get_by_name
from qonnx.util.cleanup import cleanup_model

import tremap_brevitas as tm
from tremap_brevitas.bundle.accumulators import accumulator_ranges, accumulator_type
from tremap_brevitas.bundle.in_order import KnownOrders
from tremap_brevitas.bundle.layers import bundle_layers
from tremap_brevitas.onnx_files import load_onnx
from tremap_brevitas.placement import LayerCodes, finn_dat, finn_placement

QUANTIZERS = ("Quant", "IntQuant")


def folded_weights(path: Path) -> dict[str, tuple[str, NDArray[Any]]]:
    """Datatype and integers of every weight of a QONNX file after its Quant node is folded, by name of the initializer.

    The clean-up renames initializers and turns some; each Quant node carries the name along, and what it feeds tells the turn.
    """
    model = ModelWrapper(str(path))
    for node in model.graph.node:
        if node.op_type in QUANTIZERS and model.get_initializer(node.input[0]) is not None:
            node.doc_string = node.input[0]
    model = cleanup_model(model).transform(InferDataTypes())
    weights = {}
    for node in model.graph.node:
        if node.op_type not in QUANTIZERS or model.get_initializer(node.input[0]) is None:
            continue
        value, scale, zero_point, bits = (model.get_initializer(name) for name in node.input[:4])
        if value.ndim < 2:
            continue
        operator = getCustomOp(node)
        signed, narrow = operator.get_nodeattr("signed"), operator.get_nodeattr("narrow")
        read = quant(value, scale, zero_point, bits, signed, narrow, operator.get_nodeattr("rounding_mode"))
        codes = np.rint(read / scale + zero_point)
        taker = model.find_consumer(node.output[0])
        turned = get_by_name(taker.attribute, "transB") if taker is not None and taker.op_type == "Gemm" else None
        if taker is not None and taker.op_type in ("Gemm", "MatMul") and not (turned is not None and turned.i):
            codes = codes.T  # (inputs, outputs) there
        weights[node.doc_string] = operator.get_integer_datatype(model).name, codes
    return weights


def main(arguments: list[str] | None = None) -> int:
    """Fold, compare, write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a bundle")
    parser.add_argument("--folding", type=Path, required=True, help='JSON: {"layer": {"PE": 2, "SIMD": 8}, …}')
    parser.add_argument("--out", type=Path, required=True, help="folder for the .dat files")
    parser.add_argument("--orders", type=Path, help="file of tremap order: memories for each chip, in its own order")
    parser.add_argument("--chips", type=Path, nargs="+", help="with --orders: fault maps of chips (.npz)")
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None


def _run(options: argparse.Namespace) -> int:
    bundle = tm.Bundle.load(options.bundle)
    try:
        folding = json.loads(options.folding.read_text())
    except ValueError as error:
        raise SystemExit(f"{options.folding}: no JSON ({error})") from None
    biases = [name for name, codes in bundle.image.codes.items() if codes.ndim == 1]
    if biases:
        raise SystemExit(f"{options.bundle}: FINN keeps biases in thresholds, not in weight memories; place without {biases}")
    bad = compare(bundle)
    by_name = {layer.name: layer for layer in bundle_layers(bundle)}
    layers = [by_name[placed.name] for placed in bundle.image.placement.layers]
    image = finn_image(bundle, layers, folding, options.folding)
    if (options.orders is None) != (options.chips is None):
        raise SystemExit("give --orders and --chips together")
    if options.orders is None:
        write_memories(image, folding, options.out)
    else:
        if image is not bundle.image:
            raise SystemExit(f"{options.orders}: an order is of the cells that its bundle was placed in, and these are others")
        bad += write_in_order(bundle, KnownOrders(bundle, options.orders), folding, options.out, options.chips)
    tell_accumulators(bundle)
    return int(bad > 0)


def write_memories(image: tm.MemoryImage, folding: dict[str, Any], out: Path) -> None:
    """Write one file a layer."""
    out.mkdir(parents=True, exist_ok=True)
    for placed in image.placement.layers:
        path = out / f"{placed.name}.as_written.dat"
        path.write_text(finn_dat(image, placed.name))
        said = folding[placed.name]
        print(f"{path}: {placed.words} words of {said['PE']} × {said['SIMD']} × {placed.bit_width} bits")


def write_in_order(bundle: tm.Bundle, orders: KnownOrders, folding: dict[str, Any], out: Path, chips: list[Path]) -> int:
    """Write the memories of each chip in its order, and which channel each slot holds; return how many orders do not hold.

    ``channels.json`` says for every layer which output channel each row of its unit is, and its scales in that order. FINN's
    thresholds, made of biases, BatchNorms and scales, must be in that order too.
    """
    bad = 0
    for path in chips:
        chip = tm.FaultMap.load(path)
        (order, problems), folder = orders.without_hardware(chip, flow="FINN"), out / path.stem
        bad += bool(problems)
        for problem in problems:
            print(f"{path}: NOT as the order says: {problem}")
        write_memories(order.image, folding, folder)
        described, turned = {}, _turned(bundle)
        for layer in bundle.manifest.layers:
            channels = order.channels(layer.name, axis=int(layer.name in turned))
            scale = np.asarray(layer.scale)
            scales = (scale[channels] if len(scale) > 1 else scale).tolist()
            described[layer.name] = {"channels": channels.tolist(), "scale": scales}
        (folder / "channels.json").write_text(json.dumps(described) + "\n")
        verdict = "exact" if order.exact else f"{order.wrong} codes wrong"
        print(f"{folder}: chip {chip.chip!r} in its order, {verdict}")
    return bad


def _turned(bundle: tm.Bundle) -> set[str]:
    """Transposed convolutions: their weights have the outputs on axis 1."""
    return {layer.name for layer in bundle_layers(bundle) if layer.transposed}


def compare(bundle: tm.Bundle) -> int:
    """Compare the folded weights with the codes; return how many layers are wrong."""
    if "qonnx" not in bundle.manifest.onnx:
        raise SystemExit(f"{bundle.folder}: has no QONNX file, which FINN begins with")
    folded = folded_weights(bundle.folder / bundle.manifest.onnx["qonnx"])
    bad = 0
    for layer in bundle.manifest.layers:
        codes = bundle.image.codes[layer.name]
        kind = f"{'INT' if layer.signed else 'UINT'}{layer.bit_width}"
        if np.any(np.asarray(layer.zero_point)):
            raise SystemExit(f"layer {layer.name!r}: FINN needs zero point 0, this layer's is {layer.zero_point[0]:g}")
        name, values = folded.get(layer.initializers["qonnx"], ("", np.zeros(0)))
        if name != kind or not np.array_equal(values, codes):
            bad += 1
            print(f"{layer.name}: NOT among the folded weights of the file")
            continue
        inside = DataType[kind].allowed(values.min()) and DataType[kind].allowed(values.max())
        bad += not inside
        print(f"{layer.name}: {codes.size} folded weights, {'' if inside else 'NOT '}{kind}, equal to the codes")
    return bad


def finn_image(bundle: tm.Bundle, layers: list[LayerCodes], folding: dict[str, Any], path: Path) -> tm.MemoryImage:
    """The bundle's codes in FINN's layout: its own image if it was trained with that."""
    trained = bundle.image.placement
    try:
        parallel = {layer.name: int(folding[layer.name]["PE"]) * int(folding[layer.name]["SIMD"]) for layer in layers}
        width = max(parallel[layer.name] * layer.bit_width for layer in layers)
        words = sum(-(-int(np.prod(layer.shape)) // max(parallel[layer.name], 1)) for layer in layers)
        memory = tm.Memory(words=max(words, trained.memory.words), word_bits=max(width, trained.memory.word_bits))
        placement = finn_placement(layers, memory, folding=folding)
    except (KeyError, TypeError) as error:
        raise SystemExit(f"{path}: layer without PE and SIMD: {error}") from None
    except ValueError as error:
        raise SystemExit(f"{path}: {error}") from None
    if placement == trained:
        print("The bundle was trained with this placement: its chips' stuck cells are cells of these memories.")
        return bundle.image
    print(
        "The bundle was trained with another placement. The memories hold the codes that were trained, but the stuck cells "
        "of its chips lie elsewhere in them: before training, place the model with layout=finn_placement (see README)."
    )
    return tm.MemoryImage(placement, bundle.image.codes)


def tell_accumulators(bundle: tm.Bundle) -> None:
    """Say which accumulators FINN sizes from the trained codes, and which the fleet needs."""
    names = {layer.name: layer.initializers["qonnx"] for layer in bundle.manifest.layers}
    trained = accumulator_ranges(load_onnx(bundle.folder / bundle.manifest.onnx["qonnx"]), names, bundle.image)
    for name in names:
        fleet = (bundle.manifest.accumulators or {}).get(name)
        if name not in trained:
            print(f"{name}: its input is not quantized, so that its sums have no bound")
        elif fleet is None:
            print(f"{name}: sums fit {accumulator_type(trained[name])}; the bundle does not say what its chips need")
        else:
            kinds = accumulator_type(trained[name]), accumulator_type(fleet)
            wider = "" if kinds[0] == kinds[1] else f", WIDER than {kinds[0]}, which FINN takes for the trained codes"
            print(f"{name}: sums of every chip lie in {fleet[0]} to {fleet[1]}, {kinds[1]}{wider}")


if __name__ == "__main__":
    sys.exit(main())
