"""Run the study: every way of preparing a fleet, side by side at equal cost, on CIFAR-10.

    python -m benchmarks.study --data cifar-10-batches-bin --weights FOLDER --ray

Runs what is missing and writes tables and pictures of docs/study_retraining.md. Finished rows are records in the output
folder; kill it, start it again, and it goes on with the others. FOLDER holds float weights, plain state dicts, as
resnet20_cifar10_float.pt and resnet32_cifar10_float.pt. Data and weights are known by their content: an output folder of
others is refused. Needs pandas and matplotlib (extra "test").

    python -m benchmarks.study --from-csv

Runs nothing and needs no data: makes page and pictures from the CSV files that lie beside the page.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

from benchmarks.study.report import write_report
from benchmarks.study.results import collect
from benchmarks.study.rows import NETWORKS, TABLES, all_rows
from benchmarks.study.workbench import content_digest, data_files, has_bfloat16
from benchmarks.study.worker import Baseline, Preparation, Setup
from tremap_brevitas.cluster import Engine, InProcess, RayEngine, run_jobs

DOCS = Path(__file__).parents[2] / "docs"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CIFAR-10 in its official binary layout")
    parser.add_argument("--weights", type=Path, help="folder with the float weights")
    parser.add_argument("--out", type=Path, default=Path("out/study"), help="output folder (default %(default)s)")
    parser.add_argument("--tables", nargs="+", choices=TABLES, help="only these tables (default: all)")
    parser.add_argument("--test-images", type=int, default=5000, help="test images used (default %(default)s)")
    parser.add_argument("--report-only", action="store_true", help="run nothing; write the page from what is finished")
    parser.add_argument("--from-csv", action="store_true", help="run nothing; write the page from the CSV files beside it")
    parser.add_argument(
        "--docs", type=Path, default=DOCS, help="folder with study_retraining.md (default: the repository's docs)"
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="here",
        metavar="ADDRESS",
        help="one row on each core of this machine, or of the Ray cluster at ADDRESS (default: one row at a time)",
    )
    options = parser.parse_args()
    if not (options.report_only or options.from_csv) and (options.data is None or options.weights is None):
        parser.error("--data and --weights are needed, unless --report-only or --from-csv")
    return options


def main() -> None:
    options = parse()
    if not options.from_csv:
        if not options.report_only:
            run(options)
        collect(options.out, options.docs)
    write_report(options.docs)


def run(options: argparse.Namespace) -> None:
    """Train the baselines and run the rows that are missing."""
    bfloat16 = has_bfloat16()
    setup = Setup(options.data.resolve(), options.weights.resolve(), options.out.resolve(), options.test_images, bfloat16)
    rows = all_rows() if options.tables is None else list(dict.fromkeys(r for t in options.tables for r in TABLES[t]()))
    engine = engine_of(options.ray)
    needed = {name: name for name in NETWORKS if any(row.network == name for row in rows)}
    measured = {"test_images": options.test_images, "data": content_digest(*data_files(options.data))}
    if not bfloat16:  # the published rows are in bfloat16: a folder does not mix the two
        measured["arithmetic"] = "float32"
    given = {name: content_digest(setup.weights_of(name)) for name in needed}
    baselines = run_jobs(
        Baseline(setup), needed, engine=engine, folder=setup.out / "baselines", options=measured, progress="baselines"
    )
    for name, baseline in baselines.items():
        if baseline["weights"] != given[name]:
            raise SystemExit(
                f"{setup.out}: {name} began with weights of digest {baseline['weights']}, but {setup.weights_of(name)} has "
                f"{given[name]}; choose another --out"
            )
    jobs = {row.name: row for row in rows}
    run_jobs(Preparation(setup), jobs, engine=engine, folder=setup.out / "rows", options=measured, progress="rows")


def engine_of(ray: str | None) -> Engine:
    """Return where rows run: every row on one thread, so that its figures do not depend on it."""
    if ray is None:
        torch.set_num_threads(1)
        return InProcess()
    # Workers import the modules beside this file.
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}}
    return RayEngine(None if ray == "here" else ray, num_cpus=1, runtime_env=environment)


if __name__ == "__main__":
    main()
