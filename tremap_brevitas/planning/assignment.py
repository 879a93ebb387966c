"""A library's prepared images, and the one that was chosen for a chip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tremap_brevitas.moments import InputMoments
from tremap_brevitas.placement import MemoryImage
from tremap_brevitas.placement.certificate import Deployment
from tremap_brevitas.placement.chip_result import ChipResult

if TYPE_CHECKING:
    from tremap_brevitas.order import ChannelGroup, ChipOrder

Verdict = Literal["exact", "exact in order", "good enough", "retrain"]
Preparation = Deployment | Literal["patched"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """One prepared image of a library.

    Attributes:
        name: Its name, such as the folder of its bundle.
        image: The codes that its network was trained with.
        accuracy: Accuracy of that network.
        moments: Moments of its layers' inputs, which a curve over errors of outputs needs; None for none.
        groups: Groups of channels of its network, which orders need; None for none.
    """

    name: str
    image: MemoryImage
    accuracy: float
    moments: InputMoments | None = None
    groups: tuple[ChannelGroup, ...] | None = None


@dataclass(frozen=True)
class Assignment:
    """The image chosen for a chip.

    Attributes:
        result: Result of the image on the chip; its accuracy is predicted by the curve, or the image's own if no weight
            differs; None if neither is known.
        image: Name of the image.
        verdict: ``"exact"``: the chip computes exactly the network of the image, which reaches the goal. ``"exact in
            order"``: the same, with its channels in an order that suits the chip. ``"good enough"``: the expected accuracy
            reaches the goal. ``"retrain"``: it does not, on any image.
        error: Relative error of the codes that the chip reads; patched, or with a curve over errors of outputs, of the outputs.
        order: The order of a chip that is exact in order; else None.
    """

    result: ChipResult
    image: str
    verdict: Verdict
    error: float
    order: ChipOrder | None = field(default=None, compare=False, repr=False)
