"""Guards for weight faults: threads, inference mode, torch.func transforms, and invalid weights."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack


class Lock:
    """A reentrant lock as part of a model: copying or pickling it creates a new lock."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Lock], tuple[()]]:
        return Lock, ()


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Context manager that creates ordinary tensors also under inference mode, so that they can be used in training.

    Tensors made in inference mode cannot be used in training, and those made inside a ``torch.func`` transform are not valid
    after it.
    """
    with torch.inference_mode(False), temporarily_clear_interpreter_stack():
        yield


def in_transform() -> bool:
    """Check whether a ``torch.func`` transform is running: Brevitas' rounding cannot be transformed."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def same_weight(a: Tensor, b: Tensor) -> bool:
    """Check whether two tensors are the same elements of the same storage, in the same order."""
    return a is b or _place(a) == _place(b)


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def check_finite(weight: Tensor, name: str) -> None:
    """Check that no weight is NaN or infinite.

    Raises:
        ValueError: If one is, or the weights are on the ``meta`` device.
    """
    if weight.is_meta:
        raise ValueError(f"its {name} is on the meta device and has no values; load the model first")
    if math.isfinite(float(weight.sum())):  # a sum is faster than a test of each, and almost always enough
        return
    bad = (~torch.isfinite(weight)).nonzero()
    if len(bad):
        index = tuple(bad[0].tolist())
        raise ValueError(f"{name}{list(index)} is {float(weight[index])}: it has no code")
