"""The benchmarks share this: timing in turns, and the machine that it was done on."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping

import brevitas
import torch
from tqdm import tqdm


def machine() -> str:
    """Return machine and versions, for the line above a table."""
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch "
        f"{torch.__version__}, brevitas {brevitas.__version__}"
    )


def interleaved(variants: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3) -> dict[str, list[float]]:
    """Return the milliseconds of every variant in every round."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for turn in tqdm(range(rounds + warm_up), leave=False, desc="rounds"):
        for name, run in variants.items():
            begin = time.perf_counter()
            run()
            if turn >= warm_up:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return times
