"""Running a QCDQ file in onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def onnx_runner(path: str | os.PathLike[str]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Load a QCDQ file; return a function from inputs to outputs.

    Graph optimizations are off, since they alone move outputs by about 2e-3. A file whose batch size is fixed gets its inputs
    in batches of that size.

    Args:
        path: A QCDQ file with one input and one output. (onnxruntime knows no ``Quant`` node, so that QONNX files need qonnx.)

    Raises:
        ValueError: If onnxruntime cannot load the file; or, when called, if the inputs are no whole number of batches.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen classes of its own
        raise ValueError(f"{path}: onnxruntime cannot load it ({type(error).__name__}: {error})") from None
    (entry, *_) = session.get_inputs()
    batch = entry.shape[0] if entry.shape and isinstance(entry.shape[0], int) else None

    def run(inputs: NDArray[Any]) -> NDArray[Any]:
        size = batch or len(inputs)
        if not len(inputs) or len(inputs) % size:
            raise ValueError(f"{path}: {len(inputs)} inputs, but the file takes {size} at a time")
        outputs = [session.run(None, {entry.name: inputs[i : i + size]})[0] for i in range(0, len(inputs), size)]
        return np.concatenate(outputs) if len(outputs) > 1 else np.asarray(outputs[0])

    return run
