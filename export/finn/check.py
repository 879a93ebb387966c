"""Does FINN hold a bundle's weights? Compare FINN's model, or its memories, with the bundle, layer by layer.

    python export/finn/check.py out/digits/group_0 --model finn_build/intermediate_models/step_specialize_layers.onnx
    python export/finn/check.py out/digits/group_0 --folding folding.json --dat classifier=…/memblock.dat features.3=…
    python export/finn/check.py group_0 --folding folding.json --dat classifier=… --orders orders.npz --chip A7.npz

Says of each layer: equal; permuted (rows or columns in another order); negated (which output channels: FINN folds the sign of a
negative BatchNorm factor into them); different (which weight is the first); missing; elsewhere (the bundle was not trained with
the cells of this unit, so that its stuck cells are others). Layers are matched by their order in the graph and their size;
where that leaves a choice, --layer settles it. With the orders of ``tremap order`` and a chip, the weights must be those that
``memories.py`` writes for this chip. Needs neither FINN nor qonnx. Ends with 1 unless all that is found is allowed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

import tremap_brevitas as tm
from tremap_brevitas.bundle.in_order import KnownOrders
from tremap_brevitas.bundle.layers import bundle_layers
from tremap_brevitas.onnx_files import load_onnx
from tremap_brevitas.placement import LayerCodes, finn_placement
from tremap_brevitas.placement.finn import finn_matrix, flattened_channels, is_depthwise
from tremap_brevitas.placement.layer import parameter_of

Array = NDArray[Any]
OLD_NAMES = {"MatrixVectorActivation": "MVAU", "VectorVectorActivation": "VVAU"}
TORCH_ORDER = "columns by channel, row, pixel as torch flattens them: RemoveCNVtoFCFlatten has not run"
Problems = tuple[set[str], list[str]]  # what is wrong with a layer, in one word and in a sentence


class Unit(NamedTuple):
    """One node of FINN's model that holds a weight."""

    name: str
    operator: str
    weight: Array
    attributes: dict[str, Any]

    @property
    def kind(self) -> str:
        """MVAU, VVAU, MatMul, Conv or ConvTranspose, for units made in HLS and in RTL alike."""
        kind = self.operator.split("_")[0]
        return OLD_NAMES.get(kind, kind)

    def matrix(self, layer: LayerCodes) -> Array | None:
        """Its weight as one row an output, the columns in its own order; None if it cannot be that layer's."""
        weight, (rows, columns) = self.weight, finn_matrix(layer).shape
        if len(layer.shape) == 3 and weight.shape == (*layer.shape, 1):  # FINN gives one-dimensional kernels a second dimension
            weight = weight[..., 0]
        if self.kind in ("Conv", "ConvTranspose"):
            same = weight.shape == layer.shape and layer.transposed == (self.kind == "ConvTranspose")
            return weight.reshape(-1)[finn_matrix(layer)] if same else None
        if self.kind == "VVAU":
            return weight.reshape(rows, columns) if is_depthwise(layer) and weight.shape == layer.shape else None
        if not is_depthwise(layer):
            return weight.T if weight.shape == (columns, rows) else None
        if self.kind == "MVAU" or weight.shape != (rows * columns, rows):
            return None
        cube = weight.T.reshape(rows, columns, rows)  # (outputs, kernel, inputs), with nothing beside the diagonal
        own = np.stack([cube[row, :, row] for row in range(rows)])
        return own if np.count_nonzero(weight) == np.count_nonzero(own) else None


def units(model: ModelProto) -> list[Unit]:
    """Nodes with a constant weight, in the order of the graph."""
    known = {i.name: i for i in model.graph.initializer}
    graph_units = []
    for node in model.graph.node:
        if len(node.input) < 2 or node.input[1] not in known:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        weight = numpy_helper.to_array(known[node.input[1]])
        unit = Unit(node.name or node.output[0], node.op_type, weight, attributes)
        if unit.kind in ("MVAU", "VVAU", "MatMul", "Conv", "ConvTranspose") and weight.ndim > 1:
            graph_units.append(unit)
    return graph_units


