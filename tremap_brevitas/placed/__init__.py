"""Place a Brevitas model in a memory: set faults, read codes, evaluate, export.

Here: ``PlacedModel``, and the conversion of models. Not here: the preparation of networks, which stands above in
``prepare/``, and placements without a model (``placement/``).
"""

from tremap_brevitas.placed.compiled import compiled
from tremap_brevitas.placed.convert import make_faulty, restore
from tremap_brevitas.placed.place import place
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.rule import Rule

__all__ = ["PlacedModel", "Rule", "compiled", "make_faulty", "place", "restore"]
