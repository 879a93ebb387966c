"""The rule for how codes are stored and how gradients pass stuck cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from tremap_brevitas.proxy.weight_faults import Gradient, Store


@dataclass(frozen=True)
class Rule:
    """How codes are written to the memory, and how training treats stuck cells.

    Args:
        store: ``"nearest"``: the code whose read-back is nearest to the wanted one. ``"plain"``: the quantized code itself, as
            in TRE-Map.
        gradient: ``"identity"``: straight through for every weight. ``"zero_fully_stuck"``: none for a weight all of whose
            bits are stuck, since no update can change what is read. The scale's gradient then loses that weight's
            share through rounding, and keeps its share through dequantization.

    Raises:
        ValueError: If one of them is unknown.

    Examples:
        >>> Rule()
        Rule(store='nearest', gradient='identity')
    """

    store: Store = "nearest"
    gradient: Gradient = "identity"

    def __post_init__(self) -> None:
        for name, known in (("store", get_args(Store)), ("gradient", get_args(Gradient))):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} must be {' or '.join(map(repr, known))}, got {value!r}")