def matched(layers: Sequence[LayerCodes], graph_units: Sequence[Unit], said: dict[str, str]) -> dict[str, Unit]:
    """Which unit holds which layer: as the user says, the others in order and by size, if that leaves one way only."""
    nodes, names = {unit.name: unit for unit in graph_units}, [layer.name for layer in layers]
    for layer, node in said.items():
        if layer not in names or node not in nodes:
            raise SystemExit(f"--layer {layer}={node}: the layers are {', '.join(names)}, the nodes {', '.join(nodes)}")
    layers = [layer for layer in layers if layer.name not in said]
    graph_units = [unit for unit in graph_units if unit.name not in said.values()]
    fits = [[unit.matrix(layer) is not None for unit in graph_units] for layer in layers]

    ours_longer = len(layers) > len(graph_units)

    @cache
    def ways(i: int, j: int) -> list[tuple[tuple[int, int], ...]]:
        """Up to two ways to match the rest in order, so that nothing of the shorter side is left alone."""
        long, short = len(layers) - i, len(graph_units) - j
        if not ours_longer:
            long, short = short, long
        if short == 0:
            return [()]
        if long < short:
            return []
        pairs: list[tuple[tuple[int, int], ...]] = [((i, j), *rest) for rest in ways(i + 1, j + 1)] if fits[i][j] else []
        return (pairs + ways(i + ours_longer, j + (not ours_longer)))[:2]

    both = ways(0, 0)
    if len(both) != 1:
        raise SystemExit(
            f"{'more than one way' if both else 'no way'} to match the layers "
            f"({', '.join(f'{layer.name} {layer.shape}' for layer in layers)}) with FINN's nodes "
            f"({', '.join(f'{unit.name} {unit.weight.shape}' for unit in graph_units)}) by order and size; "
            f"say --layer NAME=NODE"
        )
    return {layer: nodes[node] for layer, node in said.items()} | {layers[i].name: graph_units[j] for i, j in both[0]}


def compare(layer: LayerCodes, codes: Array, matrix: Array, channels: int | None) -> Problems:
    """Compare a matrix, one row an output, with the codes that were trained."""
    orders = [("", finn_matrix(layer, channels)), (TORCH_ORDER, finn_matrix(layer))]
    results = []
    for text, order in orders:
        wanted = codes.reshape(-1)[order].astype(np.float64)
        flipped = np.all(matrix == -wanted, axis=1) & np.any(wanted, axis=1)
        results.append(((matrix != wanted) & ~flipped[:, None], flipped, text, order, wanted))
    wrong, flipped, text, order, wanted = min(results, key=lambda result: int(result[0].sum()))  # the first of equal ones
    if wrong.any():
        other = _another_order(wanted, matrix)
        if other is None:
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            weight = parameter_of(layer.name, np.unravel_index(order[row, column], layer.shape))
            first = f"{weight}: {matrix[row, column]:g}, trained {wanted[row, column]:g}"
            return {"different"}, [f"{wrong.sum()} of {wrong.size} weights differ, the first is {first}"]
        text, flipped = other
    kinds, texts = ({"permuted"}, [text]) if text else (set(), [])
    if flipped.any():
        kinds.add("negated")
        texts.append(f"output channels {', '.join(map(str, np.flatnonzero(flipped)))} negated")
    return kinds, texts


def _another_order(wanted: Array, matrix: Array) -> tuple[str, Array] | None:
    """Whether another order of the columns with some rows negated, or of the rows, makes two matrices equal."""
    same, turned = (np.all(np.sort(matrix) == np.sort(sign * wanted), axis=1) for sign in (1, -1))
    flipped = turned & ~same
    signed = np.where(flipped[:, None], -wanted, wanted)
    if np.array_equal(_in_order(signed.T), _in_order(matrix.T)):
        return f"columns in another order, from column {np.argmax(np.any(signed != matrix, axis=0))} on", flipped
    if np.array_equal(_in_order(wanted), _in_order(matrix)):
        return f"output channels in another order, from {np.argmax(np.any(wanted != matrix, axis=1))} on", np.zeros(
            0, dtype=bool
        )
    return None


