"""The study: every way of preparing a fleet, side by side at equal cost, on CIFAR-10.

    python benchmarks/study --data cifar-10-batches-bin --weights FOLDER

Runs what is missing and writes the tables and pictures of docs/study.md. A row that is finished is a file in the output
folder; kill it, start it again, and it goes on with the others. FOLDER holds float weights, plain state dicts, as
resnet20_cifar10_float.pt and resnet32_cifar10_float.pt.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from report import write_report
from rows import TABLES, all_rows
from tqdm import tqdm
from workbench import NETWORKS
from worker import baseline, finish, path_of, start

DOCS = Path(__file__).parents[2] / "docs"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CIFAR-10 in its official binary layout")
    parser.add_argument("--weights", type=Path, help="folder with the float weights")
    parser.add_argument("--out", type=Path, default=Path("out/study"), help="output folder (default %(default)s)")
    parser.add_argument("--tables", nargs="+", choices=TABLES, help="only these tables (default: all)")
    parser.add_argument("--test-images", type=int, default=5000, help="test images used (default %(default)s)")
    parser.add_argument("--report-only", action="store_true", help="run nothing; write the page from what is finished")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder with study.md (default: the repository's docs)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes, one core each (default %(default)s)")
    options = parser.parse_args()
    if not options.report_only and (options.data is None or options.weights is None):
        parser.error("--data and --weights are needed, unless --report-only")
    return options


def main() -> None:
    options = parse()
    if not options.report_only:
        run(options)
    write_report(options.out, options.docs)


def run(options: argparse.Namespace) -> None:
    """Run what is missing."""
    options.out.mkdir(parents=True, exist_ok=True)
    rows = all_rows() if options.tables is None else list(dict.fromkeys(r for t in options.tables for r in TABLES[t]()))
    missing = [row for row in rows if not path_of(row, options.out).exists()]
    print(f"{len(rows)} rows, {len(missing)} to run")
    # Fresh processes: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        options.workers, context, initializer=start, initargs=(options.data, options.weights, options.out, options.test_images)
    ) as pool:
        needed = [n for n in NETWORKS if any(row.network == n for row in missing)]
        for name in pool.map(baseline, needed):
            print(f"baseline of {name}: {options.out / f'{name}.pt'}")
        jobs = {pool.submit(finish, row): row for row in missing}
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="row"):
            job.result()


if __name__ == "__main__":
    main()
