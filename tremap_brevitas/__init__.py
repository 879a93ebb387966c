"""Retrain one Brevitas network for a whole group of accelerator chips with stuck-at faults in their weight memory.

The public names; `import tremap_brevitas as tm`. They stand in ``__init__.pyi`` and are imported when first used, so that what
needs neither torch nor Brevitas (fault maps, placements, certificates, the verification of bundles) runs without them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
