"""Read-back of a code tensor: the only place where faults enter a network."""

import brevitas
import torch
from torch import Tensor

from tremap_brevitas.codes import Encoding, nearest_formula

# What StuckAt does with its tensors; plain integers, because TorchScript knows no enums.
HEALTHY = 0
MASKS = 1
TABLE = 2
FORMULA = 3
FIXED = 4


class StuckAt(brevitas.jit.ScriptModule):
    """ScriptModule that turns wanted codes into the codes that the memory returns.

    It sits between rounding and dequantization and does nothing until its owner, the weight proxy, gives it
    tensors. They are not buffers: a checkpoint must not contain a chip's faults, DDP must not broadcast them, and an averaged
    model must not average them. Gradients pass straight through, except at frozen weights.

    The ways to read back, and the tensors of each (in the shape of the codes):

    - ``MASKS``: ``(stuck, zeros)`` in the smallest integer type that holds a code. ``(code | stuck) ^ zeros`` sets every
      stuck bit and clears those stuck at 0; both masks are neutral at 0. Masks are sign-extended, so that a sign bit is
      stuck together with all its copies.
    - ``TABLE``: ``(pattern, table)``: int16 stuck pattern plus one, and the flat table of
      [code_table][tremap_brevitas.codes.code_table], which all layers share.
    - ``FORMULA``: ``(sa0, sa1)`` as int32, for nearest codes above 8 bits and for wide sign-magnitude.
    - ``FIXED``: ``(codes,)``: these codes are returned, whatever the weights are. Used to run a chip as deployed.

    Args:
        mode: One of the above, or ``HEALTHY``.
        tensors: The tensors of the mode.
        frozen: Empty, or one bool tensor: weights that get no gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mode = brevitas.jit.Attribute(HEALTHY, int)
        # A list, since TorchScript would take a tensor attribute for a buffer.
        self.tensors = brevitas.jit.Attribute([], list[Tensor])
        self.frozen = brevitas.jit.Attribute([], list[Tensor])
        self.columns = brevitas.jit.Attribute(0, int)
        self.formula = brevitas.jit.Attribute("", str)
        # Brevitas switches this on in all modules of a proxy while it searches a scale (MSE, HQO). The scale belongs to
        # the network, not to one group of chips, so the search sees healthy codes.
        self.local_loss_mode = brevitas.jit.Attribute(False, bool)

    @brevitas.jit.script_method
    def forward(self, codes: Tensor) -> Tensor:
        """Read ``codes`` (integers in a float tensor) back, as a float tensor of the same shape."""
        if self.local_loss_mode:
            return codes
        wanted = codes.detach()
        if self.mode == 1:
            stuck = self.tensors[0]
            read = wanted.to(stuck.dtype).bitwise_or_(stuck).bitwise_xor_(self.tensors[1])
        elif self.mode == 2:
            # NaN has no index; the sum below restores it.
            index = torch.add(torch.nan_to_num(wanted).to(torch.int32), self.tensors[0], alpha=self.columns)
            read = torch.index_select(self.tensors[1], 0, index.reshape(-1)).reshape(wanted.shape)
        elif self.mode == 3:
            read = _formula(wanted, self.tensors[0], self.tensors[1], self.formula)
        elif self.mode == 4:
            read = self.tensors[0]
        else:
            return codes
        if len(self.frozen) > 0:
            codes = torch.where(self.frozen[0], wanted, codes)
        # Both sums keep NaN and pass the gradient straight through. The first is quicker, and exact in float32 up to 16 bits;
        # in half precision the difference of two codes may need one bit too many, but that of a code and itself never does.
        if codes.dtype == torch.float32:
            return codes + (read - wanted)
        return (codes - wanted) + read


@brevitas.jit.ignore
def _formula(wanted: Tensor, sa0: Tensor, sa1: Tensor, formula: str) -> Tensor:
    """Read back with a formula; ``formula`` is ``"<store> <encoding> <bit width>"``."""
    store, encoding, width = formula.split(" ")
    if store == "nearest":
        return nearest_tensor(wanted, sa0, sa1, bit_width=int(width), encoding=encoding)  # type: ignore[arg-type]
    half = 1 << (int(width) - 1)
    codes = wanted.to(torch.int32)
    stored = (torch.where(codes < 0, half - codes, codes) | sa1) & ~sa0
    return torch.where(stored >= half, half - stored, stored)


def nearest_tensor(wanted: Tensor, sa0: Tensor, sa1: Tensor, *, bit_width: int, encoding: Encoding) -> Tensor:
    """Apply [nearest_reachable][tremap_brevitas.codes.nearest_reachable] to tensors; masks are int32."""
    codes = wanted.to(torch.int32)
    return nearest_formula(codes, sa0, sa1, bit_width=bit_width, encoding=encoding).to(torch.int32)
