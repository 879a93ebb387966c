"""The study: every way of preparing a fleet, side by side at equal cost, on CIFAR-10.

    python benchmarks/study --data cifar-10-batches-bin --weights FOLDER

Runs what is missing and writes the tables and pictures of docs/study.md. A row that is finished is a file in the output
folder; kill it, start it again, and it goes on with the others. FOLDER holds float weights, plain state dicts, as
resnet20_cifar10_float.pt and resnet32_cifar10_float.pt.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from rows import TABLES, Row, all_rows
from tqdm import tqdm
from workbench import NETWORKS, Workbench, train_baseline

from tremap_brevitas.files import whole_file

sys.path.append(str(Path(__file__).parents[2] / "examples"))
from cifar10 import load_cifar10

BASELINES = {"resnet20": 3000, "resnet20-4bit": 1500, "resnet32": 2000}  # steps of quantization-aware training
BASELINE_LR = 0.05


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 in its official binary layout")
    parser.add_argument("--weights", type=Path, required=True, help="folder with the float weights")
    parser.add_argument("--out", type=Path, default=Path("out/study"), help="output folder (default %(default)s)")
    parser.add_argument("--tables", nargs="+", choices=TABLES, help="only these tables (default: all)")
    parser.add_argument("--test-images", type=int, default=5000, help="test images used (default %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes, one core each (default %(default)s)")
    return parser.parse_args()


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = all_rows() if options.tables is None else list(dict.fromkeys(r for t in options.tables for r in TABLES[t]()))
    missing = [row for row in rows if not path_of(row, options.out).exists()]
    print(f"{len(rows)} rows, {len(missing)} to run")
    # Fresh processes: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, initializer=start, initargs=(options,)) as pool:
        needed = [n for n in NETWORKS if any(row.network == n for row in missing)]
        for name in pool.map(baseline, needed):
            print(f"baseline of {name}: {options.out / f'{name}.pt'}")
        jobs = {pool.submit(finish, row): row for row in missing}
        for job in tqdm(as_completed(jobs), total=len(jobs), unit="row"):
            job.result()


_options: Any = None
_benches: dict[str, Workbench] = {}
_data: Any = None


def start(options: argparse.Namespace) -> None:
    """Begin a worker."""
    global _options, _data
    torch.set_num_threads(1)
    _options, _data = options, load_cifar10(options.data, test_images=options.test_images)


def baseline(name: str) -> str:
    """Train a network in a healthy memory, unless that is done."""
    target = _options.out / f"{name}.pt"
    if not target.exists():
        weights = _options.weights / f"{name.partition('-')[0]}_cifar10_float.pt"
        train_baseline(name, _data, weights, target, steps=BASELINES[name], lr=BASELINE_LR)
    return name


def finish(row: Row) -> None:
    """Run a row and write its file."""
    import job

    if row.network not in _benches:
        state = torch.load(_options.out / f"{row.network}.pt", weights_only=True)
        _benches[row.network] = Workbench(row.network, state, _data)
    result = {"row": row.fields(), **job.run(row, _benches[row.network])}
    with whole_file(path_of(row, _options.out)) as draft:
        draft.write_text(json.dumps(result), encoding="utf-8")


def path_of(row: Row, out: Path) -> Path:
    """File of a finished row."""
    return out / f"row-{hashlib.sha256(row.name.encode()).hexdigest()[:16]}.json"


if __name__ == "__main__":
    main()
