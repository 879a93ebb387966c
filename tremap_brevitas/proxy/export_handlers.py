"""Handlers for Brevitas' exporters, so that every export includes the faults.

Brevitas finds a handler by the exact type of a proxy. The stock handlers quantize the float weight once more, or clip code
-128 away; these put the codes that are read back from the memory into the graph, in their full range. Without faults they do
what the stock handlers do. Importing this module registers them with Brevitas' own managers, so that users' scripts give the
right result.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import wraps
from typing import Any

from brevitas.export.inference.handler import (
    GroupwiseIntWeightInferenceHandler,
    IntInferenceHandler,
    IntWeightInferencetHandler,
)
from brevitas.export.inference.manager import InferenceManager
from brevitas.export.onnx.handler import ONNXBaseHandler
from brevitas.export.onnx.manager import ONNXBaseManager
from brevitas.export.onnx.qonnx.handler import (
    BrevitasBiasQuantProxyHandler,
    BrevitasDecoupledWeightQuantProxyHandler,
    BrevitasWeightQuantProxyHandler,
)
from brevitas.export.onnx.qonnx.manager import QONNXManager
from brevitas.export.onnx.standard.qcdq.handler import (
    StdCDQCastONNXBiasQuantProxyHandler,
    StdQCDQCastONNXDecoupledWeightQuantProxyHandler,
    StdQCDQCastONNXWeightQuantProxyHandler,
)
from brevitas.export.onnx.standard.qcdq.manager import StdQCDQONNXManager
from brevitas.export.torch.qcdq.handler import (
    TorchCDQCastBiasQuantProxyHandler,
    TorchQCDQCastDecoupledWeightQuantProxyHandler,
    TorchQCDQCastWeightQuantProxyHandler,
)
from brevitas.export.torch.qcdq.manager import TorchQCDQManager
from brevitas.utils.quant_utils import groupwise_dequant_expand
from torch import Tensor, nn

from tremap_brevitas.proxy.bias_proxy import FaultyBiasQuantProxyFromInjector
from tremap_brevitas.proxy.unchanged import unchanged
from tremap_brevitas.proxy.weight_proxy import (
    FaultyDecoupledWeightQuantProxyFromInjector,
    FaultyGroupwiseWeightQuantProxyFromInjector,
    FaultyWeightProxy,
    FaultyWeightQuantProxyFromInjector,
)

ROUND = "ROUND"


def _of_this_weight(values: dict[int, Tensor], x: Tensor) -> Tensor:
    """Select the entry of weight ``x``; with a single weight there is only one entry."""
    if len(values) == 1:
        return next(iter(values.values()))
    return values[x.data_ptr()]


class _FaultyQONNX:
    """QONNX: the Quant node gets the read-back values and the full range.

    The read-back values are codes already, and must be rounded to the nearest: a quantizer that rounds down would make 2 of
    2.9999998. For a quantizer that does not round to the nearest, they are also written without faults, because few readers
    of QONNX obey the attribute for the rounding mode.
    """

    symbolic_kwargs: dict[str, Any]
    quant_weight_values: dict[int, Tensor]
    holds_codes = False

    def prepare_for_export(self, module: FaultyWeightProxy) -> None:
        super().prepare_for_export(module)  # type: ignore[misc]
        self.holds_codes = module.has_faults or module.rounding_mode != ROUND
        if self.holds_codes:
            self.quant_weight_values = {k: v.detach() for k, v in self.quant_weight_values.items()}
            self.symbolic_kwargs["rounding_mode"] = ROUND
        if module.has_faults:
            self.symbolic_kwargs["narrow_range"] = False

    def symbolic_execution(self, x: Tensor, *args: Any) -> Any:
        if self.holds_codes:
            x = _of_this_weight(self.quant_weight_values, x)
        return super().symbolic_execution(x, *args)  # type: ignore[misc]


class FaultyQONNXHandler(_FaultyQONNX, BrevitasWeightQuantProxyHandler):
    """QONNX, plain proxies."""

    handled_layer = FaultyWeightQuantProxyFromInjector


class FaultyDecoupledQONNXHandler(_FaultyQONNX, BrevitasDecoupledWeightQuantProxyHandler):
    """QONNX, decoupled proxies."""

    handled_layer = FaultyDecoupledWeightQuantProxyFromInjector


class FaultyBiasQONNXHandler(BrevitasBiasQuantProxyHandler):
    """QONNX, biases: the Quant node gets the read-back values and the full range."""

    handled_layer = FaultyBiasQuantProxyFromInjector
    values: dict[int, Tensor] | None = None

    def prepare_for_export(self, module: FaultyBiasQuantProxyFromInjector) -> None:
        """Read every bias back from the memory."""
        super().prepare_for_export(module)
        self.values = None
        if module.has_faults or module.rounding_mode != ROUND:
            tracked: Any = [m for m in module.tracked_module_list if m.bias is not None]
            self.values = {m.bias.data_ptr(): m.quant_bias().value.detach() for m in tracked}
            self.symbolic_kwargs["rounding_mode"] = ROUND
        if module.has_faults:
            self.symbolic_kwargs["narrow_range"] = False

    def symbolic_execution(self, x: Tensor, *args: Any) -> Any:
        """Replace the float bias by the read-back values."""
        return super().symbolic_execution(x if self.values is None else _of_this_weight(self.values, x), *args)


class FaultyBiasQCDQHandler(StdCDQCastONNXBiasQuantProxyHandler):
    """ONNX QCDQ, biases: their integers are already read back."""

    handled_layer = FaultyBiasQuantProxyFromInjector


class FaultyBiasTorchQCDQHandler(TorchCDQCastBiasQuantProxyHandler):
    """TorchScript QCDQ, biases."""

    handled_layer = FaultyBiasQuantProxyFromInjector


class _FaultyQCDQ:
    """QCDQ: integer initializers, whatever the export manager requests, and a clip to the full range."""

    symbolic_kwargs: dict[str, Any]
    has_faults = False

    def prepare_for_export(self, module: FaultyWeightProxy) -> None:
        self.has_faults = module.has_faults
        if self.has_faults:
            # An attribute of this handler alone: the stock class keeps its own.
            self._export_q_node = False
        super().prepare_for_export(module)  # type: ignore[misc]
        if self.has_faults and self.symbolic_kwargs is not None:
            signed, bit_width = module.is_signed, self.symbolic_kwargs["bit_width"]  # type: ignore[attr-defined]
            self.symbolic_kwargs["clip_symbolic_kwargs"] = self.int_clip_symbolic_kwargs(  # type: ignore[attr-defined]
                False, signed, bit_width
            )

    def quantize_from_integer(self, x: Tensor) -> Tensor:
        return _of_this_weight(self.symbolic_kwargs["int_weights"], x)


class FaultyQCDQHandler(_FaultyQCDQ, StdQCDQCastONNXWeightQuantProxyHandler):
    """ONNX QCDQ, plain proxies."""

    handled_layer = FaultyWeightQuantProxyFromInjector


class FaultyDecoupledQCDQHandler(_FaultyQCDQ, StdQCDQCastONNXDecoupledWeightQuantProxyHandler):
    """ONNX QCDQ, decoupled proxies."""

    handled_layer = FaultyDecoupledWeightQuantProxyFromInjector


class FaultyTorchQCDQHandler(_FaultyQCDQ, TorchQCDQCastWeightQuantProxyHandler):
    """TorchScript QCDQ, plain proxies."""

    handled_layer = FaultyWeightQuantProxyFromInjector


class FaultyDecoupledTorchQCDQHandler(_FaultyQCDQ, TorchQCDQCastDecoupledWeightQuantProxyHandler):
    """TorchScript QCDQ, decoupled proxies."""

    handled_layer = FaultyDecoupledWeightQuantProxyFromInjector


class _FaultyInference:
    """quant_inference_mode: quantize with faults at every call, unless the whole weight is cached.

    Faults may be set, changed and cleared while the mode is on; the proxy drops the cached weight then.
    """

    cached_weight: Tensor | None
    # A tuple, since torch would register a module as a child.
    proxy: tuple[Any, ...] = ()

    def prepare_for_export(self, module: Any) -> None:
        super().prepare_for_export(module)  # type: ignore[misc]
        self.proxy = (module,)
        if len(module.tracked_module_list) > 1:
            self.cached_weight = None  # Brevitas would give every weight of a shared quantizer the first one's values

    @property
    def through_memory(self) -> bool:
        return self.cached_weight is None and self.proxy[0].has_faults

    def forward(self, x: Tensor) -> Any:
        return self.proxy[0].tensor_quant(x) if self.through_memory else super().forward(x)  # type: ignore[misc]


class FaultyInferenceHandler(_FaultyInference, IntWeightInferencetHandler):
    """quant_inference_mode, plain proxies."""

    handled_layer = FaultyWeightQuantProxyFromInjector


class FaultyGroupwiseInferenceHandler(_FaultyInference, GroupwiseIntWeightInferenceHandler):
    """quant_inference_mode, group-wise proxies."""

    handled_layer = FaultyGroupwiseWeightQuantProxyFromInjector

    def forward(self, x: Tensor) -> Any:
        """Quantize with faults and undo the groups, as the mode expects."""
        if not self.through_memory:
            return GroupwiseIntWeightInferenceHandler.forward(self, x)
        value, scale, zero_point, bit_width = self.proxy[0].tensor_quant(x)
        whole = groupwise_dequant_expand(value, scale, zero_point, self.group_dim, x.shape)[0]
        return whole, scale, zero_point, bit_width


class FaultyBiasInferenceHandler(IntInferenceHandler):
    """quant_inference_mode, biases: quantize with faults at every call. Brevitas has no handler for biases."""

    handled_layer = FaultyBiasQuantProxyFromInjector
    proxy: tuple[Any, ...] = ()

    def prepare_for_export(self, module: Any) -> None:
        """Keep the proxy, which always has the current quantizer."""
        super().prepare_for_export(module)
        self.proxy = (module,)

    def forward(self, x: Tensor, *args: Any) -> Any:
        """Return the read-back bias with its scale, zero point and bit width."""
        return self.proxy[0].tensor_quant(x)


GROUPS = "group-wise weight quantization cannot be exported to ONNX: neither QONNX nor QCDQ can express it"


class RefusesGroups(ONNXBaseHandler):
    """Raises an error for group-wise weights, for which Brevitas has no export handler."""

    handled_layer = FaultyGroupwiseWeightQuantProxyFromInjector

    def prepare_for_export(self, module: Any) -> None:
        """Raise the error.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(GROUPS)

    def symbolic_execution(self, x: Tensor) -> Tensor:
        """Required by the interface, never called."""
        return x


