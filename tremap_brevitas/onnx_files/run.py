"""Run a QCDQ file with onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.printable import counted


def onnx_runner(path: str | os.PathLike[str]) -> Callable[..., Any]:
    """Load a QCDQ file and return a function from inputs to outputs.

    The function takes one array for each input of the file, and returns an array, or a tuple of them if the file has several
    outputs. Graph optimizations are off, since they alone change outputs by about 2e-3. A file whose batch size is fixed gets
    its inputs in batches of that size, and the outputs are concatenated.

    Args:
        path: A QCDQ file. (onnxruntime knows no ``Quant`` node, so that QONNX files need qonnx.)

    Raises:
        ValueError: If onnxruntime cannot load the file; or, when called, if the number of inputs is not the file's, they do not
            make up whole batches, or onnxruntime cannot run them.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen classes of its own
        raise ValueError(f"{path}: onnxruntime cannot load it ({type(error).__name__}: {error})") from None
    entries = session.get_inputs()
    batch = entries[0].shape[0] if entries[0].shape and isinstance(entries[0].shape[0], int) else None

    def once(inputs: tuple[NDArray[Any], ...]) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = session.run(None, {e.name: x for e, x in zip(entries, inputs, strict=True)})
        except Exception as error:
            raise ValueError(f"{path}: onnxruntime cannot run it ({type(error).__name__}: {error})") from None
        return outputs

    def run(*inputs: NDArray[Any]) -> Any:
        if len(inputs) != len(entries):
            raise ValueError(
                f"{path}: {counted(len(inputs), 'input')} given, but the file has {', '.join(e.name for e in entries)}"
            )
        count = len(inputs[0])
        size = batch or count
        if not count or count % size:
            raise ValueError(f"{path}: {counted(count, 'input')}, but the file takes {size} at a time")
        parts = [once(tuple(x[i : i + size] for x in inputs) if size < count else inputs) for i in range(0, count, size)]
        outputs = [_joined(part) for part in zip(*parts, strict=True)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return run


def _joined(parts: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """Concatenate the outputs of several batches; a scalar that is the same for all is kept once."""
    same = parts[0].ndim == 0 and all(part == parts[0] for part in parts)
    return np.asarray(parts[0]) if len(parts) == 1 or same else np.concatenate(parts)
