"""Replace plain quantizers by faulty ones, and undo it."""

from __future__ import annotations

from typing import Any, TypeVar

import brevitas.config
from torch import nn

from tremap_brevitas.core import StuckAt
from tremap_brevitas.placed.slots import Patterns, WeightSlot, faulty_slots, weight_slots
from tremap_brevitas.proxy import FaultyWeightProxy
from tremap_brevitas.quant.base import COUNTERPARTS, why_not

Model = TypeVar("Model", bound=nn.Module)


def make_faulty(model: Model, *, include: Patterns = None, exclude: Patterns = None, biases: bool = False) -> Model:
    """Replace the weight quantizers of a finished Brevitas model by faulty ones, in place.

    Weights and learned scales stay the same objects, so that an optimizer that holds them keeps working. Until faults are set,
    the model computes the same values as before, bit for bit. Layers that can hold faults already are not changed.

    Args:
        model: A model built with Brevitas layers, trained or not.
        include: Convert only layers whose dotted name matches one of these patterns; default all.
        exclude: Leave out layers whose dotted name matches one of these.
        biases: Whether quantized biases can hold faults too, for accelerators that keep them in the same memory. They are
            called ``"<layer>.bias"``, in patterns as well; float biases stay as they are.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: If the model has no quantized weight (with ``biases``: no quantized bias), a pattern matches no quantized
            layer, or a layer that is left out shares its quantizer with one that is not.
        TypeError: If a quantizer cannot hold faults (binary, A2Q, floating point …): names layer and reason.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> model = nn.Sequential(QuantLinear(10, 5, bias=False), nn.ReLU(), QuantLinear(5, 2, bias=False))
        >>> make_faulty(model)[0].weight_quant.__class__.__name__
        'FaultyWeightQuantProxyFromInjector'
    """
    slots = weight_slots(model, include=include, exclude=exclude, biases=biases)
    if biases and not any(entry.is_bias for entry in weight_slots(model, biases=True)):
        raise ValueError(
            f"biases=True, but no layer of {type(model).__name__} has a quantized bias; give its layers a bias_quant with a "
            f"scale of its own, such as Int8BiasPerTensorFloatInternalScaling"
        )
    proxies: dict[int, WeightSlot] = {}
    for entry in slots:
        if isinstance(entry.proxy, FaultyWeightProxy):
            continue
        reason = why_not(entry.proxy.quant_injector)
        if reason is None and type(entry.proxy) not in COUNTERPARTS:
            reason = f"its proxy is a {type(entry.proxy).__name__}"
        if reason is None and brevitas.config.JIT_ENABLED and list(entry.proxy.parameters()):
            reason = "under BREVITAS_JIT=1 its learned scale is compiled in; build the model with the faulty quantizer instead"
        if reason is not None:
            raise TypeError(
                f"layer {entry.name!r}: its {'bias' if entry.is_bias else 'weight'} quantizer cannot hold stuck-at faults: "
                f"{reason}; leave the layer out with exclude={entry.name!r}"
            )
        proxies[id(entry.proxy)] = entry
    converted = {entry.name for entry in slots}
    for entry in weight_slots(model, biases=biases):
        if id(entry.proxy) in proxies and entry.name not in converted:
            shared = proxies[id(entry.proxy)].name
            raise ValueError(
                f"layer {entry.name!r} is left out, but shares its weight quantizer with layer {shared!r}; convert both or "
                f"leave both out"
            )
    for entry in proxies.values():
        counterpart = COUNTERPARTS[type(entry.proxy)]
        _swap(entry.proxy, counterpart.proxy, counterpart.int_quant_name, counterpart.faulty_int_quant)
    return model


def restore(model: Model) -> Model:
    """Replace every faulty weight quantizer of a model by the plain Brevitas one, in place; undoes ``make_faulty``.

    Faults that are set are cleared. Weights and learned scales stay the same objects.

    Raises:
        ValueError: If the model has no faulty weight quantizer.
        TypeError: Under ``BREVITAS_JIT=1``, if a quantizer has a learned scale.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False)
        >>> restore(make_faulty(fc)).weight_quant.__class__.__name__
        'WeightQuantProxyFromInjector'
    """
    slots = {id(e.proxy): e for e in faulty_slots(model)}.values()
    for entry in slots:
        if brevitas.config.JIT_ENABLED and list(entry.proxy.parameters()):
            raise TypeError(
                f"layer {entry.name!r}: under BREVITAS_JIT=1 its learned scale is compiled in; build the model with the plain "
                f"quantizer and load this one's state dict instead"
            )
    for entry in faulty_slots(model):
        entry.proxy.set_fault_slot(entry.slot, None)
    plain = {counterpart.proxy: (kind, counterpart) for kind, counterpart in COUNTERPARTS.items()}
    for entry in slots:
        kind, counterpart = plain[type(entry.proxy)]
        for name in ("_faults", "_handed_down", "_slices", "_learned_bit_width", "_below", "_own_lock"):
            entry.proxy.__dict__.pop(name, None)
        _swap(entry.proxy, kind, counterpart.int_quant_name, counterpart.plain_int_quant)
    return model


def _swap(proxy: Any, proxy_class: type, int_quant_name: str, int_quant_class: type) -> None:
    # Changing the class of the two objects, as torch.nn.utils.parametrize does, is the only way to keep every Parameter, and
    # every reference to the proxy that scale searches hold.
    proxy.quant_injector = proxy.quant_injector.let(**{int_quant_name: int_quant_class, "proxy_class": proxy_class})
    proxy.__class__ = proxy_class
    for module in proxy.tracked_module_list:  # Brevitas caches which modules to notify of a slice
        module._cached_sub_tensor_slice_list_modules = None
    if brevitas.config.JIT_ENABLED:
        proxy.init_tensor_quant()
        return
    int_quant = getattr(getattr(proxy.tensor_quant, "_orig_mod", proxy.tensor_quant), int_quant_name)
    int_quant.__class__ = int_quant_class
    if issubclass(proxy_class, FaultyWeightProxy):
        int_quant.stuck_at = StuckAt()
    else:
        del int_quant.stuck_at
    proxy._cached_weight = None
    for module in proxy.modules():  # scale searches keep the method of the former class
        if hasattr(module, "proxy_forward"):
            module.proxy_forward = proxy.forward
