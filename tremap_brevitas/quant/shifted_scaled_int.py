"""Unsigned weight quantizers with a zero point."""

from brevitas.quant.shifted_scaled_int import (
    ShiftedUint8WeightGroupQuantFloat,
    ShiftedUint8WeightPerChannelFloat,
    ShiftedUint8WeightPerChannelFloatHQO,
    ShiftedUint8WeightPerChannelFloatMSE,
    ShiftedUint8WeightPerGroupFloatHQO,
    ShiftedUint8WeightPerTensorFloat,
    ShiftedUint8WeightPerTensorFloatHQO,
    ShiftedUint8WeightPerTensorFloatMSE,
)

from tremap_brevitas.quant.base import FaultyGroupwiseWeight, FaultyWeight

__all__ = [
    "FaultyShiftedUint8WeightGroupQuantFloat",
    "FaultyShiftedUint8WeightPerChannelFloat",
    "FaultyShiftedUint8WeightPerChannelFloatHQO",
    "FaultyShiftedUint8WeightPerChannelFloatMSE",
    "FaultyShiftedUint8WeightPerGroupFloatHQO",
    "FaultyShiftedUint8WeightPerTensorFloat",
    "FaultyShiftedUint8WeightPerTensorFloatHQO",
    "FaultyShiftedUint8WeightPerTensorFloatMSE",
]


class FaultyShiftedUint8WeightPerTensorFloat(FaultyWeight, ShiftedUint8WeightPerTensorFloat):
    """Unsigned, one float scale and zero point, from the statistics of the weight; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyShiftedUint8WeightPerTensorFloat)
    """


class FaultyShiftedUint8WeightPerChannelFloat(FaultyWeight, ShiftedUint8WeightPerChannelFloat):
    """Unsigned, a float scale and zero point for each output channel; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyShiftedUint8WeightPerChannelFloat)
    """


class FaultyShiftedUint8WeightPerTensorFloatMSE(FaultyWeight, ShiftedUint8WeightPerTensorFloatMSE):
    """Unsigned, one learned scale and zero point, initialized by least squares; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyShiftedUint8WeightPerTensorFloatMSE)
    """


class FaultyShiftedUint8WeightPerChannelFloatMSE(FaultyWeight, ShiftedUint8WeightPerChannelFloatMSE):
    """Unsigned, a learned scale and zero point for each output channel, initialized by least squares; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyShiftedUint8WeightPerChannelFloatMSE)
    """


class FaultyShiftedUint8WeightPerTensorFloatHQO(FaultyWeight, ShiftedUint8WeightPerTensorFloatHQO):
    """Unsigned, one zero point chosen by half-quadratic optimization; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyShiftedUint8WeightPerTensorFloatHQO)
    """


class FaultyShiftedUint8WeightPerChannelFloatHQO(FaultyWeight, ShiftedUint8WeightPerChannelFloatHQO):
    """Unsigned, a zero point for each output channel chosen by half-quadratic optimization; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultyShiftedUint8WeightPerChannelFloatHQO)
    """


class FaultyShiftedUint8WeightPerGroupFloatHQO(FaultyGroupwiseWeight, ShiftedUint8WeightPerGroupFloatHQO):
    """Unsigned, a zero point for each group chosen by half-quadratic optimization; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(64, 5, bias=False, weight_quant=FaultyShiftedUint8WeightPerGroupFloatHQO)
    """


class FaultyShiftedUint8WeightGroupQuantFloat(FaultyGroupwiseWeight, ShiftedUint8WeightGroupQuantFloat):
    """Unsigned, a float scale and zero point for each group; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(
        ...     64, 5, bias=False, weight_quant=FaultyShiftedUint8WeightGroupQuantFloat, weight_group_size=32
        ... )
    """
