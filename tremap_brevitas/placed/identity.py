"""Which network it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn


def network_digest(model: nn.Module) -> str:
    """SHA-256 over all that a network's outputs depend on and that can be seen, as 64 hexadecimal digits.

    Every parameter and buffer, those that no state dict holds included (Brevitas keeps bit widths and constant scales so), and
    every module with its class and options. Not the code of a ``forward``; nor the faults that are set, which the
    digest of a memory image covers.

    Examples:
        >>> one, other = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> _ = other.load_state_dict(one.state_dict())
        >>> network_digest(one) == network_digest(other)
        True
        >>> _ = other.bias.data.add_(1)
        >>> network_digest(one) == network_digest(other)
        False
    """
    sha = hashlib.sha256()
    for name, module in model.named_modules(remove_duplicate=False):
        kind = type(module)
        options = re.sub(r"0x[0-9a-fA-F]+", "", module.extra_repr())  # an address differs from run to run
        sha.update(repr((name, kind.__module__, kind.__qualname__, options)).encode())
    add_tensors(sha, chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)))
    return sha.hexdigest()


def add_tensors(sha: hashlib._Hash, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Take in names, types, shapes and values of tensors."""
    for name, tensor in tensors:
        sha.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        sha.update(flat.view(torch.uint8).numpy().tobytes())
