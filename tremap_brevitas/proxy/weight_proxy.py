"""Weight proxies that hold the faults of their layers.

Brevitas rebuilds everything below a proxy on every ``load_state_dict``, when a weight is registered anew, and when a quantizer
is shared. The proxy itself stays; so it keeps the faults, and passes them to the new quantizer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from brevitas.core.bit_width import BitWidthConst
from brevitas.proxy.groupwise_int_parameter_quant import GroupwiseWeightQuantProxyFromInjector
from brevitas.proxy.parameter_quant import DecoupledWeightQuantProxyFromInjector, WeightQuantProxyFromInjector
from numpy.typing import NDArray
from torch import Tensor, nn

from tremap_brevitas.core import stuck_at
from tremap_brevitas.core.stuck_at import StuckAt
from tremap_brevitas.proxy.guards import Lock, check_finite, in_transform, plain_tensors, same_weight
from tremap_brevitas.proxy.weight_faults import WeightCodes, WeightFaults


class FaultyWeightProxy:
    """Common base of the faulty weight proxies; it comes before a Brevitas proxy class among the bases.

    One proxy may serve several weights, as in LSTMs; ``slot`` says which: weight ``slot`` of ``tracked_module_list``. The
    quantizer below has room for the faults of one weight, so that with several each call selects and quantizes under a lock.
    """

    parameter_name = "weight"
    _faults: dict[int, WeightFaults] | None = None
    _handed_down: Any = None
    _slices: Any = None
    # A tuple, since torch would register a module as a second child.
    _below: tuple[StuckAt, ...] = ()
    _learned_bit_width = False

    # ---------------------------------------------------------------- called by the plugin

    def fault_slot(self, slot: int) -> WeightFaults | None:
        """Return the faults of one weight, or None."""
        return None if self._faults is None else self._faults.get(slot)

    @property
    def has_faults(self) -> bool:
        """Whether any of the weights has faults."""
        return bool(self._faults)

    def set_fault_slot(self, slot: int, faults: WeightFaults | None) -> None:
        """Set or clear the faults of one weight and drop all weights that Brevitas has cached."""
        self._faults = dict(self._faults or {})
        if faults is None:
            self._faults.pop(slot, None)
        else:
            self._faults[slot] = faults
        self._cached_weight = None
        if getattr(self.export_handler, "cached_weight", None) is not None:
            self.export_handler.cached_weight = None
        self._hand_down(None)
        weight = self.tracked_parameter_list[slot]
        if faults is not None and len(self.tracked_module_list) == 1 and faults.layer.shape == weight.shape:
            # Now rather than in the first forward pass, which may be under compilation.
            with self._lock, plain_tensors():
                self._install(slot, self._key(slot, weight))

    def forget_handed_down(self) -> None:
        """Pass the faults to the quantizer again at the next call, whatever its state is."""
        self._handed_down = None

    def codes(self, slot: int = 0) -> WeightCodes:
        """Return the integer codes of one weight under the current faults.

        Raises:
            ValueError: If a weight is NaN or infinite, or the weights are not being quantized at present.
        """
        weight = self.tracked_parameter_list[slot]
        self.check_finite(slot)
        if not self.is_quant_enabled or getattr(self._int_quant.delay_wrapper.delay_impl, "quant_delay_steps", 0) > 0:
            raise ValueError("the weight quantizer is disabled or delayed: the weights are floats and have no codes")
        with self._lock, torch.no_grad():
            # Layers that are tied share what is set for one of them.
            faults = self.fault_slot(self._select(weight))
            _, scale, zero_point, bit_width, *before = self._int_quant_owner(weight)
            # Decoupled quantizers round with a scale and a zero point of their own.
            scale, zero_point = before or (scale, zero_point)
            wanted = self._int_quant.to_int(scale, zero_point, bit_width, weight)
            read = self._int_quant.stuck_at(wanted)
        wanted, read = (self._without_padding(c, weight.shape) for c in (wanted, read))
        return WeightCodes(wanted, wanted if faults is None else faults.stored(wanted, read), read)

    def check_finite(self, slot: int) -> None:
        """Check that no weight is NaN or infinite.

        Raises:
            ValueError: If one is, or the weights are on the ``meta`` device.
        """
        check_finite(self.tracked_parameter_list[slot].detach(), self.parameter_name)

    @property
    def codes_bit_width(self) -> int:
        """Current bit width of the codes."""
        return round(float(self._int_quant_owner.msb_clamp_bit_width_impl().detach()))

    @property
    def exact_in_bfloat16(self) -> bool:
        """Whether bfloat16 represents every weight exactly: codes of up to 8 bits and power-of-two scales."""
        with torch.no_grad():
            scale = self._int_quant_owner(self.tracked_parameter_list[0])[1]
        return self.codes_bit_width <= 8 and bool((torch.frexp(scale.float()).mantissa.abs() == 0.5).all())

    # ---------------------------------------------------------------- Brevitas' hooks

    def init_tensor_quant(self, preserve_state_dict: bool = False) -> None:
        """Build the quantizer and pass it the faults again."""
        super().init_tensor_quant(preserve_state_dict)  # type: ignore[misc]
        self._hand_down(None)

    def forward(self, x: Tensor, *args: Any) -> Any:
        """Quantize ``x`` and read it back from the faulty memory."""
        # A scale search calls this with tensors of its own, and must see no faults.
        if self._faults and self._below and not self._below[0].local_loss_mode:
            if in_transform():
                raise RuntimeError(
                    f"{self._names}: Brevitas' quantizers do not work under the transforms of torch.func (grad, vmap, jvp); "
                    f"use torch.autograd, and loops over models or inputs. functional_call alone works"
                )
            if len(self.tracked_module_list) > 1:
                return self._forward_of_several(x, *args)
            self._select(x)
        return super().forward(x, *args)  # type: ignore[misc]

    @torch.compiler.disable(recursive=False)  # type: ignore[no-untyped-call]
    def _forward_of_several(self, x: Tensor, *args: Any) -> Any:
        with self._lock:
            self._select(x)
            return super().forward(x, *args)  # type: ignore[misc]

    def _replicate_for_data_parallel(self) -> Any:
        if self._faults:
            raise RuntimeError(
                f"{self._names}: torch.nn.DataParallel copies quantizers without the faults of each device; use "
                f"DistributedDataParallel, or one device"
            )
        return super()._replicate_for_data_parallel()  # type: ignore[misc]

    @property
    def subtensor_slice_list(self) -> Any:
        """Part of the weight that Brevitas quantizes next; Brevitas sets this on every module of a proxy that has it."""
        return self._slices or [None]

    @subtensor_slice_list.setter
    def subtensor_slice_list(self, slices: Any) -> None:
        self._slices = None if all(s is None for s in slices) else tuple(slices)

    # ---------------------------------------------------------------- inside

    tensor_quant: Any
    tracked_module_list: list[nn.Module]
    tracked_parameter_list: list[Tensor]
    is_quant_enabled: bool
    rounding_mode: str | None
    export_handler: Any
    _cached_weight: Any

    @property
    def _int_quant_owner(self) -> Any:
        return getattr(self.tensor_quant, "_orig_mod", self.tensor_quant)

    @property
    def _int_quant(self) -> Any:
        return getattr(self._int_quant_owner, "int_quant", None)

    @property
    def input_view_impl(self) -> Any:
        """View in which the codes are quantized; groups have a dimension of their own."""
        return self._int_quant.input_view_impl if self.tensor_quant is not None else nn.Identity()

    @property
    def _lock(self) -> Lock:
        lock: Lock = self.__dict__.setdefault("_own_lock", Lock())
        return lock

    @property
    def _names(self) -> str:
        return ", ".join(f"layer {faults.layer.name!r}" for faults in (self._faults or {}).values())

    def _select(self, x: Tensor) -> int:
        """Put the faults of weight ``x`` in place, on its device and in its memory layout; return its slot.

        Several threads may run a model whose faults do not change: the first one passes the faults on, the others wait.
        """
        slot = 0 if len(self.tracked_module_list) == 1 else self._slot_of(x)
        key = self._key(slot, x)
        if key != self._handed_down:
            if torch.compiler.is_compiling():
                self._install(slot, key)
            else:
                with self._lock, plain_tensors():
                    if key != self._handed_down:
                        self._install(slot, key)
        if self._learned_bit_width:
            self._check_bit_width(slot)
        return slot

    def _key(self, slot: int, x: Tensor) -> Any:
        return slot, x.device, x.stride(), x.shape, self._slices

    def _install(self, slot: int, key: Any) -> None:
        faults = self.fault_slot(slot)
        if faults is not None and self._faults is not None:
            faults = self._faults[slot] = faults.laid_out_like(self.tracked_parameter_list[slot])
        self._hand_down(faults)
        self._handed_down = key  # last, since it marks all the rest as done

    def _check_bit_width(self, slot: int) -> None:
        faults = self.fault_slot(slot)
        if faults is not None and faults.layer.bit_width != self.codes_bit_width:
            raise ValueError(
                f"layer {faults.layer.name!r}: codes are {self.codes_bit_width} bits wide now, but its faults were placed for "
                f"{faults.layer.bit_width}; place the model again and set the faults anew"
            )

    def _slot_of(self, x: Tensor) -> int:
        # Brevitas hands over a view of the weight, or a slice of it, so that "is" would miss it. Of tied weights, the one with
        # faults is meant: the memory holds it once.
        same = [slot for slot, weight in enumerate(self.tracked_parameter_list) if same_weight(self._sliced(weight), x)]
        faulty = [slot for slot in same if self.fault_slot(slot) is not None]
        if not same:
            raise RuntimeError(
                f"{self._names}: the weight quantizer is shared, and was given a tensor that is not one of its weights (a "
                f"parametrized weight is a new one at every call); give each layer a quantizer of its own"
            )
        if len(faulty) > 1:
            raise RuntimeError(
                f"{self._names}: they share a quantizer, and the same tensor is the weight of {len(faulty)} of them, each with "
                f"faults of its own; give each layer a quantizer of its own"
            )
        return (faulty or same)[0]

    def _hand_down(self, faults: WeightFaults | None) -> None:
        self._handed_down = None
        if self.tensor_quant is None:
            self._below = ()
            return
        below: StuckAt | None = getattr(self._int_quant, "stuck_at", None)
        if below is None:
            raise TypeError(
                f"this quantizer cannot hold stuck-at faults: its options give it a {type(self.tensor_quant).__name__} without "
                f"the integer codes that faults act on"
            )
        self._below = (below,)
        self._learned_bit_width = not isinstance(self._int_quant_owner.msb_clamp_bit_width_impl, BitWidthConst)
        below.local_loss_mode = False  # a scale search that failed may have left it on
        if faults is None:
            below.mode = stuck_at.HEALTHY
            below.tensors, below.frozen = [], []
            return
        below.tensors, below.frozen = faults.viewed(self._viewed)
        below.columns, below.formula = faults.columns, faults.formula
        below.mode = faults.mode

    def _viewed(self, tensor: Tensor) -> Tensor:
        return self.input_view_impl(self._sliced(tensor))

    def _sliced(self, tensor: Tensor) -> Tensor:
        if self._slices is None:
            return tensor
        return tensor[tuple(slice(None) if s is None else slice(*s) for s in self._slices)]

    def _without_padding(self, codes: Tensor, shape: torch.Size) -> NDArray[np.int32]:
        """Undo the view: return codes in the shape of the weight, without padding."""
        return codes.reshape(shape).to(torch.int32).cpu().contiguous().numpy()


class FaultyWeightQuantProxyFromInjector(FaultyWeightProxy, WeightQuantProxyFromInjector):
    """WeightQuantProxyFromInjector with faults."""


class FaultyGroupwiseWeightQuantProxyFromInjector(FaultyWeightProxy, GroupwiseWeightQuantProxyFromInjector):
    """GroupwiseWeightQuantProxyFromInjector with faults."""

    def _without_padding(self, codes: Tensor, shape: torch.Size) -> NDArray[np.int32]:
        dim = self.group_dim if self.group_dim >= 0 else self.group_dim - 1
        flat = codes.flatten(dim, dim + 1)
        return super()._without_padding(flat[tuple(slice(n) for n in shape)], shape)


class FaultyDecoupledWeightQuantProxyFromInjector(FaultyWeightProxy, DecoupledWeightQuantProxyFromInjector):
    """DecoupledWeightQuantProxyFromInjector with faults."""

    @property
    def _int_quant(self) -> Any:
        return self._int_quant_owner.decoupled_int_quant
