"""What the tests of the Brevitas parts share: plain counterparts, codes by Brevitas' own account, faults by the oracle."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import brevitas.quant as bq
import numpy as np
import oracle
import pytest
import torch
from brevitas.quant import fixed_point, mx_quant_ocp, scaled_int, shifted_scaled_int, ternary
from onnx import numpy_helper

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.onnx_files import load_onnx
from tremap_brevitas.placed.slots import weight_slots

FAULTY = [name for name in tq.__all__ if name != "faulty"]
GPU = os.environ.get("TREMAP_GPU", "cuda" if torch.cuda.is_available() else "")  # device of the tests that need a GPU
QUICK = [name for name in FAULTY if not name.endswith("HQO")]  # a HQO search takes seconds


def plain_of(name):
    """The plain Brevitas quantizer behind one of ours."""
    for module in (bq, fixed_point, scaled_int, shifted_scaled_int, mx_quant_ocp, ternary):
        if hasattr(module, name.removeprefix("Faulty")):
            return getattr(module, name.removeprefix("Faulty"))
    raise LookupError(name)


def options_of(name):
    """Arguments that a quantizer needs beyond its name."""
    if name.endswith("WeightGroupQuantFloat"):
        return {"weight_group_size": 8}
    return {"weight_group_size": 8} if "MX" in name or "PerGroup" in name else {}


def brevitas_codes(layer):
    """Codes of a plain Brevitas layer, from what it dequantizes to."""
    value = layer.quant_weight()
    codes = value.value / value.scale + value.zero_point
    return torch.round(codes).detach().to(torch.int32).numpy()


def plain_codes_of(model):
    """Codes of every weight of a model without faults: from the values, not from our own report."""
    codes = {}
    for entry in weight_slots(model):
        value = entry.proxy(entry.module.weight)
        codes[entry.name] = torch.round(value.value / value.scale + value.zero_point).detach().to(torch.int32).numpy()
    return codes


def expected_codes(wanted, placement, chip, store="nearest"):
    """What a chip gives back for the wanted codes of every layer, bit by bit. ``wanted`` maps names to arrays."""
    layers = [(layer.name, layer.size, layer.bit_width) for layer in placement.layers]
    memory = placement.memory
    where = oracle.linear_layout(layers, memory.words, memory.word_bits, placement.reuse)
    stuck: dict[tuple[str, int], dict[int, int]] = {}
    for cell, value in zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True):
        for name, position, bit in where.get(cell, []):
            order = placement.layer(name).order
            weight = position if order is None else int(order[position])
            stuck.setdefault((name, weight), {})[bit] = value
    rule = oracle.nearest if store == "nearest" else oracle.read_back
    result = {name: np.array(codes, dtype=np.int32) for name, codes in wanted.items()}
    for (name, weight), bits in stuck.items():
        layer = placement.layer(name)
        flat = result[name].reshape(-1)
        flat[weight] = rule(int(flat[weight]), bits, layer.bit_width, layer.encoding)
    return result


def a_chip(placement, rate=0.15, seed=0):
    """A chip of a high fault rate whose very first sign bits are stuck at 1."""
    (chip,) = tm.random_fault_maps(placement.memory, chips=1, fault_rate=rate, seed=seed)
    stuck = dict(zip(chip.cells.tolist(), chip.stuck_at.tolist(), strict=True))
    for layer in placement.layers:
        for weight in range(min(3, layer.size)):
            stuck[placement.cell(layer.name, weight, bit=layer.bit_width - 1)] = 1
    return tm.FaultMap(placement.memory, list(stuck), list(stuck.values()), "chip")


def a_net(model, **options):
    """The model placed in a memory that its weights just about fit."""
    needed = tm.place(model, tm.Memory(words=10_000_000, word_bits=32), **options).placement.words
    return tm.place(model, tm.Memory(words=needed + 3, word_bits=32), **options)


def flow(name):
    """Module of a hardware flow, such as ``rtl/simulate.py``."""
    path = Path(__file__).parents[1] / "export" / name
    spec = importlib.util.spec_from_file_location(f"flow_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def finn_memory(codes, pe, simd, bits):
    """The lines of memblock.dat by the steps that FINN takes, with Python integers."""
    from qonnx.util.basic import interleave_matrix_outer_dim_from_partitions

    matrix = np.moveaxis(codes, 1, -1).reshape(codes.shape[0], -1)
    rows = interleave_matrix_outer_dim_from_partitions(matrix, pe)  # (PE, MH / PE, MW)
    tensor = np.flip(rows.reshape(pe, -1, simd), axis=-1)  # (PE, WMEM, SIMD), SIMD flipped
    words = np.flip(tensor.transpose(1, 0, 2), axis=-2).reshape(-1, pe * simd)  # (WMEM, PE * SIMD), PE flipped
    lines = []
    for word in words:
        value = 0
        for code in word:  # the first comes to lie highest
            value = value << bits | (int(code) & ((1 << bits) - 1))
        lines.append(f"{value:0{-(-pe * simd * bits // 4)}x}\n")
    return "".join(lines)


def needs_program(name):
    """Skip, with a reason, where a program is not installed; in CI that is a failure."""
    if shutil.which(name) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and CI must run this")
        pytest.skip(f"{name} is not installed")


def needs_gpu():
    """Skip a whole file of tests where there is no GPU: to be called at its top."""
    if not GPU:
        pytest.skip("no GPU", allow_module_level=True)


def needs_data(name):
    """A file of measured data that cannot be in the repository; skips where there is none."""
    root = Path(__file__).parents[1]
    for folder in (os.environ.get("TREMAP_DATA"), root / "data", root.parent / "shared" / "data"):
        if folder and (Path(folder) / name).exists():
            return Path(folder) / name
    pytest.skip(f"{name} is in none of TREMAP_DATA, data/ and ../shared/data/")


def change_initializer(path, name, change):
    """Change the array of one initializer of an ONNX file, in place."""
    graph = load_onnx(path)
    for initializer in graph.graph.initializer:
        if initializer.name == name:
            array = np.array(numpy_helper.to_array(initializer))
            change(array)
            initializer.CopyFrom(numpy_helper.from_array(array, name))
    path.write_bytes(graph.SerializeToString())
