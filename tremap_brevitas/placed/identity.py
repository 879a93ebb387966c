"""A digest that identifies a network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn


def network_digest(model: nn.Module) -> str:
    """SHA-256 over everything visible that determines a network's outputs, as 64 hexadecimal digits.

    Covers every parameter and buffer, also those that are in no state dict (such as Brevitas' bit widths and constant scales),
    and every module with its class and options. A network that has loaded the state dict of another has the same digest:
    statistics that Brevitas still collects count as the scale that the state dict would hold. The code of a ``forward`` is not
    covered; nor are the faults that are set, which the digest of a memory image covers.

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
    state = model.state_dict()
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, module in modules.items():
        kind = type(module)
        options = re.sub(r"0x[0-9a-fA-F]+", "", module.extra_repr())  # an address differs from run to run
        sha.update(repr((name, kind.__module__, kind.__qualname__, options)).encode())
    tensors = chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    # Collected statistics are in no state dict, nor is a scale that Brevitas has not yet made from them.
    carried = (
        (name, state.get(name, tensor))
        for name, tensor in tensors
        if name in state or not hasattr(modules[name.rpartition(".")[0]], "collect_stats_steps")
    )
    add_tensors(sha, carried)
    return sha.hexdigest()


def add_tensors(sha: hashlib._Hash, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Add names, types, shapes and values of tensors to a hash."""
    for name, tensor in tensors:
        sha.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        sha.update(flat.view(torch.uint8).numpy().tobytes())
