"""Signed weight quantizers with floating-point scales."""

from brevitas.quant.scaled_int import (
    Int4WeightPerTensorFloatDecoupled,
    Int8WeightNormL2PerChannelFixedPoint,
    Int8WeightPerChannelFloat,
    Int8WeightPerChannelFloatDecoupled,
    Int8WeightPerChannelFloatHQO,
    Int8WeightPerChannelFloatMSE,
    Int8WeightPerTensorFloat,
    Int8WeightPerTensorFloatHQO,
    Int8WeightPerTensorFloatMSE,
)

from tremap_brevitas.quant.base import FaultyDecoupledWeight, FaultyWeight

__all__ = [
    "FaultyInt4WeightPerTensorFloatDecoupled",
    "FaultyInt8WeightNormL2PerChannelFixedPoint",
    "FaultyInt8WeightPerChannelFloat",
    "FaultyInt8WeightPerChannelFloatDecoupled",
    "FaultyInt8WeightPerChannelFloatHQO",
    "FaultyInt8WeightPerChannelFloatMSE",
    "FaultyInt8WeightPerTensorFloat",
    "FaultyInt8WeightPerTensorFloatHQO",
    "FaultyInt8WeightPerTensorFloatMSE",
]


class FaultyInt8WeightPerTensorFloat(FaultyWeight, Int8WeightPerTensorFloat):
    """One float scale for the weight, from its statistics; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerTensorFloat)
    """


class FaultyInt8WeightPerChannelFloat(FaultyWeight, Int8WeightPerChannelFloat):
    """A float scale for each output channel, from its statistics; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerChannelFloat)
    """


class FaultyInt8WeightPerTensorFloatMSE(FaultyWeight, Int8WeightPerTensorFloatMSE):
    """One learned float scale for the weight, initialized by least squares; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerTensorFloatMSE)
    """


class FaultyInt8WeightPerChannelFloatMSE(FaultyWeight, Int8WeightPerChannelFloatMSE):
    """A learned float scale for each output channel, initialized by least squares; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerChannelFloatMSE)
    """


class FaultyInt8WeightPerTensorFloatHQO(FaultyWeight, Int8WeightPerTensorFloatHQO):
    """One learned float scale for the weight, initialized by half-quadratic optimization; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerTensorFloatHQO)
    """


class FaultyInt8WeightPerChannelFloatHQO(FaultyWeight, Int8WeightPerChannelFloatHQO):
    """A learned float scale per output channel, initialized by half-quadratic optimization; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerChannelFloatHQO)
    """


class FaultyInt4WeightPerTensorFloatDecoupled(FaultyDecoupledWeight, Int4WeightPerTensorFloatDecoupled):
    """4 bits, decoupled L2,inf normalization and one learned float scale; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt4WeightPerTensorFloatDecoupled)
    """


class FaultyInt8WeightPerChannelFloatDecoupled(FaultyDecoupledWeight, Int8WeightPerChannelFloatDecoupled):
    """Decoupled Linf normalization and a learned float scale for each output channel; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightPerChannelFloatDecoupled)
    """


class FaultyInt8WeightNormL2PerChannelFixedPoint(FaultyDecoupledWeight, Int8WeightNormL2PerChannelFixedPoint):
    """Weight normalization and a learned power-of-two scale for each output channel; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyInt8WeightNormL2PerChannelFixedPoint)
    """
