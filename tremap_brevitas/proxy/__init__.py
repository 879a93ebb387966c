"""The weight proxies: they own the faults of their layers and survive what Brevitas rebuilds."""

from tremap_brevitas.proxy.weight_faults import WeightFaults
from tremap_brevitas.proxy.weight_proxy import (
    FaultyDecoupledWeightQuantProxyFromInjector,
    FaultyGroupwiseWeightQuantProxyFromInjector,
    FaultyWeightProxy,
    FaultyWeightQuantProxyFromInjector,
    WeightCodes,
)

__all__ = [
    "FaultyDecoupledWeightQuantProxyFromInjector",
    "FaultyGroupwiseWeightQuantProxyFromInjector",
    "FaultyWeightProxy",
    "FaultyWeightQuantProxyFromInjector",
    "WeightCodes",
    "WeightFaults",
]
