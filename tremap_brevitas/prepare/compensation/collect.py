"""Second moments of each layer's inputs, for later use without the network or its data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from tqdm import tqdm

from tremap_brevitas.moments import InputMoments, LayerMoments
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.slots import WeightSlot, matching_slots
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.prepare.compensation.lockstep import first_argument
from tremap_brevitas.prepare.compensation.moments import Sums, as_matrices, has_rows
from tremap_brevitas.prepare.compensation.shared import HealthyMoments, quantized_input


def as_moments(net: PlacedState, given: InputMoments | Iterable[Any] | None, *, progress: bool) -> InputMoments | None:
    """Return moments unchanged, or compute them from batches; None stays None.

    Raises:
        TypeError: If they are moments of the healthy network, which do not belong to the exported codes.
    """
    if isinstance(given, HealthyMoments):
        raise TypeError(
            "moments must be batches of inputs; the result of net.moments() describes the healthy network, not the exported "
            "codes"
        )
    return given if given is None or isinstance(given, InputMoments) else input_moments(net, given, progress=progress)


@torch.no_grad()
def input_moments(
    net: PlacedState,
    batches: Iterable[Any],
    *,
    samples: int = 65_536,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    progress: bool = True,
) -> InputMoments:
    """Run a network as it is, live faults included, and collect the second moments of each layer's inputs.

    A layer that is called several times sums up all its calls. Biases, embeddings, and layers that are not called as modules
    are left out.

    Args:
        net: The network.
        batches: A few hundred inputs without labels: tensors, or tuples whose first element is one. Taken one by one.
        samples: Maximum number of input rows from one call of a layer, evenly spread over images and positions.
        forward: Runs a model on a batch, where that takes more than ``model(batch)``.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ValueError: If there is no input, ``samples`` is below 1, or a layer's inputs are not all finite.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    run = forward or (lambda model, batch: model(batch))
    slots = {name: entry for name, entry in matching_slots(net.model, net.placement).items() if not entry.is_bias}
    sums = {name: Sums(samples=samples) for name, entry in slots.items() if has_rows(entry.module)}
    image = net.memory_image()
    handles = [
        slots[name].module.register_forward_pre_hook(_adding_to(total), with_kwargs=True) for name, total in sums.items()
    ]
    count = 0
    try:
        with evaluation_mode(net.model):
            for batch in tqdm(batches, desc="moments", unit="batch", leave=False, disable=not progress):
                first = batch[0] if isinstance(batch, (tuple, list)) else batch
                count += len(first)
                if len(first):
                    run(net.model, first)
    finally:
        for handle in handles:
            handle.remove()
    if not count:
        raise ValueError("no inputs were given; a few hundred are needed")
    layers = {name: _moments(slots[name], total, image.codes[name]) for name, total in sums.items() if total.rows}
    return InputMoments(layers, image.digest)


def _adding_to(sums: Sums) -> Callable[[nn.Module, Any, Any], None]:
    def add(module: nn.Module, args: Any, kwargs: Any) -> None:
        sums.add(module, quantized_input(module, first_argument(args, kwargs)), None)

    return add


def _moments(entry: WeightSlot, sums: Sums, codes: Any) -> LayerMoments:
    module: Any = entry.module
    second, _, mean, _ = (value.cpu() for value in sums.means())
    if not bool(second.isfinite().all() & mean.isfinite().all()):
        raise ValueError(f"layer {entry.name!r}: its inputs are not all finite")
    quantized = module.quant_weight()

    def matrices(values: Tensor) -> Any:
        return as_matrices(module, values.detach().cpu().double().expand(entry.parameter.shape)).numpy()

    return LayerMoments.of(
        entry.name,
        second.numpy(),
        mean.numpy(),
        matrices(torch.tensor(codes, dtype=torch.float64)) - matrices(quantized.zero_point),
        matrices(quantized.scale),
        samples=sums.rows,
        groups=getattr(module, "groups", 1),
        transposed=isinstance(module, _ConvTransposeNd),
    )
