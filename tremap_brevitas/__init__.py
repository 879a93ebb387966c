"""Prepare one Brevitas network for a group of accelerator chips with stuck cells in their weight memories.

The public names; `import tremap_brevitas as tm`. They are listed in ``__init__.pyi`` and imported when first used, so that
the parts that need neither torch nor Brevitas (fault maps, placements, certificates, verifying bundles) work without them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