def _in_order(rows: Array) -> Array:
    ordered: Array = rows[np.lexsort(rows.T[::-1])]
    return ordered


def compare_cells(bundle: tm.Bundle, layer: LayerCodes, folding: dict[str, Any]) -> Problems:
    """Compare the cells that the bundle was trained with, with those of a unit."""
    placed = bundle.image.placement.layer(layer.name)
    memory = tm.Memory(words=placed.size, word_bits=folding["PE"] * folding["SIMD"] * layer.bit_width)
    (own,) = finn_placement([layer], memory, folding={layer.name: folding}).layers
    first, second = (np.arange(placed.size) if x.order is None else x.order for x in (own, placed))
    if own.codes_per_word == placed.codes_per_word and np.array_equal(first, second):
        return set(), []
    return {"elsewhere"}, [f"the bundle was not trained with the cells of PE {folding['PE']}, SIMD {folding['SIMD']}"]


def check_unit(bundle: tm.Bundle, layer: LayerCodes, codes: Array, unit: Unit, said: dict[str, Any]) -> Problems:
    """Compare a node of FINN's model with the codes of a layer."""
    channels, matrix = flattened_channels(layer, said.get("input_shape")), unit.matrix(layer)
    if matrix is None:
        raise SystemExit(f"--layer {layer.name}={unit.name}: {unit.operator} {unit.weight.shape} cannot be {layer.shape}")
    kinds, texts = compare(layer, codes, matrix, channels)
    bits = unit.attributes.get("weightDataType", b"").decode()
    trained = f"{'UINT' if layer.encoding == 'binary' else 'INT'}{layer.bit_width}"
    if bits not in ("", trained):
        kinds.add("different")
        texts.append(f"weightDataType {bits}, trained {trained}: minimize_weight_bit_width must stay off")
    if unit.kind not in ("MVAU", "VVAU"):
        return kinds, texts
    folding = {**said, **{key: int(unit.attributes.get(key, 1)) for key in ("PE", "SIMD")}}
    for key in sorted(said.keys() & {"PE", "SIMD"}):
        if said[key] != folding[key]:
            kinds.add("elsewhere")
            texts.append(f"{key} {folding[key]}, in the folding {said[key]}")
    if "_" in unit.operator:
        folding["unit"] = unit.operator
    cells = compare_cells(bundle, layer, folding)
    return kinds | cells[0], texts + cells[1]


