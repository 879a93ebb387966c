"""Test that channels are interchangeable: random orders must give equal outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tremap_brevitas.order import ChannelGroup
from tremap_brevitas.placed import PlacedModel
from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.prepare.reordering.apply import forget_cached, in_another_order

Outputs = list[Tensor]
# Sums are computed in another order, so that a value near the middle between two rounding steps may go to the other one.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-2}


def prove_groups(
    net: PlacedModel,
    groups: Sequence[ChannelGroup],
    *inputs: Any,
    outputs_free: bool = False,
    seed: int = 0,
    trials: int = 1,
) -> dict[str, float]:
    """Compare a network's outputs before and after its channels are put in random orders.

    A copy in float64 is used, so that the order of sums hardly matters: once with the network's own parameters, and once with
    parameters varied at random, so that no two channels are alike. A model that cannot be copied or run in float64 is run as
    it is.

    Args:
        net: The placed model; it is not changed.
        groups: The groups of channels; all are put into random orders together.
        inputs: Inputs to run the model on.
        outputs_free: Whether the values of an output may come in another order.
        seed: Seed of the orders.
        trials: Number of random orders.

    Returns:
        Largest difference of an output, as a share of the largest output: ``"own"`` with the network's own parameters,
        ``"varied"`` with varied ones (missing if that could not be run). 0 for a network whose sums are exact.

    Raises:
        ValueError: If an output differs by more than rounding explains.
    """
    rng = np.random.default_rng(seed)
    worst: dict[str, float] = {}
    for kind, twin, values in _twins(net, inputs, seed):
        with twin.using(None), evaluation_mode(twin.model), torch.no_grad():
            forget_cached(twin.model)
            before = _outputs(twin.model(*values), outputs_free)
            if kind == "varied" and not all(bool(out.isfinite().all()) for out in before):
                continue
            for _ in range(trials):
                orders = {group.name: _cycle(rng, group.channels) for group in groups}
                with in_another_order(twin, orders, groups=groups):
                    after = _outputs(twin.model(*values), outputs_free)
                worst[kind] = max(worst.get(kind, 0.0), _difference(before, after))
        tolerance = max(TOLERANCES.get(out.dtype, 1e-2) for out in before) if before else 0.0
        if not worst[kind] <= tolerance:
            names = ", ".join(group.name for group in groups)
            raise ValueError(
                f"with the channels of {names} in another order an output differs by {worst[kind]:.3g} of the largest"
            )
    return worst


def _cycle(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Draw a random order in which every channel moves."""
    around = rng.permutation(count)
    order = np.empty(count, dtype=np.int64)
    order[around] = np.roll(around, 1)
    return order


def _twins(net: PlacedModel, inputs: Sequence[Any], seed: int) -> list[tuple[str, PlacedModel, Sequence[Any]]]:
    """Return copies of the network to run: in float64 if possible, with its own and with perturbed parameters."""
    precise = _tried(lambda: _in_float64(net), inputs)
    if precise is None:
        return [("own", net, inputs)]
    values = [_doubled(value) for value in inputs]
    varied = _tried(lambda: _varied(_in_float64(net), seed), inputs)
    return [("own", precise, values), *([] if varied is None else [("varied", varied, values)])]


def _tried(make: Callable[[], PlacedModel], inputs: Sequence[Any]) -> PlacedModel | None:
    try:
        twin = make()
        with evaluation_mode(twin.model), torch.no_grad():
            twin.model(*[_doubled(value) for value in inputs])
        twin.memory_image()
    except Exception:  # a model may need float32, or be impossible to copy; then it is run as it is
        return None
    return twin


def _in_float64(net: PlacedModel) -> PlacedModel:
    twin = copy.deepcopy(net)
    twin.clear_faults_()
    twin.model.double()
    forget_cached(twin.model)
    return twin


@torch.no_grad()
def _varied(net: PlacedModel, seed: int) -> PlacedModel:
    """Perturb parameters so that they differ between channels, also in an untrained network."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.model.modules():
        own: list[Tensor] = [*module.parameters(recurse=False)]
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            own += [*module.buffers(recurse=False)]
        for tensor in own:
            if not tensor.is_floating_point() or tensor.dim() == 0:
                continue
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype).to(tensor.device)
            tensor.data.copy_(tensor * (0.8 + 0.4 * noise) if bool(tensor.any()) else 0.2 * noise - 0.1)
    forget_cached(net.model)
    return net


def _doubled(tree: Any) -> Any:
    def one(leaf: Any) -> Any:
        return leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    return torch.utils._pytree.tree_map(one, tree)


def _outputs(tree: Any, free: bool) -> Outputs:
    tensors = [leaf.detach().clone() for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
    return [tensor.flatten().sort().values for tensor in tensors] if free else tensors


def _difference(before: Outputs, after: Outputs) -> float:
    worst = 0.0
    for one, other in zip(before, after, strict=True):
        if one.numel() == 0 or torch.equal(one, other):
            continue
        largest = float(one.double().abs().max()) or 1.0
        worst = max(worst, float((one.double() - other.double()).abs().max()) / largest)
    return worst
