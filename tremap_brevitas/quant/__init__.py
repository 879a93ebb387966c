"""Faulty counterparts of Brevitas' integer weight quantizers, by name, and ``faulty`` for any other.

Not here: the code that applies faults, which is in ``proxy/`` and ``core/``.
"""

from tremap_brevitas.quant.base import faulty
from tremap_brevitas.quant.fixed_point import (
    FaultyInt4WeightPerTensorFixedPointDecoupled,
    FaultyInt8WeightPerChannelFixedPoint,
    FaultyInt8WeightPerChannelFixedPointMSE,
    FaultyInt8WeightPerTensorFixedPoint,
    FaultyInt8WeightPerTensorFixedPointMSE,
)
from tremap_brevitas.quant.mx_int import (
    FaultyMXInt8Weight,
    FaultyMXInt8WeightMSE,
    FaultyShiftedMXUInt8Weight,
    FaultyShiftedMXUInt8WeightMSE,
)
from tremap_brevitas.quant.scaled_int import (
    FaultyInt4WeightPerTensorFloatDecoupled,
    FaultyInt8WeightNormL2PerChannelFixedPoint,
    FaultyInt8WeightPerChannelFloat,
    FaultyInt8WeightPerChannelFloatDecoupled,
    FaultyInt8WeightPerChannelFloatHQO,
    FaultyInt8WeightPerChannelFloatMSE,
    FaultyInt8WeightPerTensorFloat,
    FaultyInt8WeightPerTensorFloatHQO,
    FaultyInt8WeightPerTensorFloatMSE,
)
from tremap_brevitas.quant.shifted_scaled_int import (
    FaultyShiftedUint8WeightGroupQuantFloat,
    FaultyShiftedUint8WeightPerChannelFloat,
    FaultyShiftedUint8WeightPerChannelFloatHQO,
    FaultyShiftedUint8WeightPerChannelFloatMSE,
    FaultyShiftedUint8WeightPerGroupFloatHQO,
    FaultyShiftedUint8WeightPerTensorFloat,
    FaultyShiftedUint8WeightPerTensorFloatHQO,
    FaultyShiftedUint8WeightPerTensorFloatMSE,
)
from tremap_brevitas.quant.ternary import (
    FaultySignedTernaryWeightPerTensorConst,
)

__all__ = [
    "FaultyInt4WeightPerTensorFixedPointDecoupled",
    "FaultyInt4WeightPerTensorFloatDecoupled",
    "FaultyInt8WeightNormL2PerChannelFixedPoint",
    "FaultyInt8WeightPerChannelFixedPoint",
    "FaultyInt8WeightPerChannelFixedPointMSE",
    "FaultyInt8WeightPerChannelFloat",
    "FaultyInt8WeightPerChannelFloatDecoupled",
    "FaultyInt8WeightPerChannelFloatHQO",
    "FaultyInt8WeightPerChannelFloatMSE",
    "FaultyInt8WeightPerTensorFixedPoint",
    "FaultyInt8WeightPerTensorFixedPointMSE",
    "FaultyInt8WeightPerTensorFloat",
    "FaultyInt8WeightPerTensorFloatHQO",
    "FaultyInt8WeightPerTensorFloatMSE",
    "FaultyMXInt8Weight",
    "FaultyMXInt8WeightMSE",
    "FaultyShiftedMXUInt8Weight",
    "FaultyShiftedMXUInt8WeightMSE",
    "FaultyShiftedUint8WeightGroupQuantFloat",
    "FaultyShiftedUint8WeightPerChannelFloat",
    "FaultyShiftedUint8WeightPerChannelFloatHQO",
    "FaultyShiftedUint8WeightPerChannelFloatMSE",
    "FaultyShiftedUint8WeightPerGroupFloatHQO",
    "FaultyShiftedUint8WeightPerTensorFloat",
    "FaultyShiftedUint8WeightPerTensorFloatHQO",
    "FaultyShiftedUint8WeightPerTensorFloatMSE",
    "FaultySignedTernaryWeightPerTensorConst",
    "faulty",
]
