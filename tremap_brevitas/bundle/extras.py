"""Optional parts of a bundle: moments of the layers' inputs, and groups of channels. Needs neither torch nor Brevitas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tremap_brevitas.moments import InputMoments
from tremap_brevitas.placement import MemoryImage, Placement

if TYPE_CHECKING:
    from tremap_brevitas.order import ChannelGroup

MOMENTS = "moments.npz"
GROUPS = "groups.npz"


def read_moments(path: Path, image: MemoryImage) -> InputMoments:
    """Read the moments that belong to a memory image.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or of another image, or of layers of other shapes.
    """
    moments = InputMoments.load(path)
    if moments.image != image.digest:
        raise ValueError(f"{path}: belongs to an image of digest {moments.image}, the bundle's is {image.digest}")
    for name, layer in moments.layers.items():
        if name not in image.codes:
            raise ValueError(f"{path}: layer {name!r} is not in the memory image")
        try:
            layer.check(image.codes[name].shape)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return moments


def read_groups(path: Path, placement: Placement) -> tuple[ChannelGroup, ...]:
    """Read the groups of channels of the network that a placement holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or of layers that are not placed, or of other shapes.
    """
    from tremap_brevitas.order import check_groups, load_groups  # here, since SciPy takes a while

    groups = load_groups(path)
    try:
        check_groups(groups, placement)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return groups
