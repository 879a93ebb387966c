"""Second moments of what goes into each layer: what an error of a weight does to the layer's output. NumPy only."""

from tremap_brevitas.moments.file import InputMoments
from tremap_brevitas.moments.layer import LayerMoments

__all__ = ["InputMoments", "LayerMoments"]
