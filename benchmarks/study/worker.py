"""A process of the study: one core, one compiled copy of each network that it has met."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import job
import torch
from rows import Row
from workbench import Workbench, load_cifar10, train_baseline

from tremap_brevitas.files import whole_file

BASELINES = {"resnet20": 3000, "resnet20-4bit": 1500, "resnet32": 2000}  # steps of quantization-aware training
BASELINE_LR = 0.05

_weights: Path
_out: Path
_data: Any = None
_benches: dict[str, Workbench] = {}


def start(data: Path, weights: Path, out: Path, test_images: int) -> None:
    """Begin a worker."""
    global _weights, _out, _data
    torch.set_num_threads(1)
    _weights, _out, _data = weights, out, load_cifar10(data, test_images=test_images)


def baseline(name: str) -> str:
    """Train a network in a healthy memory, unless that is done."""
    target = _out / f"{name}.pt"
    if not target.exists():
        weights = _weights / f"{name.partition('-')[0]}_cifar10_float.pt"
        train_baseline(name, _data, weights, target, steps=BASELINES[name], lr=BASELINE_LR)
    return name


def finish(row: Row) -> None:
    """Run a row and write its file."""
    if row.network not in _benches:
        state = torch.load(_out / f"{row.network}.pt", weights_only=True)
        _benches[row.network] = Workbench(row.network, state, _data)
    result = {"row": row.fields(), **job.run(row, _benches[row.network])}
    with whole_file(path_of(row, _out)) as draft:
        draft.write_text(json.dumps(result), encoding="utf-8")


def path_of(row: Row, out: Path) -> Path:
    """File of a finished row."""
    return out / f"row-{hashlib.sha256(row.name.encode()).hexdigest()[:16]}.json"
