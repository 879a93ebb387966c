"""Group-wise integer weight quantizers of the MX family."""

from brevitas.quant.mx_quant_ocp import (
    MXInt8Weight,
    MXInt8WeightMSE,
    ShiftedMXUInt8Weight,
    ShiftedMXUInt8WeightMSE,
)

from tremap_brevitas.quant.base import FaultyGroupwiseWeight

__all__ = [
    "FaultyMXInt8Weight",
    "FaultyMXInt8WeightMSE",
    "FaultyShiftedMXUInt8Weight",
    "FaultyShiftedMXUInt8WeightMSE",
]


class FaultyMXInt8Weight(FaultyGroupwiseWeight, MXInt8Weight):
    """A power-of-two scale for each group; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(64, 5, bias=False, weight_quant=FaultyMXInt8Weight)
    """


class FaultyShiftedMXUInt8Weight(FaultyGroupwiseWeight, ShiftedMXUInt8Weight):
    """Unsigned, a power-of-two scale and a zero point for each group; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(64, 5, bias=False, weight_quant=FaultyShiftedMXUInt8Weight)
    """


class FaultyMXInt8WeightMSE(FaultyGroupwiseWeight, MXInt8WeightMSE):
    """A power-of-two scale for each group, chosen by least squares; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(64, 5, bias=False, weight_quant=FaultyMXInt8WeightMSE)
    """


class FaultyShiftedMXUInt8WeightMSE(FaultyGroupwiseWeight, ShiftedMXUInt8WeightMSE):
    """Unsigned, a power-of-two scale and a zero point for each group, chosen by least squares; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(64, 5, bias=False, weight_quant=FaultyShiftedMXUInt8WeightMSE)
    """
