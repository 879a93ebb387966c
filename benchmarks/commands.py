"""Time the command ``tremap`` on a folder of thousands of maps.

    taskset -c 0 python -m benchmarks.commands

Times include the start of the program.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

from benchmarks.measure import machine

TREMAP = Path(sysconfig.get_path("scripts")) / "tremap"
MEMORY = ["--words", "67000", "--word-bits", "32"]
COMMANDS = [
    "map info chips/",
    "map merge chips/ --on-conflict free --out merged.npz",
    "map plot chips/ --kind growth --out growth.png",
    "group chips/ --union-rate 0.05 --overwrite --out groups/",
]


def seconds(folder: Path, *arguments: str) -> float:
    """Return the seconds that one command takes, its start included."""
    begin = time.perf_counter()
    done = subprocess.run([str(TREMAP), *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"tremap {' '.join(arguments)}: {done.stderr}")
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=5000, help="maps in the folder (default %(default)s)")
    parser.add_argument("--fault-rate", default="1e-4", help="fault rate of each (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds measured (default %(default)s)")
    options = parser.parse_args()
    print(f"{machine()}\n\n| {options.chips} maps of 2.1 Mbit at {options.fault_rate} | seconds |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = ["--chips", str(options.chips), "--rate", options.fault_rate, "--seed", "0", "--out", "chips/"]
        print(f"| tremap map generate | {seconds(folder, 'map', 'generate', *MEMORY, *made):.1f} |")
        for command in COMMANDS:
            times = [seconds(folder, *command.split()) for _ in range(options.rounds)]
            print(f"| tremap {command} | {statistics.median(times):.1f} |", flush=True)


if __name__ == "__main__":
    main()
