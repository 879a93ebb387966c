"""Weight proxies, which hold the faults of their layers and keep them when Brevitas rebuilds its quantizers.

Importing this package registers handlers for them with Brevitas' own export managers, so that models with faults can be
exported. Not here: fault maps and placements of whole models, which ``placed/`` turns into the faults of each weight.
"""

import tremap_brevitas.proxy.export_handlers as _export_handlers  # noqa: F401 (registers)
from tremap_brevitas.proxy.bias_proxy import FaultyBiasQuantProxyFromInjector
from tremap_brevitas.proxy.weight_faults import WeightCodes, WeightFaults
from tremap_brevitas.proxy.weight_proxy import (
    FaultyDecoupledWeightQuantProxyFromInjector,
    FaultyGroupwiseWeightQuantProxyFromInjector,
    FaultyWeightProxy,
    FaultyWeightQuantProxyFromInjector,
)

__all__ = [
    "FaultyBiasQuantProxyFromInjector",
    "FaultyDecoupledWeightQuantProxyFromInjector",
    "FaultyGroupwiseWeightQuantProxyFromInjector",
    "FaultyWeightProxy",
    "FaultyWeightQuantProxyFromInjector",
    "WeightCodes",
    "WeightFaults",
]
