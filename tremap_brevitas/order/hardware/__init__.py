"""Hardware of an accelerator besides free channels: scrambled addresses, rotated words, inverted words. NumPy only.

Not here: spare rows and columns (``faults/array/``), which every memory may have.
"""

from tremap_brevitas.order.hardware.hardware import Hardware
from tremap_brevitas.order.hardware.setting import HardwareSetting

__all__ = ["Hardware", "HardwareSetting"]
