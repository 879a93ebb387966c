"""Running a faulty model compiled: the same codes, in about half the time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch._dynamo.config
from torch import Tensor, nn

# Every layer in every mode counts, and above the limit torch goes on uncompiled, without a word.
LIMITS = {"recompile_limit": 4096, "accumulated_recompile_limit": 65536}


def compiled(model: nn.Module, *, bfloat16: bool = False) -> Callable[..., Any]:
    """Return a function that runs a model compiled; training, setting faults and ramps go on as before on the model itself.

    The first call in each mode (training or not, healthy, plain, nearest) compiles for some seconds; another map in the same
    mode does not. Compile for one size of batch: a last, smaller batch compiles once more. A ``load_state_dict`` makes Brevitas
    build new quantizers, which are compiled anew: copy values into the parameters instead where that happens often.

    Args:
        model: A model whose quantizers can hold faults. Let Brevitas finish measuring activation scales first (its first
            300 training steps): their counters would be compiled anew at every step.
        bfloat16: Compute convolutions and matrix products in bfloat16. Codes up to 8 bits are exact in it; sums are rounded.
            Floating-point results come back as float32. Pays on processors with AMX or AVX512-BF16.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc = tm.make_faulty(QuantLinear(4, 2, bias=False))
        >>> run = tm.compiled(fc)  # then: run(inputs), in place of fc(inputs)
    """
    run = torch.compile(model, dynamic=False)

    def forward(*args: Any, **kwargs: Any) -> Any:
        device = next(model.parameters()).device.type
        half = torch.autocast(device, torch.bfloat16) if bfloat16 else nullcontext()
        with torch._dynamo.config.patch(LIMITS), half:
            result = run(*args, **kwargs)
        return result.float() if bfloat16 and isinstance(result, Tensor) and result.is_floating_point() else result

    return forward
