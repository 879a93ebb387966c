"""BatchNorm statistics under faults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def reestimate_batchnorm_(model: nn.Module, batches: Iterable[Any], *, max_batches: int | None = None) -> int:
    """Measure the running statistics of every BatchNorm layer anew, under the faults now set.

    Faults shift what a layer yields; the means and variances of the healthy network no longer fit. A few hundred images
    and no gradient step repair much of that (the idea of US patent 11714727). Weights and all else stay as they are.

    Args:
        model: The model.
        batches: Inputs, or tuples whose first element is the input, such as a data loader.
        max_batches: Stop after so many batches; None for all.

    Returns:
        Number of batches used.

    Raises:
        ValueError: If the model has no BatchNorm layer with running statistics, or there is no batch. The old
            statistics are kept then, and on any other error.

    Examples:
        >>> model = nn.Sequential(nn.BatchNorm1d(2))
        >>> reestimate_batchnorm_(model, [torch.tensor([[1.0, 5.0], [3.0, 5.0]])])
        1
        >>> model[0].running_mean
        tensor([2., 5.])
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        raise ValueError(f"{type(model).__name__} has no BatchNorm layer with running statistics")
    device = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    before = [(norm, norm.momentum, {k: v.clone() for k, v in norm.state_dict().items()}) for norm in norms]
    used = 0
    try:
        model.eval()  # only the BatchNorm layers shall learn anything from these batches
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a true mean over all batches
            norm.train()
        for batch in batches:
            if max_batches is not None and used >= max_batches:
                break
            inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
            model(inputs.to(device))
            used += 1
        if not used:
            raise ValueError("no batch was given")
    except BaseException:
        for norm, _, state in before:
            norm.load_state_dict(state)
        raise
    finally:
        for norm, momentum, _ in before:
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training
    return used
