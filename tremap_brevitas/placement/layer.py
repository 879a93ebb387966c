"""One layer in a memory, and the bits of its weights."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.codes import Encoding, code_range
from tremap_brevitas.faults.permutation import inverse


@dataclass(frozen=True, eq=False)
class PlacedLayer:
    """Location and format of the codes of one layer's weight.

    Position ``p`` of the layer is code ``p % codes_per_word`` of word ``first_word + p // codes_per_word``; code
    ``c`` of a word takes its bits ``c * bit_width`` and up, LSB first. A code never straddles two words.

    Args:
        name: Dotted name of the layer in the model, such as ``"features.0"``.
        shape: Shape of the weight.
        bit_width: Bits of a code, 1 to 16.
        encoding: How a code is stored; ``"binary"`` means that the codes are unsigned.
        first_word: First word of the layer. With a reused memory it may lie beyond the last physical word.
        codes_per_word: Whole codes in a word.
        order: Flat, row-major index of the weight at each position; None for row-major order itself.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is out of its range, the encoding unknown, or the order not a permutation.
    """

    name: str
    shape: tuple[int, ...]
    bit_width: int
    encoding: Encoding
    first_word: int
    codes_per_word: int
    order: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        code_range(bit_width=self.bit_width, encoding=self.encoding)
        object.__setattr__(self, "shape", tuple(operator.index(n) for n in self.shape))
        for name in ("bit_width", "first_word", "codes_per_word"):
            object.__setattr__(self, name, operator.index(getattr(self, name)))
        if self.size < 1 or self.codes_per_word < 1 or self.first_word < 0:
            raise ValueError(
                f"layer {self.name!r}: needs a non-empty shape, at least one code a word and a first word >= 0, got "
                f"shape {self.shape}, {self.codes_per_word} codes a word, first word {self.first_word}"
            )
        if self.order is not None:
            order = np.array(self.order)
            if order.dtype.kind not in "iu":
                raise TypeError(f"layer {self.name!r}: order must hold integers, got {order.dtype}")
            order = order.astype(np.int64)
            if order.shape != (self.size,) or not np.array_equal(np.sort(order), np.arange(self.size)):
                raise ValueError(f"layer {self.name!r}: order must be a permutation of 0 to {self.size - 1}")
            order.flags.writeable = False
            object.__setattr__(self, "order", order)

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, so that the order is read-only again.
        values = (self.name, self.shape, self.bit_width, self.encoding, self.first_word, self.codes_per_word, self.order)
        return type(self), values

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def words(self) -> int:
        """Number of words."""
        return -(-self.size // self.codes_per_word)

    @property
    def signed(self) -> bool:
        """Whether the codes are signed."""
        return self.encoding != "binary"

    @cached_property
    def positions(self) -> NDArray[np.int64] | None:
        """Position of each weight: the inverse of ``order``; None for row-major order."""
        return inverse(self.order)

    def description(self) -> dict[str, Any]:
        """Return everything but the order, in a form that JSON can store."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "bit_width": self.bit_width,
            "encoding": self.encoding,
            "first_word": self.first_word,
            "codes_per_word": self.codes_per_word,
        }


@dataclass(frozen=True, eq=False)
class LayerSites:
    """The bits of one layer's weights that lie in given cells, one entry for each bit.

    Attributes:
        layer: The layer.
        weight: Flat, row-major index of the weight.
        bit: Bit of its code; 0 is the LSB.
        source: Index into the cells that were given.
    """

    layer: PlacedLayer
    weight: NDArray[np.int64]
    bit: NDArray[np.int64]
    source: NDArray[np.int64]


@dataclass(frozen=True)
class WeightBit:
    """One bit of one weight's code."""

    layer: str
    index: tuple[int, ...]
    bit: int

    def __str__(self) -> str:
        return f"bit {self.bit} of {parameter_of(self.layer, self.index)}"


def parameter_of(layer: str, index: tuple[int, ...]) -> str:
    """Return the name of one weight of a layer, such as ``conv1.weight[0,2,1,1]``; a layer ``fc.bias`` is a bias.

    Examples:
        >>> parameter_of("fc", (0, 2)), parameter_of("fc.bias", (2,))
        ('fc.weight[0,2]', 'fc.bias[2]')
    """
    # A layer that happens to be called "bias" has a weight of two dimensions at least.
    is_bias = len(index) == 1 and f".{layer}".endswith(".bias")
    return f"{layer if is_bias else f'{layer}.weight'}[{','.join(str(int(i)) for i in index)}]"
