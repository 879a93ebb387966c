"""What FINN makes of a bundle: folded integer weights, and the memories of its matrix-vector units.

    python export/finn/memories.py out/digits/group_0 --folding export/finn/digits_folding.json --out out/finn

Reads the QONNX file as FINN's front end does (clean-up, then each weight's Quant node folded into integers with a datatype
annotation) and compares with the bundle's codes; then writes one ``.dat`` file a layer for the given PE and SIMD. FINN itself
is not run. Ends with 1 if a weight is not what was trained.
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
from qonnx.util.cleanup import cleanup_model

import tremap_brevitas as tm
from tremap_brevitas.placement import LayerCodes, finn_dat, finn_placement


def folded_weights(path: Path) -> dict[str, tuple[str, NDArray[Any]]]:
    """Integers and datatype of every weight of a QONNX file after its Quant node is folded, by name of the initializer."""
    model = cleanup_model(ModelWrapper(str(path))).transform(InferDataTypes())
    found = {}
    for node in model.graph.node:
        if node.op_type != "Quant" or model.get_initializer(node.input[0]) is None:
            continue
        value, scale, zero_point, bits = (model.get_initializer(name) for name in node.input[:4])
        if value.ndim < 2:
            continue
        operator = getCustomOp(node)
        signed, narrow = operator.get_nodeattr("signed"), operator.get_nodeattr("narrow")
        read = quant(value, scale, zero_point, bits, signed, narrow, operator.get_nodeattr("rounding_mode"))
        found[node.input[0]] = operator.get_integer_datatype(model).name, np.rint(read / scale + zero_point)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Fold, compare, write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a bundle")
    parser.add_argument("--folding", type=Path, required=True, help='JSON: {"layer": {"PE": 2, "SIMD": 8}, …}')
    parser.add_argument("--out", type=Path, required=True, help="folder for the .dat files")
    options = parser.parse_args(arguments)
    bundle = tm.Bundle.load(options.bundle)
    folding = {name: (entry["PE"], entry["SIMD"]) for name, entry in json.loads(options.folding.read_text()).items()}
    biases = [name for name, codes in bundle.image.codes.items() if codes.ndim == 1]
    if biases:
        raise SystemExit(f"{options.bundle}: FINN keeps biases in thresholds, not in weight memories; place without {biases}")
    left = list(folded_weights(options.bundle / bundle.manifest.onnx["qonnx"]).values())
    bad = 0
    for layer in bundle.manifest.layers:
        codes = bundle.image.codes[layer.name]
        kind = f"{'INT' if layer.signed else 'UINT'}{layer.bit_width}"
        if np.any(np.asarray(layer.zero_point)):
            raise SystemExit(f"layer {layer.name!r}: FINN needs zero point 0, this layer's is {layer.zero_point[0]:g}")
        match = next((i for i, (name, w) in enumerate(left) if name == kind and np.array_equal(w, codes)), None)
        bad += match is None
        if match is None:
            print(f"{layer.name}: NOT among the folded weights of the file")
            continue
        values = left.pop(match)[1]
        inside = DataType[kind].allowed(values.min()) and DataType[kind].allowed(values.max())
        bad += not inside
        print(f"{layer.name}: {codes.size} folded weights, {'' if inside else 'NOT '}{kind}, equal to the codes")
    layers = [LayerCodes(x.name, x.shape, x.bit_width, x.encoding) for x in bundle.image.placement.layers]
    width = max(pe * simd * next(x.bit_width for x in layers if x.name == name) for name, (pe, simd) in folding.items())
    words = sum(int(np.prod(x.shape)) // (folding[x.name][0] * folding[x.name][1]) for x in layers if x.name in folding)
    memory = tm.Memory(words=words, word_bits=width)
    trained = bundle.image.placement
    if len(trained.layers) == len(layers) and _same_cells(trained, layers, folding):
        image, memory = bundle.image, trained.memory
        print("The bundle was trained with this placement: its chips' stuck cells are cells of these memories.")
    else:
        image = tm.MemoryImage(finn_placement(layers, memory, folding=folding), bundle.image.codes)
        print(
            "The bundle was trained with another placement. The memories hold the codes that were trained, but the stuck cells "
            "of its chips lie elsewhere in them: before training, place the model with layout=finn_placement (see README)."
        )
    options.out.mkdir(parents=True, exist_ok=True)
    for placed in image.placement.layers:
        path = options.out / f"{placed.name}.as_written.dat"
        path.write_text(finn_dat(image, placed.name))
        pe, simd = folding[placed.name]
        print(f"{path}: {placed.words} words of {pe} × {simd} × {placed.bit_width} bits")
    return int(bad > 0)


def _same_cells(trained: tm.Placement, layers: list[LayerCodes], folding: dict[str, tuple[int, int]]) -> bool:
    try:
        return trained == finn_placement(layers, trained.memory, folding=folding)
    except ValueError:  # its words are too narrow, or too few
        return False


if __name__ == "__main__":
    sys.exit(main())
