"""BatchNorm statistics under faults."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from tremap_brevitas.placed.identity import add_tensors
from tremap_brevitas.printable import counted


@torch.no_grad()
def reestimate_batchnorm_(
    model: nn.Module, batches: Iterable[Any], *, max_batches: int | None = None, progress: bool = True
) -> int:
    """Re-estimate the running statistics of every BatchNorm layer under the current faults, in place.

    Faults shift the outputs of layers, so that the means and variances of the healthy network no longer fit. A few hundred
    images, without a gradient step, repair much of this (the idea of US patent 11714727). Nothing else is changed.

    A layer's new statistics are the means of those of the batches, each weighted by its number of samples. Layers that see no
    batch, such as auxiliary heads that are used only in training, keep their old statistics; a warning names them.

    Args:
        model: The model.
        batches: Inputs, or tuples whose first element is the input, such as a data loader; samples along the first dimension.
        max_batches: Maximum number of batches to use, at least 1; None for all.
        progress: Whether to show a progress bar on standard error.

    Returns:
        Number of batches used.

    Raises:
        ValueError: If the model has no BatchNorm layer with running statistics, none of them sees a batch, there is no batch,
            one is empty, or ``max_batches`` is below 1. The old statistics are then kept, as on any other error.

    Examples:
        >>> model = nn.Sequential(nn.BatchNorm1d(2))
        >>> reestimate_batchnorm_(model, [torch.tensor([[1.0, 5.0], [3.0, 5.0]])], progress=False)
        1
        >>> model[0].running_mean
        tensor([2., 5.])
    """
    norms = _norms(model)
    if max_batches is not None and max_batches < 1:
        raise ValueError(f"max_batches must be at least 1, got {max_batches}")
    device = next(b.device for norm in norms.values() for b in norm.buffers())
    modes = {module: module.training for module in model.modules()}
    before = {name: (norm.momentum, {k: v.clone() for k, v in norm.named_buffers()}) for name, norm in norms.items()}
    sums = {name: _Mean() for name in norms}
    used = 0
    try:
        model.eval()  # only the BatchNorm layers may change on these batches
        for norm in norms.values():
            norm.momentum = None  # the statistics of one batch, or their mean if the layer is used several times
            norm.train()
        taken = islice(batches, max_batches)
        for batch in tqdm(taken, total=max_batches, desc="BatchNorm", unit="batch", leave=False, disable=not progress):
            inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
            if not len(inputs):
                raise ValueError(f"batch {used} is empty")
            for norm in norms.values():
                norm.reset_running_stats()
            try:
                model(inputs.to(device))
            except ValueError as error:
                raise ValueError(f"batch {used}, of {counted(len(inputs), 'sample')}: {error}") from None
            for name, norm in norms.items():
                sums[name].add(norm, len(inputs))
            used += 1
        if not used:
            raise ValueError("no batch was given")
        unseen = [name for name in norms if not sums[name].samples]
        if len(unseen) == len(norms):
            raise ValueError(f"no BatchNorm layer of {type(model).__name__} receives a batch: {', '.join(unseen)}")
        for name, norm in norms.items():
            _restore(norm, before[name][1] if name in unseen else sums[name].buffers)
    except BaseException:
        for name, norm in norms.items():
            _restore(norm, before[name][1])
        raise
    finally:
        for name, norm in norms.items():
            norm.momentum = before[name][0]
        for module, training in modes.items():
            module.training = training
    if unseen:
        warnings.warn(
            f"BatchNorm layers that received no batch keep their old statistics: {', '.join(unseen)}", UserWarning, stacklevel=3
        )
    return used


class BatchNormOnChip:
    """Context manager that gives a model the BatchNorm statistics of its current faults, and restores the old ones.

    Args:
        model: The model, or one of the same layers.
        batches: As in [reestimate_batchnorm_][tremap_brevitas.reestimate_batchnorm_]; taken once and kept.

    Raises:
        TypeError: If a batch is neither a tensor nor a tuple whose first element is one, or a single tensor is given.
        ValueError: If there is no batch, or the model has no BatchNorm layer with running statistics.
    """

    def __init__(self, model: nn.Module, batches: Iterable[Any]) -> None:
        if isinstance(batches, Tensor):
            raise TypeError("batchnorm must be batches, such as images.split(128), got a single tensor")
        _norms(model)
        self.batches: list[Tensor] = []
        for batch in batches:
            inputs = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
            if not isinstance(inputs, Tensor):
                raise TypeError(
                    f"batchnorm: batch {len(self.batches)} must be a tensor or a tuple whose first element is one, got a "
                    f"{type(batch).__name__}"
                )
            self.batches.append(inputs.detach().cpu())
        if not self.batches:
            raise ValueError("batchnorm: no batch was given")

    @property
    def digest(self) -> str:
        """SHA-256 over the batches, in their order, as 64 hexadecimal digits."""
        sha = hashlib.sha256()
        add_tensors(sha, ((str(index), batch) for index, batch in enumerate(self.batches)))
        return sha.hexdigest()

    @contextmanager
    def __call__(self, model: nn.Module) -> Iterator[None]:
        """Measure the statistics; restore the old ones at the end, also after an error."""
        norms = _norms(model).values()
        before = [(norm, {k: v.clone() for k, v in norm.named_buffers()}) for norm in norms]
        try:
            reestimate_batchnorm_(model, self.batches, progress=False)
            yield
        finally:
            for norm, buffers in before:
                _restore(norm, buffers)


class _Mean:
    """Mean of a layer's statistics over batches, weighted by their samples."""

    def __init__(self) -> None:
        self.samples = 0
        self.buffers: dict[str, Tensor] = {}

    def add(self, norm: _BatchNorm, samples: int) -> None:
        """Add the statistics that the layer measured on one batch, if any."""
        if norm.num_batches_tracked is None or not int(norm.num_batches_tracked):
            return
        self.samples += samples
        for key, value in norm.named_buffers():
            if key not in self.buffers:
                self.buffers[key] = value.clone()
            elif value.is_floating_point():
                self.buffers[key].lerp_(value, samples / self.samples)
            else:  # the number of batches
                self.buffers[key] += value


def _norms(model: nn.Module) -> dict[str, _BatchNorm]:
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm) and m.running_mean is not None}
    if not norms:
        raise ValueError(f"{type(model).__name__} has no BatchNorm layer with running statistics")
    return norms


@torch.no_grad()
def _restore(norm: _BatchNorm, buffers: dict[str, Tensor]) -> None:
    for key, value in norm.named_buffers():
        value.copy_(buffers[key])
