"""Compensate each layer by itself from the inputs of the healthy network, without a forward pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tremap_brevitas.placed.faults import codes_of
from tremap_brevitas.placed.identity import network_digest
from tremap_brevitas.prepare.compensation.descent import about_the_mean
from tremap_brevitas.prepare.compensation.layers import Layers, quantizes_outputs
from tremap_brevitas.prepare.compensation.moments import has_rows
from tremap_brevitas.prepare.compensation.report import CompensatedLayer, CompensationReport
from tremap_brevitas.prepare.compensation.shared import HealthyMoments
from tremap_brevitas.prepare.compensation.statistics import follow_moments_


def compensate_from_(
    run: Layers, moments: HealthyMoments, factors: Sequence[float], signs: bool, sweeps: int, progress: bool
) -> CompensationReport:
    """Choose the codes of each layer from the moments of the healthy network's inputs, in place.

    Args:
        run: The layers.
        moments: Moments of their inputs in the healthy network.
        factors: Factors that a channel before a BatchNorm may take, the first 1.
        signs: Whether it may take a sign.
        sweeps: Passes over the weights of a layer.
        progress: Whether to show a bar.
    """
    model = run.net.model
    now = network_digest(model)
    if now != moments.network:
        raise ValueError(
            f"the moments are of another network, or of this one before its weights changed: digest {moments.network[:16]}, "
            f"here {now[:16]}"
        )
    modules: dict[str, Any] = dict(model.named_modules())
    reports: list[CompensatedLayer] = []
    order = [*moments.layers, *(name for name in run.slots if name not in moments.layers)]
    for name in tqdm(order, desc="compensating", unit="layer", leave=False, disable=not progress):
        entry = run.slots[name]
        module, layer = modules[name], moments.layers.get(name)
        read = codes_of(entry).read_back
        if layer is None or name in run.kept:
            unweighed = f"a {type(module).__name__} has no inputs to be weighed"
            reason = run.kept.get(name) or ("it was not run as a layer of its own" if has_rows(module) else unweighed)
            reports.append(CompensatedLayer(name, 0.0, 0.0, 0, 0, reason))
            continue
        if np.array_equal(read, run.codes[name]):
            reports.append(CompensatedLayer(name, 0.0, 0.0, 0, 0))
            continue
        free = bool(layer.norm) and not quantizes_outputs(module)
        tries = [f * s for s in ((1, -1) if signs and free else (1,)) for f in (factors if free else (1.0,))]
        device = entry.parameter.device
        second, mean = (torch.tensor(array, device=device) for array in (layer.second, layer.mean))
        problem, bias = run.problem(entry, read), run.float_bias(entry)
        taken_up = free or bias is not None
        about = about_the_mean(second, mean, mean) if taken_up else second
        centre = mean if taken_up else None
        report, solution = run.solve_(entry, problem, read, problem.healthy, about, centre, tries, sweeps)
        if layer.norm and not free and not report.reason and len(factors) + signs > 1:
            quantized = "its outputs are quantized: no factor or sign"
            report = replace(report, limit="; ".join(filter(None, (report.limit, quantized))))
        reports.append(report)
        values = solution.values if solution is not None else problem.read
        own, healthy = (outputs_of(matrices, second, mean) for matrices in (values, problem.healthy))
        if layer.norm:
            sign = solution.factor.sign() if free and solution is not None else None
            shift = torch.zeros_like(own[0]) if getattr(module, "bias", None) is None else module.bias.detach().double()
            follow_moments_(modules[layer.norm], (own[0] + shift, own[1]), (healthy[0] + shift, healthy[1]), sign)
        elif bias is not None and solution is not None:
            bias += (healthy[0] - own[0]).to(bias)
    run.net.set_faults_(run.fault_map)
    return CompensationReport((*reports, *run.biases()), moments.images, time.perf_counter() - run.begin)


def outputs_of(matrices: Tensor, second: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean and variance of each output channel without its bias: ``w' m`` and ``w' (H - m m') w``.

    Args:
        matrices: Weights, (groups, rows, columns).
        second: Second moments of the inputs, (groups, columns, columns).
        mean: Their mean, (groups, columns).

    Examples:
        >>> two = torch.tensor([[[2.0]]])
        >>> outputs_of(two, torch.tensor([[[5.0]]]), torch.tensor([[1.0]]))
        (tensor([2.]), tensor([16.]))
    """
    centre = second - mean[:, :, None] * mean[:, None, :]
    variance = ((matrices @ centre) * matrices).sum(-1).clamp(min=0)
    return torch.einsum("gk,grk->gr", mean, matrices).reshape(-1), variance.reshape(-1)
