"""Run a faulty model compiled: the same codes, in about half the time."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch._dynamo.config
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from tremap_brevitas.placed.slots import check_type
from tremap_brevitas.proxy import FaultyWeightProxy

# Every layer in every mode is one compilation. Above the limit torch silently runs the rest uncompiled.
LIMITS = {"recompile_limit": 4096, "accumulated_recompile_limit": 65536}


def compiled(model: nn.Module, *, bfloat16: bool = False) -> Callable[..., Any]:
    """Return a compiled version of a model's forward pass; training and setting faults still use the model itself.

    The first call in each mode (training or evaluation; healthy, plain or nearest) takes some seconds to compile; another map
    in the same mode does not compile again. Use one batch size: a smaller last batch compiles once more. After a
    ``load_state_dict`` Brevitas has new quantizers, which are compiled anew: where that happens often, copy values into the
    parameters instead.

    Args:
        model: A model whose quantizers can hold faults. Let Brevitas finish measuring activation scales first (its first
            300 training steps), or each of these steps compiles anew.
        bfloat16: Compute convolutions and matrix products in bfloat16; faster on processors with AMX or AVX512-BF16. Weights of
            codes up to 8 bits are exact in it where their scale is a power of two (the ``…FixedPoint`` and MX quantizers); then
            only inputs and sums are rounded. Other weights are rounded too, by up to a quarter of a code at the upper end of
            8 bits: a warning names their layers. Results are float32, in tuples, dictionaries and dataclasses too.

    Raises:
        TypeError: If ``model`` is not a module.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc = tm.make_faulty(QuantLinear(4, 2, bias=False))
        >>> run = tm.compiled(fc)  # then: run(inputs), in place of fc(inputs)
    """
    check_type("model", model, nn.Module)
    if bfloat16:
        _warn_of_rounding(model)
    run = torch.compile(model, dynamic=False)

    def forward(*args: Any, **kwargs: Any) -> Any:
        device = next(model.parameters()).device.type
        half = torch.autocast(device, torch.bfloat16) if bfloat16 else nullcontext()
        with torch._dynamo.config.patch(LIMITS), half:
            result = run(*args, **kwargs)
        return tree_map(_in_float32, result) if bfloat16 else result

    return forward


def _in_float32(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.float() if leaf.dtype == torch.bfloat16 else leaf
    if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
        fields = {f.name: tree_map(_in_float32, getattr(leaf, f.name)) for f in dataclasses.fields(leaf) if f.init}
        return dataclasses.replace(leaf, **fields)
    return leaf


def _warn_of_rounding(model: nn.Module) -> None:
    layers = ((name, getattr(module, "weight_quant", None)) for name, module in model.named_modules())
    proxies = [(name, proxy) for name, proxy in layers if isinstance(proxy, FaultyWeightProxy) and proxy.is_quant_enabled]
    rounded = [name for name, proxy in proxies if not proxy.exact_in_bfloat16]
    if rounded:
        warnings.warn(
            f"compiled(bfloat16=True): the weights of layers {', '.join(map(repr, rounded))} are rounded to bfloat16, because "
            f"their scales are not powers of two or their codes are wider than 8 bits; weights are exact with quantizers such "
            f"as FaultyInt8WeightPerTensorFixedPoint",
            stacklevel=3,
        )
