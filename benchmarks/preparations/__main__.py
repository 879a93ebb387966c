"""Ways to prepare chips, from one stuck cell in a million to one in five: ResNets on CIFAR-10, small others on digits.

    python -m benchmarks.preparations --data cifar-10-batches-bin --weights FOLDER

Baselines are trained as the older study's, for fewer steps. Every finished case is a record in the output folder: kill it,
start it again, and it goes on with the others. Its rows go into docs/preparations.csv, beside those that are there. FOLDER
holds float weights, as the older study wants them. ``--collect`` takes the records that are there, also while others are run.

    python -m benchmarks.preparations --networks digits-mobilenet digits-transformer
    python -m benchmarks.preparations --networks resnet20 --maps --measured BOARD.hex.gz … --data … --weights …

The small networks are trained here on the digits that scikit-learn ships, and need no data. ``--maps`` runs maps that are not
uniform, in place of those that are: clustered, after spares, behind SECDED, and measured on a board. Rows of both go into
docs/study_networks.csv.

    python -m benchmarks.preparations --from-csv

Runs nothing and needs no data: makes the page, its pictures and the table that ``tremap advise`` reads from the CSV file.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from benchmarks.preparations.cases import UNIFORM, Case
from benchmarks.preparations.elsewhere import BOARDS, DIGITS, listed
from benchmarks.preparations.rows import Row, merged, read, rows_of, write
from tremap_brevitas.planning.evidence import ROWS

CSV = Path(__file__).parents[2] / "docs" / "preparations.csv"
OTHERS = CSV.with_name("study_networks.csv")  # rows of other networks and other maps
PAGES = [CSV.with_name(f"{name}.md") for name in ("study", "study_networks", "study_supply", "compensation")]
PAGES += [CSV.parents[1] / "README.md"]
LARGE, SMALL = "cases", "digits"  # run folders
STEPS = {"resnet20": 1500, "resnet20-4bit": 1000, "resnet32": 800}  # of quantization-aware training, at two cores' pace


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CIFAR-10 in its official binary layout")
    parser.add_argument("--weights", type=Path, help="folder with the float weights")
    parser.add_argument("--out", type=Path, default=Path("out/preparations"), help="output folder (default %(default)s)")
    names = [*STEPS, *DIGITS]
    parser.add_argument("--networks", nargs="+", choices=names, default=list(STEPS), help="(default: %(default)s)")
    parser.add_argument("--maps", action="store_true", help="maps that are not uniform, in place of those that are")
    parser.add_argument("--measured", type=Path, nargs="+", default=[], help="read-backs of a KC705 board, for --maps")
    parser.add_argument("--test-images", type=int, default=2500, help="test images used (default %(default)s)")
    parser.add_argument("--no-retraining", action="store_true", help="leave out cases that retrain")
    parser.add_argument("--only-new", action="store_true", help="leave out cases that stand in the CSV file")
    parser.add_argument("--csv", type=Path, help="file of the rows (default: the two in the repository's docs)")
    parser.add_argument("--collect", action="store_true", help="run nothing; take the records of --out that are finished")
    parser.add_argument("--from-csv", action="store_true", help="run nothing; make all that is made of the CSV file")
    options = parser.parse_args()
    needed = not (options.from_csv or options.collect) and set(options.networks) & set(STEPS)
    if needed and (options.data is None or options.weights is None):
        parser.error("--data and --weights are needed for ResNets, unless --from-csv or --collect")
    missing = [path for path in options.measured if not path.is_file()]
    if missing:
        parser.error(f"no such file: {', '.join(map(str, missing))}")
    return options


def run(options: argparse.Namespace) -> None:
    """Run what is missing, and write the CSV files."""
    every = listed(options.networks, maps=options.maps)
    if not options.measured and not options.collect:
        every = [case for case in every if case.map not in BOARDS]
    done = {row.case for path in paths(options) for row in read(path)} if options.only_new else set()
    made: dict[Path, list[Row]] = {path: [] for path in paths(options)}
    for small in (False, True):
        mine = [case for case in every if (case.network in DIGITS) == small]
        if not mine:
            continue
        results = collected(options, mine, small) if options.collect else ran(options, mine, small, done)
        for case in mine:
            if results.get(case.name):
                made[path_of(case, options)] += rows_of(case, results[case.name])
    for path, rows in made.items():
        if rows:
            write(merged(read(path), rows), path)


def ran(options: argparse.Namespace, every: list[Case], small: bool, done: set[Case]) -> dict[str, Any]:
    """Results of the cases by name; those of ResNets and of small networks have a run folder each."""
    from benchmarks.preparations.work import Work, set_up
    from tremap_brevitas.cluster import run_jobs

    jobs = {c.name: c for c in every if c not in done and not (options.no_retraining and c.cost.steps)}
    measured = tuple(path.resolve() for path in options.measured)
    if small:
        folder, about = options.out / SMALL, {"data": "digits", "arithmetic": "float32"}
        return run_jobs(Work(None, measured), jobs, folder=folder, options=about, progress=SMALL)
    setup, baseline, about = set_up(options, STEPS)
    networks = {case.network: case.network for case in every}
    run_jobs(baseline, networks, folder=setup.out / "baselines", options=about, progress="baselines")
    return run_jobs(Work(setup, measured), jobs, folder=setup.out / LARGE, options=about, progress=LARGE)


def collected(options: argparse.Namespace, every: list[Case], small: bool) -> dict[str, Any]:
    """Results that are there, by name."""
    from tremap_brevitas.cluster.folder import RunFolder

    folder = RunFolder(options.out / (SMALL if small else LARGE))
    return {case.name: folder.get(case.name) for case in every}


def paths(options: argparse.Namespace) -> list[Path]:
    """The files of rows."""
    return [options.csv] if options.csv else [CSV, OTHERS]


def path_of(case: Case, options: argparse.Namespace) -> Path:
    """The file that a case's rows go into."""
    others = case.map != UNIFORM or case.network in DIGITS
    return options.csv or (OTHERS if others else CSV)


def report(path: Path) -> None:
    """Make what is made of the CSV files; of another file than the published ones: only its pictures, beside it."""
    from benchmarks.preparations import networks_page, supply_page
    from benchmarks.preparations.page import fill, texts
    from benchmarks.preparations.pictures import draw
    from benchmarks.preparations.statistics import frame_of
    from benchmarks.preparations.table import table

    draw(frame_of(path), path.parent)
    if path.resolve() != CSV:
        print(table(path))
        return
    shutil.copyfile(path, ROWS)
    supply_page.draw_energy(path.with_name("study_energy.png"))
    filled = {**texts(frame_of(path), path), "no training": table(path), **networks_page.texts(OTHERS), **supply_page.texts()}
    for page in PAGES:
        fill(page, filled)


def main() -> None:
    options = parse()
    if not options.from_csv:
        run(options)
    report(options.csv or CSV)


if __name__ == "__main__":
    main()
