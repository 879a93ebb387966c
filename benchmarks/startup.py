"""How long the package and its command take to start, beside Python itself.

    python benchmarks/startup.py

Each round starts every program once, in turn. Times are medians over the rounds; a ratio is the median of the ratios within a
round.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

PROGRAMS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import tremap_brevitas": [sys.executable, "-c", "import tremap_brevitas"],
    "tremap --help": [str(Path(sysconfig.get_path("scripts")) / "tremap"), "--help"],
}


def seconds(command: list[str]) -> float:
    """Time of one start, to the end of the program."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="rounds measured (default %(default)s)")
    options = parser.parse_args()
    for command in PROGRAMS.values():
        seconds(command)  # bytecode is compiled, files are in the cache
    rounds = [[seconds(command) for command in PROGRAMS.values()] for _ in range(options.rounds)]
    print("| program | median s | times the first |\n| --- | --- | --- |")
    for number, name in enumerate(PROGRAMS):
        median = statistics.median(times[number] for times in rounds)
        ratio = statistics.median(times[number] / times[0] for times in rounds)
        print(f"| `{name}` | {median:.3f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
