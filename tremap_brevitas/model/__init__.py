"""What a user does to a model: make it faulty, place it, set and clear faults, read its codes."""

from tremap_brevitas.model.compiled import compiled
from tremap_brevitas.model.convert import make_faulty, restore
from tremap_brevitas.model.faults import (
    clear_faults_,
    layer_codes,
    memory_image,
    set_faults_,
    using_codes,
    using_faults,
)
from tremap_brevitas.model.place import place

__all__ = [
    "clear_faults_",
    "compiled",
    "layer_codes",
    "make_faulty",
    "memory_image",
    "place",
    "restore",
    "set_faults_",
    "using_codes",
    "using_faults",
]
