"""Chips prepared without training, beside retraining and beside what others do: ResNets on CIFAR-10.

    python -m benchmarks.no_training --data cifar-10-batches-bin --weights FOLDER

Baselines are trained as the study's, for fewer steps. Every finished case is a record in the output folder: kill it, start it
again, and it goes on with the others. Writes docs/no_training.csv and prints its table. FOLDER holds float weights, as
the study wants them.

    python -m benchmarks.no_training --from-csv

Runs nothing and needs no data: prints the table of the CSV file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.no_training.table import table, write

CSV = Path(__file__).parents[2] / "docs" / "no_training.csv"
STEPS = {"resnet20": 1500, "resnet20-4bit": 1000, "resnet32": 800}  # of quantization-aware training, at two cores' pace


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CIFAR-10 in its official binary layout")
    parser.add_argument("--weights", type=Path, help="folder with the float weights")
    parser.add_argument("--out", type=Path, default=Path("out/no_training"), help="output folder (default %(default)s)")
    parser.add_argument("--networks", nargs="+", choices=STEPS, default=list(STEPS), help="only these (default: all)")
    parser.add_argument("--test-images", type=int, default=2500, help="test images used (default %(default)s)")
    parser.add_argument("--csv", type=Path, default=CSV, help="file of the rows (default: in the repository's docs)")
    parser.add_argument("--from-csv", action="store_true", help="run nothing; print the table of the CSV file")
    options = parser.parse_args()
    if not options.from_csv and (options.data is None or options.weights is None):
        parser.error("--data and --weights are needed, unless --from-csv")
    return options


def run(options: argparse.Namespace) -> None:
    """Run what is missing, and write the CSV file."""
    from benchmarks.no_training.cases import cases
    from benchmarks.no_training.work import Work, set_up
    from tremap_brevitas.cluster import run_jobs

    setup, baseline, measured = set_up(options, STEPS)
    networks = {name: name for name in options.networks}
    run_jobs(baseline, networks, folder=setup.out / "baselines", options=measured, progress="baselines")
    jobs = {case.name: case for case in cases(options.networks)}
    results: dict[str, Any] = run_jobs(Work(setup), jobs, folder=setup.out / "cases", options=measured, progress="cases")
    write(jobs, results, options.csv)


def main() -> None:
    options = parse()
    if not options.from_csv:
        run(options)
    print(table(options.csv))


if __name__ == "__main__":
    main()
