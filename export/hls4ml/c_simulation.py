"""Turn a bundle's QONNX file into C++ with hls4ml, compile it, and compare weights and predictions.

    python export/hls4ml/c_simulation.py out/digits/group_0

Needs g++; no vendor tool. Every weight in the generated ``firmware/weights`` must be code × scale exactly, and the compiled
network's outputs for the bundle's probe are set beside PyTorch's. Ends with 1 if a weight is wrong, or a prediction differs
on more inputs than --allow.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model

import tremap_brevitas as tm
from tremap_brevitas.bundle.probe import read_probe

PRECISION = "fixed<56,20>"  # of what hls4ml does not infer: inputs, BatchNorm. 36 fractional bits leave float32 behind.


def converted(path: Path, folder: Path, precision: str) -> Any:
    """Compiled hls4ml model of a QONNX file.

    Raises:
        RuntimeError: If hls4ml or g++ is not there.
    """
    try:
        import hls4ml
    except ModuleNotFoundError:
        raise RuntimeError("needs hls4ml: pip install -c constraints.txt '.[hls4ml]'") from None
    if shutil.which("g++") is None:
        raise RuntimeError("needs g++ to compile the C++ that hls4ml writes")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = cleanup_model(ModelWrapper(str(path)))
        if any(node.op_type == "Conv" for node in model.graph.node):
            model = model.transform(ConvertToChannelsLastAndClean())
        model = cleanup_model(model.transform(GemmToMatMul()))
        config = hls4ml.utils.config_from_onnx_model(model, granularity="name", backend="Vitis", default_precision=precision)
        network = hls4ml.converters.convert_from_onnx_model(
            model, hls_config=config, output_dir=str(folder), project_name="network", backend="Vitis", io_type="io_stream"
        )
        network.compile()
    return network


def generated_weights(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Numbers of every ``w*.txt`` in the generated sources, in the order of the file."""
    files = sorted((folder / "firmware" / "weights").glob("w*.txt"))
    return {path.name: np.fromstring(path.read_text(), sep=",") for path in files}


def in_hls_orders(weight: NDArray[Any], channels: Iterable[int]) -> Iterator[NDArray[Any]]:
    """A weight in the orders in which hls4ml may write it: kernel, input, output; a matrix by input, then output.

    A matrix behind a flattened convolution has its inputs by position, then channel, where PyTorch has channel, then position;
    ``channels`` are the numbers of channels that there are.
    """
    yield np.moveaxis(weight, (0, 1), (-1, -2)).reshape(-1)
    if weight.ndim == 2:
        outputs, inputs = weight.shape
        for count in channels:
            if inputs % count == 0:
                yield weight.reshape(outputs, count, -1).transpose(2, 1, 0).reshape(-1)


def main(arguments: list[str] | None = None) -> int:
    """Convert, compile, compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a bundle, its batch size 1")
    parser.add_argument("--out", type=Path, help="keep the generated C++ in this folder")
    parser.add_argument("--precision", default=PRECISION, help="of inputs and BatchNorm (default %(default)s)")
    parser.add_argument("--inputs", type=int, default=64, help="inputs of the probe to run (default %(default)s)")
    parser.add_argument("--allow", type=int, default=0, help="predictions that may differ (default %(default)s)")
    options = parser.parse_args(arguments)
    bundle = tm.Bundle.load(options.bundle)
    for layer in bundle.manifest.layers:
        if bundle.image.codes[layer.name].ndim == 1:
            raise SystemExit(f"layer {layer.name!r}: this script compares weights only, and a bias lies in the bundle's memory")
        if len(set(layer.scale)) > 1 or any(np.frexp(layer.scale)[0] != 0.5) or any(layer.zero_point):
            raise SystemExit(
                f"layer {layer.name!r}: hls4ml keeps code × scale exactly only for one power-of-two scale and zero point 0; "
                f"use a FixedPoint quantizer"
            )
    with tempfile.TemporaryDirectory() as name:
        folder = options.out or Path(name)
        network = converted(options.bundle / bundle.manifest.onnx["qonnx"], folder, options.precision)
        left = generated_weights(folder)
        probe = read_probe(options.bundle / str(bundle.manifest.probe))
        if [len(arrays) for arrays in probe] != [1, 1]:
            raise SystemExit(f"{options.bundle}: this script compares networks of one input and one output only")
        inputs, outputs = (arrays[0][: options.inputs] for arrays in probe)
        simulated = network.predict(np.ascontiguousarray(inputs)).reshape(outputs.shape)
    bad = 0
    channels = {layer.shape[0] for layer in bundle.manifest.layers if len(layer.shape) > 2}
    for layer in bundle.manifest.layers:
        codes = bundle.image.codes[layer.name].astype(np.float64)
        expected = list(in_hls_orders(codes * layer.scale[0], sorted(channels)))
        file = next((f for f, w in left.items() if any(np.array_equal(w, e) for e in expected)), None)
        bad += file is None
        verdict = "NOT in any generated file" if file is None else f"equal to code × {layer.scale[0]:g} in {file}"
        print(f"{layer.name}: {codes.size} weights, codes {codes.min():g} to {codes.max():g}, {verdict}")
        left.pop(file or "", None)
    difference = np.abs(simulated - outputs).reshape(len(outputs), -1).max(axis=1) / np.abs(outputs).max()
    moved = int((simulated.argmax(-1) != outputs.argmax(-1)).sum())
    same = int((difference <= 1e-6).sum())
    rest = f", the others within {difference.max():.1e} of the largest" if same < len(outputs) else ""
    print(f"C simulation: {same} of {len(outputs)} outputs equal PyTorch's{rest}; {moved} predictions differ")
    return int(bad > 0 or moved > options.allow)


if __name__ == "__main__":
    sys.exit(main())
