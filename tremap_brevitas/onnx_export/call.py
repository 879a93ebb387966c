"""Inputs and outputs of a model as tuples of tensors, checked before an export begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from brevitas.quant_tensor import QuantTensor
from numpy.typing import NDArray
from torch import Tensor, nn

from tremap_brevitas.placed.modes import evaluation_mode

Inputs: TypeAlias = "Tensor | NDArray[Any] | Sequence[Tensor | NDArray[Any]]"


def as_inputs(given: Inputs, argument: str) -> tuple[Tensor, ...]:
    """Return the inputs of a model as a tuple of tensors.

    Raises:
        TypeError: If an input is neither a tensor nor an array.
        ValueError: If there is none, or one holds floats that are not float32.
    """
    if isinstance(given, QuantTensor):
        raise TypeError(f"{argument} is a QuantTensor; give its .value: the network quantizes its inputs itself")
    several = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if not several:
        raise ValueError(f"{argument} is empty; give a tensor, or one for each input of the model")
    tensors = []
    for i, value in enumerate(several):
        where = argument if len(several) == 1 else f"{argument}[{i}]"
        if not isinstance(value, (Tensor, np.ndarray)) or isinstance(value, QuantTensor):
            raise TypeError(
                f"{where} must be a tensor or an array, or for a model of several inputs a tuple of them, in the order of its "
                f"forward(); got {type(value).__name__}"
            )
        tensor = value.detach() if isinstance(value, Tensor) else torch.tensor(value)
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(f"{where} is of {_dtype(tensor)}, but networks are exported in float32; give it as float32")
        tensors.append(tensor)
    return tuple(tensors)


def check_float32(model: nn.Module) -> None:
    """Check that a model uses float32, which QONNX, QCDQ and their tools expect.

    Raises:
        ValueError: If a parameter or buffer is of another floating type.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(f"{name} is of {_dtype(tensor)}, but networks are exported in float32; call model.float() first")


def outputs_of(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Run a model in evaluation mode and return its outputs as a tuple of tensors.

    Raises:
        TypeError: If it returns anything but a tensor, or a tuple or list of tensors.
    """
    return tuple(leaves[0] for leaves in leaves_of(model, inputs))


def leaves_of(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], ...]:
    """Return all tensors that TorchScript makes of each output: for a ``QuantTensor`` its value, scale and so on."""
    with evaluation_mode(model), torch.no_grad():
        outputs = model(*inputs)
    several = outputs if isinstance(outputs, (tuple, list)) and not isinstance(outputs, QuantTensor) else (outputs,)
    leaves = []
    for value in several or (None,):
        if not isinstance(value, (Tensor, QuantTensor)):
            raise TypeError(
                f"the model returns {_kind(outputs)}, but the outputs of an ONNX file are tensors in a fixed order; wrap it in "
                f"a module that returns a tensor or a tuple of tensors"
            )
        quantized = isinstance(value, QuantTensor)
        leaves.append(tuple(leaf for leaf in value if leaf is not None) if quantized else (value,))
    return tuple(leaves)


def check_batch(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Check that all inputs and outputs begin with the batch.

    Raises:
        ValueError: If one does not.
    """
    size = inputs[0].shape[0] if inputs[0].ndim else None
    for what, tensors in (("input", inputs), ("output", outputs)):
        for i, tensor in enumerate(tensors):
            if size is None or not tensor.ndim or tensor.shape[0] != size:
                raise ValueError(
                    f"{what} {i} of the model has shape {tuple(tensor.shape)}, but every input and output must begin with the "
                    f"batch, here {size}, so that a probe can be compared input by input"
                )


def _kind(outputs: Any) -> str:
    if isinstance(outputs, (tuple, list)):
        return f"a {type(outputs).__name__} of {', '.join(type(value).__name__ for value in outputs) or 'nothing'}"
    return f"a {type(outputs).__name__}"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
