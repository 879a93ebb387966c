"""Results of compensation, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tabulate import tabulate

from tremap_brevitas.printable import counted


@dataclass(frozen=True)
class CompensatedLayer:
    """Result of compensation for one layer.

    Attributes:
        layer: Its name.
        nearest: Error of its output with the nearest codes: root mean square over that of the output.
        compensated: The same with the codes chosen.
        changed: Number of codes that are not the nearest ones of the healthy network.
        flipped: Number of output channels whose sign was turned over.
        reason: Why the layer keeps its nearest codes; empty if it was compensated.
        limit: Part of the compensation that was not done for this layer, and why; empty if everything was done.
    """

    layer: str
    nearest: float
    compensated: float
    changed: int
    flipped: int
    reason: str = ""
    limit: str = ""


@dataclass(frozen=True)
class CompensationReport:
    """Result of compensation for a whole network.

    Attributes:
        layers: The layers, in order of execution.
        images: Number of inputs used.
        seconds: How long it took.

    Examples:
        >>> layers = CompensatedLayer("conv1", 0.2, 0.05, 31, 2), CompensatedLayer("emb", 0.1, 0.1, 0, 0, "an embedding")
        >>> print(CompensationReport(layers, images=512, seconds=0.5))
        layer      nearest codes    compensated    codes changed    channels turned over  note
        conv1             0.2000         0.0500               31                       2
        emb               0.1000         0.1000                0                       0  an embedding
        relative error of the outputs, all layers together: 0.2236 -> 0.1118; 512 inputs, 0.5 s
    """

    layers: tuple[CompensatedLayer, ...]
    images: int
    seconds: float

    @property
    def error(self) -> float:
        """Root of the sum over the layers of the squared relative errors that remain; it predicts the accuracy."""
        return math.sqrt(sum(layer.compensated**2 for layer in self.layers))

    @property
    def nearest_error(self) -> float:
        """The same error if the nearest codes were stored instead."""
        return math.sqrt(sum(layer.nearest**2 for layer in self.layers))

    def __str__(self) -> str:
        rows = [(r.layer, r.nearest, r.compensated, r.changed, r.flipped, r.reason or r.limit) for r in self.layers]
        heads = ["layer", "nearest codes", "compensated", "codes changed", "channels turned over", "note"]
        table = tabulate(rows, heads, tablefmt="plain", floatfmt=".4f", disable_numparse=[0, 5])
        return (
            f"{table}\nrelative error of the outputs, all layers together: {self.nearest_error:.4f} -> {self.error:.4f}; "
            f"{counted(self.images, 'input')}, {self.seconds:.1f} s"
        )