_REGISTERED: dict[Any, list[type]] = {
    QONNXManager: [FaultyQONNXHandler, FaultyDecoupledQONNXHandler, FaultyBiasQONNXHandler, RefusesGroups],
    StdQCDQONNXManager: [FaultyQCDQHandler, FaultyDecoupledQCDQHandler, FaultyBiasQCDQHandler, RefusesGroups],
    TorchQCDQManager: [FaultyTorchQCDQHandler, FaultyDecoupledTorchQCDQHandler, FaultyBiasTorchQCDQHandler, RefusesGroups],
    InferenceManager: [FaultyInferenceHandler, FaultyGroupwiseInferenceHandler, FaultyBiasInferenceHandler],
}


def register() -> None:
    """Register the handlers with Brevitas' export managers; repeated calls have no effect."""
    for manager, handlers in _REGISTERED.items():
        manager.handlers.extend(handler for handler in handlers if handler not in manager.handlers)
    _undo_failures(ONNXBaseManager, "export_onnx")
    _undo_failures(TorchQCDQManager, "export")


def _undo_failures(manager: Any, name: str) -> None:
    """Wrap a method of Brevitas' export managers so that it restores a model that can hold faults when it fails.

    An error, from this package or from Brevitas, would otherwise leave the model in export mode, in which outputs no longer
    follow weights and faults. Models without faulty quantizers are not touched.
    """
    method = vars(manager)[name].__func__
    if hasattr(method, "__wrapped__"):
        return

    @wraps(method)
    def guarded(cls: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        ours = any(isinstance(m, FaultyWeightProxy) for m in module.modules())
        with unchanged(module, even_on_success=False) if ours else nullcontext():
            return method(cls, module, *args, **kwargs)

    setattr(manager, name, classmethod(guarded))


register()
