"""Ternary weight quantizer: Brevitas stores it as 2-bit integer codes."""

from brevitas.quant.ternary import (
    SignedTernaryWeightPerTensorConst,
)

from tremap_brevitas.quant.base import FaultyWeight

__all__ = [
    "FaultySignedTernaryWeightPerTensorConst",
]


class FaultySignedTernaryWeightPerTensorConst(FaultyWeight, SignedTernaryWeightPerTensorConst):
    """Codes -1, 0 and 1 of 2 bits with a constant scale; a stuck sign bit can give -2; with stuck cells.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> fc = QuantLinear(10, 5, bias=False, weight_quant=FaultySignedTernaryWeightPerTensorConst)
    """
