"""Injector fragments that add a faulty memory to a Brevitas weight quantizer, and a check of which quantizers support it."""

from __future__ import annotations

from typing import Any, NamedTuple

from brevitas.core.quant import QuantType
from brevitas.core.quant.int import DecoupledRescalingIntQuant, RescalingIntQuant
from brevitas.core.quant.int_base import DecoupledIntQuant, IntQuant
from brevitas.inject import ExtendedInjector
from brevitas.proxy.groupwise_int_parameter_quant import GroupwiseWeightQuantProxyFromInjector
from brevitas.proxy.parameter_quant import (
    BiasQuantProxyFromInjector,
    DecoupledWeightQuantProxyFromInjector,
    DecoupledWeightQuantWithInputProxyFromInjector,
    WeightQuantProxyFromInjector,
    WeightQuantProxyFromInjectorBase,
)

from tremap_brevitas.core import StuckAtDecoupledIntQuant, StuckAtIntQuant
from tremap_brevitas.proxy import (
    FaultyBiasQuantProxyFromInjector,
    FaultyDecoupledWeightQuantProxyFromInjector,
    FaultyGroupwiseWeightQuantProxyFromInjector,
    FaultyWeightProxy,
    FaultyWeightQuantProxyFromInjector,
)


class FaultyWeight(ExtendedInjector):
    """Fragment for a quantizer that has an ``int_quant``; it must be the first base class."""

    int_quant = StuckAtIntQuant
    proxy_class = FaultyWeightQuantProxyFromInjector


class FaultyGroupwiseWeight(ExtendedInjector):
    """Fragment for a group-wise quantizer."""

    int_quant = StuckAtIntQuant
    proxy_class = FaultyGroupwiseWeightQuantProxyFromInjector


class FaultyDecoupledWeight(ExtendedInjector):
    """Fragment for a quantizer with decoupled normalization."""

    decoupled_int_quant = StuckAtDecoupledIntQuant
    proxy_class = FaultyDecoupledWeightQuantProxyFromInjector


class FaultyBias(ExtendedInjector):
    """Fragment for a bias quantizer with a scale of its own."""

    int_quant = StuckAtIntQuant
    proxy_class = FaultyBiasQuantProxyFromInjector


class Counterpart(NamedTuple):
    """A plain Brevitas proxy class and its faulty replacement."""

    fragment: type[ExtendedInjector]
    proxy: type[FaultyWeightProxy]
    int_quant_name: str
    plain_int_quant: type
    faulty_int_quant: type


COUNTERPARTS: dict[type, Counterpart] = {
    WeightQuantProxyFromInjector: Counterpart(
        FaultyWeight, FaultyWeightQuantProxyFromInjector, "int_quant", IntQuant, StuckAtIntQuant
    ),
    GroupwiseWeightQuantProxyFromInjector: Counterpart(
        FaultyGroupwiseWeight,
        FaultyGroupwiseWeightQuantProxyFromInjector,
        "int_quant",
        IntQuant,
        StuckAtIntQuant,
    ),
    DecoupledWeightQuantProxyFromInjector: Counterpart(
        FaultyDecoupledWeight,
        FaultyDecoupledWeightQuantProxyFromInjector,
        "decoupled_int_quant",
        DecoupledIntQuant,
        StuckAtDecoupledIntQuant,
    ),
    BiasQuantProxyFromInjector: Counterpart(
        FaultyBias, FaultyBiasQuantProxyFromInjector, "int_quant", IntQuant, StuckAtIntQuant
    ),
}


def faulty(quantizer: Any) -> Any:
    """Return the faulty counterpart of a Brevitas integer weight quantizer (also of your own), or of a bias quantizer.

    Without faults it computes what ``quantizer`` computes, bit for bit, and its state dict has the same keys.

    Args:
        quantizer: A weight quantizer class (an injector) of Brevitas or derived from one; or a bias quantizer with a scale of
            its own, such as ``Int8BiasPerTensorFloatInternalScaling``, for biases that lie in the same memory.

    Returns:
        A quantizer class named ``Faulty…``, for use as ``weight_quant`` (``bias_quant``); ``quantizer`` itself if it is faulty
        already.

    Raises:
        TypeError: If ``quantizer`` is neither, or one that cannot hold faults; the message says why.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> from brevitas.quant import Int8WeightPerChannelFloat
        >>> class Int5Weight(Int8WeightPerChannelFloat):
        ...     bit_width = 5
        >>> faulty(Int5Weight).__name__
        'FaultyInt5Weight'
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=faulty(Int5Weight))
    """
    if not isinstance(quantizer, type) or not issubclass(quantizer, ExtendedInjector):
        raise TypeError(f"faulty() takes a weight quantizer class of Brevitas, got {quantizer!r}")
    proxy: Any = getattr(quantizer, "proxy_class", None)
    if isinstance(proxy, type) and issubclass(proxy, FaultyWeightProxy):
        return quantizer
    reason = why_not(quantizer)
    if reason is not None:
        raise TypeError(f"{quantizer.__name__} cannot hold stuck-at faults: {reason}")
    return type(f"Faulty{quantizer.__name__}", (COUNTERPARTS[proxy].fragment, quantizer), {})


def why_not(quantizer: Any) -> str | None:
    """Return the reason why a weight or bias quantizer cannot hold faults, or None if it can."""
    proxy = getattr(quantizer, "proxy_class", None)
    if proxy is DecoupledWeightQuantWithInputProxyFromInjector:
        return (
            "accumulator-aware quantization (A2Q) bounds the norm of the weights so that no accumulator overflows, and a "
            "stuck bit breaks the bound"
        )
    if proxy is BiasQuantProxyFromInjector and quantizer.requires_input_scale:
        return (
            "its scale is that of the input times that of the weights, so that its codes are known only while the network "
            "runs; take one with a scale of its own, such as Int8BiasPerTensorFloatInternalScaling"
        )
    bases = (WeightQuantProxyFromInjectorBase, BiasQuantProxyFromInjector)
    if not isinstance(proxy, type) or not issubclass(proxy, bases):
        return "it is not a quantizer of weights or biases"
    if proxy not in COUNTERPARTS:
        return f"its proxy {proxy.__name__} does not yield integer codes that the plugin knows"
    counterpart = COUNTERPARTS[proxy]
    own_tensor_quant = _injected_class(quantizer, "tensor_quant")
    if own_tensor_quant not in (None, RescalingIntQuant, DecoupledRescalingIntQuant):
        return f"its codes come from {own_tensor_quant.__name__}, which has no integer codes of 2 bits and more"
    # Brevitas takes an enum or a string in any case.
    kind = None if own_tensor_quant is not None else str(quantizer.quant_type).upper()
    if kind not in (None, QuantType.INT.value):
        return f"its quant_type is {kind!r}, which has no integer codes of 2 bits and more"
    own_int_quant = _injected_class(quantizer, counterpart.int_quant_name)
    if own_int_quant not in (None, counterpart.plain_int_quant):
        return f"it has an integer quantizer of its own, {own_int_quant.__name__}, which the plugin would replace"
    return None


def _injected_class(quantizer: Any, name: str) -> Any:
    """Return the class that an injector names for ``name``; None if there is none or a function computes it."""
    spec = quantizer.__dependencies__.get(name)
    return spec[1] if spec is not None and isinstance(spec[1], type) else None
