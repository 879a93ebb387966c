"""Ways to prepare chips, from one stuck cell in a million to one in five: ResNets on CIFAR-10.

    python -m benchmarks.preparations --data cifar-10-batches-bin --weights FOLDER

Baselines are trained as the older study's, for fewer steps. Every finished case is a record in the output folder: kill it,
start it again, and it goes on with the others. Its rows go into docs/preparations.csv, beside those that are there. FOLDER
holds float weights, as the older study wants them. ``--collect`` takes the records that are there, also while others are run.

    python -m benchmarks.preparations --from-csv

Runs nothing and needs no data: makes the page, its pictures and the table that ``tremap advise`` reads from the CSV file.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from benchmarks.preparations.rows import merged, read, rows_of, write
from tremap_brevitas.planning.evidence import ROWS

CSV = Path(__file__).parents[2] / "docs" / "preparations.csv"
STEPS = {"resnet20": 1500, "resnet20-4bit": 1000, "resnet32": 800}  # of quantization-aware training, at two cores' pace


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CIFAR-10 in its official binary layout")
    parser.add_argument("--weights", type=Path, help="folder with the float weights")
    parser.add_argument("--out", type=Path, default=Path("out/preparations"), help="output folder (default %(default)s)")
    parser.add_argument("--networks", nargs="+", choices=STEPS, default=list(STEPS), help="only these (default: all)")
    parser.add_argument("--test-images", type=int, default=2500, help="test images used (default %(default)s)")
    parser.add_argument("--no-retraining", action="store_true", help="leave out cases that retrain")
    parser.add_argument("--only-new", action="store_true", help="leave out cases that stand in the CSV file")
    parser.add_argument("--csv", type=Path, default=CSV, help="file of the rows (default: in the repository's docs)")
    parser.add_argument("--collect", action="store_true", help="run nothing; take the records of --out that are finished")
    parser.add_argument("--from-csv", action="store_true", help="run nothing; make all that is made of the CSV file")
    options = parser.parse_args()
    if not (options.from_csv or options.collect) and (options.data is None or options.weights is None):
        parser.error("--data and --weights are needed, unless --from-csv or --collect")
    return options


def run(options: argparse.Namespace) -> None:
    """Run what is missing, and write the CSV file."""
    from benchmarks.preparations.cases import cases
    from tremap_brevitas.cluster import run_jobs
    from tremap_brevitas.cluster.folder import RunFolder

    every = list(cases(options.networks))
    if options.collect:
        folder = RunFolder(options.out / "cases")
        results: dict[str, Any] = {case.name: folder.get(case.name) for case in every}
    else:
        from benchmarks.preparations.work import Work, set_up

        setup, baseline, measured = set_up(options, STEPS)
        done = {row.case for row in read(options.csv)} if options.only_new else set()
        jobs = {c.name: c for c in every if c not in done and not (options.no_retraining and c.cost.steps)}
        networks = {name: name for name in options.networks}
        run_jobs(baseline, networks, folder=setup.out / "baselines", options=measured, progress="baselines")
        results = run_jobs(Work(setup), jobs, folder=setup.out / "cases", options=measured, progress="cases")
    made = [row for case in every if results.get(case.name) for row in rows_of(case, results[case.name])]
    write(merged(read(options.csv), made), options.csv)


def report(path: Path) -> None:
    """Make what is made of the CSV file; of another file than the published one: only its pictures, beside it."""
    from benchmarks.preparations.page import fill, texts
    from benchmarks.preparations.pictures import draw
    from benchmarks.preparations.statistics import frame_of
    from benchmarks.preparations.table import table

    draw(frame_of(path), path.parent)
    if path.resolve() != CSV:
        print(table(path))
        return
    shutil.copyfile(path, ROWS)
    filled = {**texts(frame_of(path), path), "no training": table(path)}
    for page in (CSV.parent / "study.md", CSV.parent / "compensation.md", CSV.parents[1] / "README.md"):
        fill(page, filled)


def main() -> None:
    options = parse()
    if not options.from_csv:
        run(options)
    report(options.csv)


if __name__ == "__main__":
    main()
