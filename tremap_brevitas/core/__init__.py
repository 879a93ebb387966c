"""ScriptModules that apply stuck bits to codes, between rounding and dequantization.

Not here: whose faults they are, which the proxies in ``proxy/`` know.
"""

from tremap_brevitas.core import versions as _versions
from tremap_brevitas.core.int_quant import StuckAtDecoupledIntQuant, StuckAtIntQuant
from tremap_brevitas.core.stuck_at import StuckAt

__all__ = ["StuckAt", "StuckAtDecoupledIntQuant", "StuckAtIntQuant"]

_versions.check_brevitas()
