from .patch import Patch, PatchedLayer, patch

__all__ = ["Patch", "PatchedLayer", "patch"]
