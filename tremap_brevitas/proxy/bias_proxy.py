"""Bias proxy with faults, for accelerators that store biases in the same memory as the weights."""

from __future__ import annotations

from brevitas.proxy.parameter_quant import BiasQuantProxyFromInjector

from tremap_brevitas.proxy.weight_faults import WeightFaults
from tremap_brevitas.proxy.weight_proxy import FaultyWeightProxy


class FaultyBiasQuantProxyFromInjector(FaultyWeightProxy, BiasQuantProxyFromInjector):
    """BiasQuantProxyFromInjector with faults, for quantizers that compute the scale from the bias itself."""

    parameter_name = "bias"

    def set_fault_slot(self, slot: int, faults: WeightFaults | None) -> None:
        """Set or clear the faults of one bias and drop Brevitas' cached bias."""
        self._cached_bias = None
        super().set_fault_slot(slot, faults)