def check_dat(bundle: tm.Bundle, layer: LayerCodes, codes: Array, path: Path, said: dict[str, Any]) -> Problems:
    """Compare a memory as FINN wrote it with the codes of a layer."""
    if not {"PE", "SIMD"} <= said.keys():
        raise SystemExit(f"--dat {layer.name}={path}: give PE and SIMD of this layer with --folding")
    parallel = max(int(said["PE"]) * int(said["SIMD"]), 1)
    memory = tm.Memory(words=max(int(np.prod(layer.shape)) // parallel, 1), word_bits=parallel * layer.bit_width)
    placement = finn_placement([layer], memory, folding={layer.name: said})
    words = []
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        digits = -(-memory.word_bits // 4)
        if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", line.strip()) or int(line, 16) >> memory.word_bits:
            raise SystemExit(
                f"{path}:{number}: {line[:40]!r} is not a word of {memory.word_bits} bits in {digits} hexadecimal digits"
            )
        words.append(int(line, 16))
    if len(words) != memory.words:
        raise SystemExit(
            f"{path}: {len(words)} words, PE {said['PE']} and SIMD {said['SIMD']} of layer {layer.name!r} make {memory.words}"
        )
    held = tm.MemoryImage.from_words(placement, words).codes[layer.name]
    channels = flattened_channels(layer, said.get("input_shape"))
    kinds, texts = compare(layer, codes, held.reshape(-1)[finn_matrix(layer, channels)], channels)
    cells = compare_cells(bundle, layer, said)
    return kinds | cells[0], texts + cells[1]


def main(arguments: list[str] | None = None) -> int:
    """Compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a bundle")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, help="FINN's model, as ONNX, after any of its transformations")
    source.add_argument("--dat", type=_pair, nargs="+", metavar="NAME=FILE", help="memblock.dat of each layer")
    parser.add_argument("--folding", type=Path, help='JSON: {"layer": {"PE": 2, "SIMD": 8}, …}; needed for --dat')
    parser.add_argument("--layer", type=_pair, nargs="+", default=[], metavar="NAME=NODE", help="which node holds which layer")
    choices = ("permuted", "negated", "missing", "elsewhere")
    parser.add_argument("--allow", choices=choices, nargs="+", default=[], help="findings that are no reason to end with 1")
    parser.add_argument("--orders", type=Path, help="file of tremap order; with --chip: what FINN holds is in its order")
    parser.add_argument("--chip", type=Path, help="with --orders: fault map of the chip (.npz)")
    options = parser.parse_args(arguments)
    if (options.orders is None) != (options.chip is None):
        parser.error("give --orders and --chip together")
    try:
        return _check(options)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=…")
    return name, value


def _folding(path: Path) -> dict[str, dict[str, Any]]:
    try:
        folding = json.loads(path.read_text())
    except ValueError as error:
        raise SystemExit(f"{path}: no JSON ({error})") from None
    if not isinstance(folding, dict) or not all(isinstance(entry, dict) for entry in folding.values()):
        raise SystemExit(f'{path}: expected {{"layer": {{"PE": 2, "SIMD": 8}}, …}}')
    return folding


def _check(options: argparse.Namespace) -> int:
    bundle = tm.Bundle.load(options.bundle)
    layers = bundle_layers(bundle)
    folding = {} if options.folding is None else _folding(options.folding)
    files = {name: Path(path) for name, path in options.dat or ()}
    for unknown in sorted({*folding, *files} - {layer.name for layer in layers}):
        raise SystemExit(f"no layer {unknown!r} in the bundle; it has {', '.join(layer.name for layer in layers)}")
    nodes: dict[str, Unit] = {}
    if options.model is not None:
        graph_units = units(load_onnx(options.model))
        if not graph_units:
            raise SystemExit(
                f"{options.model}: no MVAU, VVAU, MatMul or Conv with folded weights; give a model after FINN's folding"
            )
        nodes = matched(layers, graph_units, dict(options.layer))
    codes, bad = bundle.image.codes, False
    if options.orders is not None:
        order, problems = KnownOrders(bundle, options.orders).without_hardware(tm.FaultMap.load(options.chip), flow="FINN")
        codes, bad = order.image.codes, bool(problems)
        print("".join(f"{options.chip}: NOT as the order says: {problem}\n" for problem in problems), end="")
    for layer in layers:
        said = folding.get(layer.name, {})
        if layer.name in nodes:
            kinds, texts = check_unit(bundle, layer, codes[layer.name], nodes[layer.name], said)
            texts.insert(0, f"{nodes[layer.name].name}")
        elif layer.name in files:
            kinds, texts = check_dat(bundle, layer, codes[layer.name], files[layer.name], said)
            texts.insert(0, f"{files[layer.name]}")
        else:
            kinds, texts = {"missing"}, ["no node of the model, and no file"]
        print(f"{layer.name}: {', '.join(sorted(kinds)) or 'equal'} ({'; '.join(texts)})")
        bad |= not kinds <= set(options.allow)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
