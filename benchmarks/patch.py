"""What it takes to choose a channel of ResNet-18 anew from its bundle's files, after a new stuck cell.

    taskset -c 0 python -m benchmarks.patch

The largest layer, 512 channels of 4,608 inputs each, codes of 8 bits; random codes, and moments of random inputs that are
correlated. Neither torch nor Brevitas is imported.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tremap_brevitas as tm
from benchmarks.measure import machine
from tremap_brevitas.moments import InputMoments, LayerMoments
from tremap_brevitas.patching import patch
from tremap_brevitas.placement import LayerCodes, linear_placement

SHAPE = (512, 512, 3, 3)


def a_layer(columns: int, rng: np.random.Generator) -> Any:
    """Second moments of inputs after a ReLU that have a few hundred directions in common."""
    inputs = rng.normal(size=(2048, 256)) @ rng.normal(size=(256, columns)) / 16 + rng.normal(size=(2048, columns))
    inputs = np.maximum(inputs, 0).astype(np.float32)
    return inputs.T @ inputs / len(inputs), inputs.mean(0)


def timed(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=20, help="channels that are hit, one chip each (default %(default)s)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    columns = SHAPE[1] * SHAPE[2] * SHAPE[3]
    memory = tm.Memory(words=SHAPE[0] * columns // 4, word_bits=32)
    placement = linear_placement([LayerCodes("layer4", SHAPE, 8, "twos_complement")], memory)
    codes = np.clip(np.rint(rng.normal(0, 30, SHAPE)), -127, 127).astype(np.int8)
    image = tm.MemoryImage(placement, {"layer4": codes})
    second, mean = a_layer(columns, rng)
    layer = LayerMoments.of("layer4", second[None], mean[None], codes.reshape(1, SHAPE[0], columns), 2.0**-9, samples=2048)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "moments.npz")
        InputMoments({"layer4": layer}, image.digest).save(path)
        load = timed(lambda: InputMoments.load(path))
        assert image.bits.size  # once a bundle, whatever the number of chips
        times, errors = [], []
        for channel in rng.choice(SHAPE[0], options.channels, replace=False).tolist():
            weight = channel * columns + int(rng.integers(columns))
            cell = placement.cell("layer4", weight, bit=6)
            value = int(codes.reshape(-1)[weight]) >> 6 & 1
            chip = tm.FaultMap(memory, np.array([cell]), np.array([1 - value], dtype=np.uint8), f"chip {channel}")
            begin = time.perf_counter()
            patched = patch(image, InputMoments.load(path), chip)
            times.append(time.perf_counter() - begin)
            errors.append(patched.error / patched.nearest_error)
        (many,) = tm.random_fault_maps(memory, chips=1, fault_rate=1e-3, seed=0)
        begin = time.perf_counter()
        (line,) = patch(image, InputMoments.load(path), many).layers
        whole = time.perf_counter() - begin
        size = path.stat().st_size
    print(f"{machine()}\n\n| 512 × 4608 weights, 8 bits, one stuck cell a channel | |\n| --- | --- |")
    print(f"| moments, one layer | {size / 1e6:.0f} MB |\n| open the file | {1e3 * load:.1f} ms |")
    print(
        f"| a channel, median of {len(times)} (worst) | {1e3 * statistics.median(times):.0f} ms ({1e3 * max(times):.0f} ms) |"
    )
    print(f"| all {line.channels} channels that a chip with 1e-3 of its cells stuck has wrong | {whole:.1f} s |")
    print(f"| one stuck cell: error of the layer's output, over that of the nearest code | {statistics.median(errors):.2f} |")


if __name__ == "__main__":
    main()
