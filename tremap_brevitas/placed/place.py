"""Place the weights of a model in a memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import nn

from tremap_brevitas.codes import MAX_BIT_WIDTH, Encoding
from tremap_brevitas.faults import Memory
from tremap_brevitas.placed.operators import with_operators
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.placed.slots import Patterns, check_enabled, check_narrow, check_told_apart, check_type, weight_slots
from tremap_brevitas.placement import LayerCodes, Placement, linear_placement
from tremap_brevitas.proxy import FaultyWeightProxy

Layout: TypeAlias = Callable[[Sequence[LayerCodes], Memory], Placement]


def place(
    model: nn.Module,
    memory: Memory,
    *,
    include: Patterns = None,
    exclude: Patterns = None,
    reuse: bool = False,
    encoding: Encoding = "twos_complement",
    layout: Layout | None = None,
    rule: Rule | None = None,
) -> PlacedModel:
    """Place the weights of a model in a memory, which is the first step of every workflow.

    Layers lie one after the other in the order of ``named_modules``, each from a word boundary; see
    [linear_placement][tremap_brevitas.placement.linear_placement]. Biases that can hold faults
    (``make_faulty(biases=True)``, or a ``faulty()`` bias quantizer) lie in the same memory, called ``"<layer>.bias"``: each
    after its layer's own weight, or in recurrent layers, whose gates hold the bias, before the gate's weights.

    Args:
        model: A model whose weight quantizers can hold faults.
        memory: The memory.
        include: Place only layers whose dotted name matches one of these patterns; default all.
        exclude: Leave out layers whose dotted name matches one of these.
        reuse: Whether a memory that is too small is loaded tile by tile; one cell then hits several weights.
        encoding: How signed codes are stored. Unsigned ones are always stored in plain binary.
        layout: Function from layers and memory to placement, such as
            ``functools.partial(finn_placement, folding={"fc": (2, 8)})``; None for the linear layout. For each layer it gets
            the groups, whether it is a transposed convolution, and, for a linear layer, the channels of the feature map that
            was flattened before it, determined by tracing the model (``torch.fx``).
        rule: How codes are stored by every method that gets no rule of its own; None for ``Rule()``, the nearest codes.

    Returns:
        The model together with its placement.

    Raises:
        ValueError: If a pattern matches no quantized layer, a layer's quantizer cannot hold faults, its codes do not fit the
            encoding, or the memory is too small (the message says how many bits are missing) and ``reuse`` is False; or
            both ``reuse`` and ``layout`` are given; two layers share one weight and one quantizer; or a weight is on the
            ``meta`` device.
        TypeError: If ``model`` is not a module or ``memory`` is not a Memory.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> model = tm.make_faulty(nn.Sequential(QuantLinear(10, 5, bias=False), QuantLinear(5, 2, bias=False)))
        >>> print(tm.place(model, tm.Memory(words=16, word_bits=32)).placement)
        60 weights of 2 layers in 16 of 16 words of 32 bits
          words        0 to       12: 0 (5×10), 8 bits twos_complement, 4 codes a word
          words       13 to       15: 1 (2×5), 8 bits twos_complement, 4 codes a word
    """
    if encoding == "binary":
        raise ValueError("encoding='binary' is implied for unsigned codes; give the encoding of signed codes")
    check_type("memory", memory, Memory)
    layers = []
    slots = weight_slots(model, include=include, exclude=exclude)
    for entry in slots:
        name, proxy = entry.name, entry.proxy
        if not isinstance(proxy, FaultyWeightProxy):
            raise ValueError(
                f"layer {name!r}: its weight quantizer cannot hold faults; call make_faulty(model), build it with a Faulty… "
                f"quantizer, or leave it out with exclude={name!r}"
            )
        check_enabled(name, proxy)
        if proxy.codes_bit_width > MAX_BIT_WIDTH:
            raise ValueError(
                f"layer {name!r}: codes of {proxy.codes_bit_width} bits, but at most {MAX_BIT_WIDTH} bits can be placed; "
                f"leave it out with exclude={name!r}"
            )
        signed = bool(entry.proxy.is_signed)
        check_narrow(name, proxy, encoding)
        layers.append(LayerCodes(name, tuple(entry.parameter.shape), proxy.codes_bit_width, encoding if signed else "binary"))
    check_told_apart(slots)
    if layout is None:
        return PlacedModel(model, linear_placement(layers, memory, reuse=reuse), rule=rule)
    if reuse:
        raise ValueError("reuse=True applies only to the linear layout; a layout of your own must handle reuse itself")
    return PlacedModel(model, layout(with_operators(model, layers), memory), rule=rule)
