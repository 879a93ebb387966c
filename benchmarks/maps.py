"""Measure what fault maps cost: drawing a large one, merging many, reading a long log.

    python -m benchmarks.maps

Prints a Markdown table. One core; each figure is the best of its repetitions, since nothing but other work on the machine can
make one slower.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tremap_brevitas as tm
from tremap_brevitas.faults.array.allocate import allocate_repair
from tremap_brevitas.faults.formats import read_log, write_log


def best(action: Callable[[], object], repetitions: int) -> float:
    """Return the least seconds of several calls."""
    spent = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        action()
        spent.append(time.perf_counter() - begin)
    return min(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3, help="times that each is done (default %(default)s)")
    repetitions = parser.parse_args().repetitions
    large = tm.Memory(words=1 << 25, word_bits=32)
    drawn = best(lambda: tm.random_fault_maps(large, chips=1, fault_rate=6e-3, seed=0), repetitions)
    memory = tm.Memory(words=1 << 21, word_bits=32)
    maps = tm.random_fault_maps(memory, chips=100, fault_rate=6e-3, seed=0)
    cells = [chip.cells for chip in maps]
    numpy = best(lambda: np.unique(np.concatenate(cells)), repetitions)
    sorting = best(lambda: np.sort(np.concatenate(cells), kind="stable"), repetitions)
    merged = best(lambda: tm.merge(maps, on_conflict="majority"), repetitions)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "chip.log"
        words = tm.Memory(words=1 << 24, word_bits=32)
        chip = tm.random_fault_maps(words, chips=1, fault_rate=7.5e-3, seed=0)[0]
        write_log(chip, log)
        size = log.stat().st_size / 1e6
        read = best(lambda: read_log(log, words), repetitions)
        if read_log(log, words).digest != chip.digest:
            raise SystemExit("the log did not come back as the map that it was written from")
    banked = tm.Memory(words=1 << 21, word_bits=32, banks=8)
    broken = tm.random_fault_maps(banked, chips=1, fault_rate=1e6 / banked.cells, seed=0)[0]
    spared = best(lambda: allocate_repair(broken, spare_rows=16, spare_columns=16), repetitions)
    python, version = platform.python_version(), np.__version__
    print(f"Output of `python -m benchmarks.maps` ({platform.machine()}, one core, Python {python}, NumPy {version}):\n")
    print("| fault maps | seconds | |")
    print("| --- | --- | --- |")
    speed = round(6e-3 * large.cells) / drawn / 1e6
    print(f"| draw a map of 1 Gbit at 6e-3 | {drawn:.2f} | {speed:.1f} million faults a second |")
    print(f"| NumPy: concatenate and unique, 100 maps of 64 Mbit at 6e-3 | {numpy:.2f} | |")
    print(f"| NumPy: concatenate and a stable sort of them | {sorting:.2f} | |")
    print(f"| merge them, with values and conflicts | {merged:.2f} | {merged / numpy:.2f} times unique |")
    print(
        f"| work out 32 spare rows and columns for each of 8 banks, {len(broken) / 1e6:.0f} million faults | {spared:.2f} | |"
    )
    print(f"| read a self-test log of {size:.0f} MB | {read:.2f} | {size / read:.0f} MB a second |")


if __name__ == "__main__":
    main()
