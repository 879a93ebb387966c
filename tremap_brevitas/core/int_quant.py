"""Brevitas' integer quantizers with a faulty memory between rounding and dequantization."""

import brevitas
from brevitas.core.function_wrapper import RoundSte, TensorClamp
from brevitas.core.quant.int_base import DecoupledIntQuant, IntQuant
from torch import Tensor
from torch.nn import Module

from tremap_brevitas.core.stuck_at import StuckAt


class StuckAtIntQuant(IntQuant):
    """IntQuant whose codes pass through a memory with stuck cells before they are dequantized.

    Same arguments as [IntQuant][brevitas.core.quant.IntQuant]; ``to_int``, which also quantizes zero points, is
    untouched. Without faults it computes what IntQuant computes, bit for bit.

    Examples:
        >>> import torch
        >>> from brevitas.core.function_wrapper import Identity
        >>> int_quant = StuckAtIntQuant(narrow_range=True, signed=True, input_view_impl=Identity())
        >>> scale, zero_point, bit_width = torch.tensor(0.01), torch.tensor(0.0), torch.tensor(4.0)
        >>> int_quant(scale, zero_point, bit_width, torch.tensor([0.042, -0.053, 0.31, -0.44]))
        tensor([ 0.0400, -0.0500,  0.0700, -0.0700])
    """

    def __init__(
        self,
        narrow_range: bool,
        signed: bool,
        input_view_impl: Module,
        float_to_int_impl: Module = RoundSte(),  # noqa: B008 (Brevitas' own default)
        tensor_clamp_impl: Module = TensorClamp(),  # noqa: B008
        quant_delay_steps: int = 0,
    ):
        super().__init__(narrow_range, signed, input_view_impl, float_to_int_impl, tensor_clamp_impl, quant_delay_steps)
        self.stuck_at = StuckAt()

    @brevitas.jit.script_method
    def forward(self, scale: Tensor, zero_point: Tensor, bit_width: Tensor, x: Tensor) -> Tensor:
        """Quantize, store, read back, dequantize."""
        y_int = self.to_int(scale, zero_point, bit_width, x)
        if self.stuck_at.mode != 0:
            y_int = self.stuck_at.forward(y_int)
        y = y_int - zero_point
        y = y * scale
        y = self.delay_wrapper(x, y)
        return y


class StuckAtDecoupledIntQuant(DecoupledIntQuant):
    """DecoupledIntQuant whose codes pass through a memory with stuck cells before they are dequantized."""

    def __init__(
        self,
        narrow_range: bool,
        signed: bool,
        input_view_impl: Module,
        float_to_int_impl: Module = RoundSte(),  # noqa: B008 (Brevitas' own default)
        tensor_clamp_impl: Module = TensorClamp(),  # noqa: B008
        quant_delay_steps: int = 0,
    ):
        super().__init__(narrow_range, signed, input_view_impl, float_to_int_impl, tensor_clamp_impl, quant_delay_steps)
        self.stuck_at = StuckAt()

    @brevitas.jit.script_method
    def forward(
        self,
        pre_scale: Tensor,
        pre_zero_point: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        bit_width: Tensor,
        x: Tensor,
    ) -> Tensor:
        """Quantize, store, read back, dequantize."""
        y_int = self.to_int(pre_scale, pre_zero_point, bit_width, x)
        if self.stuck_at.mode != 0:
            y_int = self.stuck_at.forward(y_int)
        y = y_int - zero_point
        y = y * scale
        y = self.delay_wrapper(x, y)
        return y
