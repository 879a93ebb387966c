"""Second moments of each layer's inputs, which give the output error caused by weight errors. NumPy only.

Not here: measuring them on a model, which needs torch; see ``prepare/compensation/``.
"""

from tremap_brevitas.moments.file import InputMoments
from tremap_brevitas.moments.layer import LayerMoments

__all__ = ["InputMoments", "LayerMoments"]
