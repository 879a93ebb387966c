"""Table of the tracing rule for each ATen operator."""

from __future__ import annotations

from collections.abc import Callable

from tremap_brevitas.prepare.reordering import rules, shapes
from tremap_brevitas.prepare.reordering.convolutions import convolution
from tremap_brevitas.prepare.reordering.rules import Call, Result

_ELEMENTWISE = """
abs acos add addcdiv addcmul asin atan atan2 bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min
copy cos cosh deg2rad div elu eq erf erfc exp exp2 expm1 fill floor floor_divide fmax fmin fmod frac ge gelu gt hardshrink
hardsigmoid hardswish hardtanh heaviside isfinite isinf isnan ldexp le leaky_relu lerp log log10 log1p log2 log_sigmoid
logaddexp logical_and logical_not logical_or logical_xor lt masked_fill maximum minimum mish mul nan_to_num ne neg pow
_prelu_kernel reciprocal relu relu6 remainder round rsqrt rsub selu sgn sigmoid sign signbit silu sin sinh softplus softshrink
sqrt square sub tan tanh tanhshrink threshold trunc true_divide where xlogy zero
"""
_SAME = """
alias clone contiguous detach lift lift_fresh lift_fresh_copy _to_copy to positive conj resolve_conj resolve_neg
_conj
"""
_REDUCTIONS = "all amax amin any count_nonzero linalg_vector_norm logsumexp max mean median min norm prod std sum var kthvalue"
_POOLING = """
adaptive_avg_pool1d adaptive_max_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d
avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices
reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d upsample_nearest1d upsample_nearest2d
upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_bilinear2d_aa
"""
_TABLE: dict[Callable[[Call], Result], str] = {
    rules.elementwise: _ELEMENTWISE,
    rules.uniform: "empty empty_strided full new_empty new_full new_ones new_zeros ones scalar_tensor zeros",
    shapes.uniform_like: "empty_like full_like ones_like zeros_like",
    shapes.same: _SAME,
    rules.reduction: _REDUCTIONS,
    rules.positions: "argmax argmin",
    rules.sorting: "sort topk",
    rules.softmax: "_softmax _log_softmax softmax log_softmax _safe_softmax",
    rules.cumulative: "cumsum cumprod cummax cummin logcumsumexp",
    rules.batch_norm: "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm",
    rules.layer_norm: "native_layer_norm",
    rules.group_norm: "native_group_norm",
    rules.product: "mm bmm addmm baddbmm addmv mv dot linear",
    rules.attention: "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math",
    rules.embedding: "embedding",
    rules.spatial: _POOLING,
    rules.nothing_moves: "arange eye linspace logspace range tril_indices triu_indices",
    convolution: "convolution _convolution",
    shapes.strided: "as_strided",
    shapes.view: "view _unsafe_view _reshape_alias reshape flatten unflatten unsqueeze squeeze",
    shapes.permute: "permute transpose t",
    shapes.expand: "expand broadcast_to",
    shapes.repeat: "repeat",
    shapes.pick: "slice select flip roll narrow",
    shapes.pieces: "split split_with_sizes chunk unbind",
    shapes.cat: "cat stack",
    shapes.pad: "constant_pad_nd",
    shapes.pixel_shuffle: "pixel_shuffle",
}
RULES: dict[str, Callable[[Call], Result]] = {name: rule for rule, names in _TABLE.items() for name in names.split()}
