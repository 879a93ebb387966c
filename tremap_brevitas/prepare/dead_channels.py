"""Output channels whose codes are all zero: keep a stuck cell in them from being multiplied by their BatchNorm."""

from __future__ import annotations

from typing import Any

import torch

from tremap_brevitas.placed.modes import evaluation_mode
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.slots import weight_slots
from tremap_brevitas.prepare.compensation.absorb import trace_successors
from tremap_brevitas.prepare.compensation.layers import quantizes_outputs
from tremap_brevitas.prepare.compensation.moments import as_matrices, has_rows
from tremap_brevitas.prepare.strategy import check_net

LEFT = 2.0**-20  # of a silenced channel's factor: not 0, since FINN absorbs positive factors alone
QUIET = 1e-2  # a smaller factor is left as it is; that of a silenced channel is


@torch.no_grad()
def silence_dead_channels_(net: PlacedModel, *inputs: Any) -> dict[str, tuple[int, ...]]:
    """Silence the output channels whose codes are all zero in the healthy network, in place.

    Training with few bits leaves such channels. Their output is constant, so that their BatchNorm has a variance of 0 and
    divides by the root of its ``eps``: what a stuck cell adds is multiplied by 300. A silenced channel keeps its constant
    output, and a millionth of that factor. The healthy network computes the same, up to rounding.

    Do it before nearest codes and orders. ``net.compensate_`` does the like by itself, from its images; retraining does
    without.

    Args:
        net: The placed model. Layers whose output goes into one BatchNorm and nowhere else are looked at, unless they quantize
            their outputs or their bias.
        inputs: Inputs of the model, such as ``images[:1]``, to see what goes where; on the device of the model.

    Returns:
        The channels that were silenced now, by the name of their layer.

    Raises:
        TypeError: If ``net`` is no PlacedModel.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> from torch import nn
        >>> import tremap_brevitas as tm
        >>> model = nn.Sequential(QuantLinear(4, 3, bias=False), nn.BatchNorm1d(3)).eval()
        >>> _ = model[0].weight.data[1].zero_(), model[1].running_var[1].zero_()
        >>> net = tm.place(tm.make_faulty(model), tm.Memory(words=4, word_bits=32))
        >>> tm.prepare.silence_dead_channels_(net, torch.ones(1, 4))
        {'0': (1,)}
    """
    model = check_net(net).model
    modules: dict[str, Any] = dict(model.named_modules())
    placed = {layer.name for layer in net.placement.layers}
    layers = {e.name: e.module for e in weight_slots(model) if e.name in placed and has_rows(e.module)}
    silenced = {}
    with net.using(None), evaluation_mode(model):
        trace = trace_successors(model, lambda: model(*inputs), list(layers))
        for name, norm in trace.absorbers.items():
            if quantizes_outputs(layers[name]) or _quantizes_bias(layers[name]):
                continue  # their output may change with the scale, or their constant with a stuck cell
            channels = _silence_(modules[norm], layers[name])
            if channels:
                silenced[name] = channels
    return silenced


def _silence_(norm: Any, layer: Any) -> tuple[int, ...]:
    quantized = layer.quant_weight()
    dead = (as_matrices(layer, getattr(quantized, "value", quantized)) == 0).all(-1).reshape(-1)
    before = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    loud = dead & (before.abs() > QUIET)
    after = torch.where(loud, before * LEFT, before)
    constant = 0.0 if layer.bias is None else layer.bias.double()
    shift = (constant - norm.running_mean.double()) * (before - after)
    norm.bias.copy_(norm.bias.double() + shift)
    norm.weight.copy_(torch.where(loud, norm.weight * LEFT, norm.weight))
    return tuple(loud.nonzero()[:, 0].tolist())


def _quantizes_bias(layer: Any) -> bool:
    quantizer = getattr(layer, "bias_quant", None)
    return layer.bias is not None and quantizer is not None and bool(quantizer.is_quant_enabled)
