"""Fixed-point weight quantizers: power-of-two scales."""

from brevitas.quant.fixed_point import (
    Int4WeightPerTensorFixedPointDecoupled,
    Int8WeightPerChannelFixedPoint,
    Int8WeightPerChannelFixedPointMSE,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFixedPointMSE,
)

from tremap_brevitas.quant.base import FaultyDecoupledWeight, FaultyWeight

__all__ = [
    "FaultyInt4WeightPerTensorFixedPointDecoupled",
    "FaultyInt8WeightPerChannelFixedPoint",
    "FaultyInt8WeightPerChannelFixedPointMSE",
    "FaultyInt8WeightPerTensorFixedPoint",
    "FaultyInt8WeightPerTensorFixedPointMSE",
]


class FaultyInt8WeightPerTensorFixedPoint(FaultyWeight, Int8WeightPerTensorFixedPoint):
    """One power-of-two scale for the weight, from its statistics; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerTensorFixedPoint)
    """


class FaultyInt8WeightPerChannelFixedPoint(FaultyWeight, Int8WeightPerChannelFixedPoint):
    """A power-of-two scale for each output channel, from its statistics; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerChannelFixedPoint)
    """


class FaultyInt8WeightPerTensorFixedPointMSE(FaultyWeight, Int8WeightPerTensorFixedPointMSE):
    """One learned power-of-two scale for the weight, initialized by least squares; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerTensorFixedPointMSE)
    """


class FaultyInt8WeightPerChannelFixedPointMSE(FaultyWeight, Int8WeightPerChannelFixedPointMSE):
    """A learned power-of-two scale for each output channel, initialized by least squares; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerChannelFixedPointMSE)
    """


class FaultyInt4WeightPerTensorFixedPointDecoupled(FaultyDecoupledWeight, Int4WeightPerTensorFixedPointDecoupled):
    """4 bits, decoupled L2,inf normalization and one learned power-of-two scale; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt4WeightPerTensorFixedPointDecoupled)
    """
