"""A Brevitas model and its place in a memory: make it faulty, place it, set faults, read its codes, evaluate and export it."""

from tremap_brevitas.placed.compiled import compiled
from tremap_brevitas.placed.convert import make_faulty, restore
from tremap_brevitas.placed.place import place
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.rule import Rule

__all__ = ["PlacedModel", "Rule", "compiled", "make_faulty", "place", "restore"]
