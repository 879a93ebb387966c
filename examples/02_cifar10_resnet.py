"""Retrain ResNet-20 or ResNet-32 on CIFAR-10 once for a whole group of faulty chips: the quick start at full size.

    python examples/02_cifar10_resnet.py --data cifar-10-batches-bin --weights resnet20.pt

Quantizes the network (with ``--weights``: float weights, a plain state dict), fine-tunes it, and prepares a group of
chips: nothing at all, nearest-code writing, compensated codes, retraining for each chip, one merged retraining with the
conflicts as the members read them, alone and with the healthy network as a teacher. Each finished part is a file in the
output folder, and trainings write checkpoints: kill it, start it again with the same options, and it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from cifar10 import augment, data_files, load_cifar10
from networks import ResNet
from torch import nn
from training import accuracy_on, content_digest, save, seed_everything, train

import tremap_brevitas as tm
from tremap_brevitas.report import ChipResult

MERGED = "merged, read by members, nearest"
TEACHER = f"{MERGED}, healthy network as teacher"
COMPENSATED = "compensated, no training"
IMAGES = 512  # that compensation looks at, without their labels


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in the official binary layout of CIFAR-10")
    parser.add_argument("--weights", type=Path, help="float weights to start from: a state dict (default: from scratch)")
    parser.add_argument("--depth", type=int, default=20, help="depth of the network, 6 n + 2 (default %(default)s)")
    parser.add_argument("--qat-steps", type=int, default=600, help="steps of quantization-aware training (default %(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="steps of one retraining (default %(default)s)")
    parser.add_argument("--chips", type=int, default=5, help="chips in the group (default %(default)s)")
    parser.add_argument(
        "--fault-rate", type=float, default=6e-3, help="stuck cells over all cells of a chip (default %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=128, help="batch size (default %(default)s)")
    parser.add_argument("--lr", type=float, default=0.02, help="highest learning rate (default %(default)s)")
    parser.add_argument("--test-images", type=int, default=10_000, help="test images used (default %(default)s)")
    parser.add_argument("--checkpoint-every", type=int, default=50, help="steps between checkpoints (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of batches and faults (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/cifar10"), help="output folder (default %(default)s)")
    return parser.parse_args()


class Run:
    """The output folder: one file for each finished part."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "options.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = {k: (before.get(k), v) for k, v in options.items() if before.get(k) != v}
            if changed:
                raise SystemExit(f"{folder} holds a run with other options: {changed} (then, now); choose another --out")
        else:
            self.write("options.json", options)

    def write(self, name: str, content: Any) -> None:
        """Write a JSON file, whole or not at all."""
        temporary = self.folder / f".{name}.part"
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        os.replace(temporary, self.folder / name)

    def report(self, name: str, make: Callable[[], tm.FleetReport]) -> tm.FleetReport:
        """Return the report of a finished part, or make it and keep it."""
        path = self.folder / f"report-{slug(name)}.json"
        if not path.exists():
            print(f"   {name} …", flush=True)
            self.write(path.name, asdict(make()))
        saved = json.loads(path.read_text(encoding="utf-8"))
        return tm.FleetReport(**{**saved, "chips": tuple(ChipResult(**c) for c in saved["chips"])})


def main() -> None:
    options = parse()
    kept = {k: str(v) for k, v in vars(options).items() if k not in ("out", "device", "checkpoint_every")}
    # What was read counts, not where it lay.
    kept["data"] = content_digest(*data_files(options.data))
    if options.weights is not None:
        kept["weights"] = content_digest(options.weights)
    run = Run(options.out, kept)
    data = load_cifar10(options.data, test_images=options.test_images)
    device = options.device
    accuracy = accuracy_on(data.test_images, data.test_labels, device=device)
    batches = data.batches(options.batch, seed=options.seed, augment=augment)
    baseline = options.out / "baseline.pt"

    def new_model() -> Any:
        seed_everything(options.seed)
        model: Any = tm.make_faulty(ResNet(options.depth))
        return model.to(device).to(memory_format=torch.channels_last)

    def train_model(
        model: nn.Module, name: str, steps: int, strategy: tm.Strategy | None = None, loss: Any = None, checkpoint_from: int = 0
    ) -> float:
        begin = time.perf_counter()
        train(
            model,
            batches,
            steps=steps,
            lr=options.lr,
            strategy=strategy,
            loss=loss,
            device=device,
            title=name,
            checkpoint=options.out / f"checkpoint-{slug(name)}.pt",
            checkpoint_every=options.checkpoint_every,
            checkpoint_from=checkpoint_from,
        )
        return time.perf_counter() - begin

    print(f"1. Quantization-aware training of ResNet-{options.depth} in a healthy memory")
    if not baseline.exists():
        model = new_model()
        if options.weights is not None:
            load_float_weights(model, options.weights)
        train_model(model, "baseline", options.qat_steps, checkpoint_from=300)
        save(model.state_dict(), baseline)

    def trained() -> Any:
        model = new_model()
        model.load_state_dict(torch.load(baseline, weights_only=True, map_location=device))
        return model.eval()

    placement = tm.place(trained(), tm.Memory(words=10_000_000, word_bits=32)).placement
    memory = tm.Memory(words=placement.words, word_bits=32)
    chips = tm.random_fault_maps(memory, chips=options.chips, fault_rate=options.fault_rate, seed=options.seed)
    merged = tm.merge(chips, on_conflict="majority")
    print(f"2. {placement.weights:,} weights in {memory}; {merged}; union rate {merged.union_rate:.2e}")
    print("3. Prepare the group in every way, and evaluate each on every chip with its own faults", flush=True)

    def healthy() -> tm.PlacedModel:
        return tm.place(trained(), memory)

    def retrained(fault_map: tm.FaultMap, chips: list[tm.FaultMap], name: str) -> tm.FleetReport:
        net = healthy()
        loss = tm.TeacherLoss(net) if name == TEACHER else None
        strategy: tm.Strategy
        if isinstance(fault_map, tm.MergedFaultMap):
            strategy = tm.ReadByMembers(net, fault_map, seed=options.seed)
        else:
            strategy = tm.AllAtOnce(net, fault_map)
        seconds = train_model(net.model, name, options.steps, strategy, loss)
        net.set_faults_(fault_map)
        save(net.model.state_dict(), options.out / f"{slug(name)}.pt")
        return net.evaluate(chips, accuracy, name=name, steps=options.steps, seconds=seconds, progress=len(chips) > 1)

    def deployed(net: tm.PlacedModel, name: str, deployment: Any, steps: int = 0) -> tm.FleetReport:
        return net.evaluate(chips, accuracy, deployment=deployment, name=name, steps=steps)

    def compensated(fault_map: tm.FaultMap, chips: list[tm.FaultMap], name: str) -> tm.FleetReport:
        net, begin = healthy(), time.perf_counter()
        net.compensate_(torch.split(data.images[:IMAGES].to(device), 128), fault_map=fault_map)
        seconds = time.perf_counter() - begin
        return net.evaluate(chips, accuracy, name=name, seconds=seconds, progress=len(chips) > 1)

    def merged_net() -> tm.PlacedModel:
        net = healthy()
        net.model.load_state_dict(torch.load(options.out / f"{slug(MERGED)}.pt", weights_only=True, map_location=device))
        net.set_faults_(merged)
        return net

    free = tm.merge(chips, on_conflict="free")
    one_image = f"one image for all, {COMPENSATED}"
    reports = [
        run.report("untreated", lambda: deployed(healthy(), "untreated", "group_image")),
        run.report("nearest codes, no training", lambda: deployed(healthy(), "nearest codes, no training", "chip_image")),
        run.report(one_image, lambda: compensated(free, chips, one_image)),
        run.report(MERGED, lambda: retrained(merged, chips, MERGED)),
        run.report(
            f"{MERGED}; one image a chip",
            lambda: deployed(merged_net(), f"{MERGED}; one image a chip", "chip_image", options.steps),
        ),
        run.report(TEACHER, lambda: retrained(merged, chips, TEACHER)),
    ]
    single = [run.report(f"compensated {c.chip}", lambda c=c: compensated(c, [c], f"compensated {c.chip}")) for c in chips]  # type: ignore[misc]
    reports.insert(2, tm.FleetReport.join(single, name=COMPENSATED))
    single = [run.report(f"per chip {c.chip}", lambda c=c: retrained(c, [c], f"per chip {c.chip}")) for c in chips]  # type: ignore[misc]
    reports.insert(3, tm.FleetReport.join(single, name="per-chip retraining, nearest"))
    threshold = round(reports[0].nominal - 0.01, 3)
    print(f"\nno faults: {reports[0].nominal:.4f} on {len(data.test_labels)} test images\n")
    print(tm.report.comparison(reports, threshold=threshold))
    tm.report.write_csv(reports, options.out / "fleet.csv")
    title = f"ResNet-{options.depth}, {len(chips)} chips, fault rate {options.fault_rate:g} each"
    tm.report.plot_reports(reports, options.out / "fleet.png", threshold=threshold, title=title)
    print(f"Wrote fleet.csv and fleet.png to {options.out}/")


def slug(name: str) -> str:
    """Turn a heading into a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def load_float_weights(model: nn.Module, path: Path) -> None:
    """Load a float network's state dict; only what the quantizers learn may be missing."""
    missing, unexpected = model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"), strict=False)
    odd = [name for name in missing if "quant" not in name] + unexpected
    if odd:
        raise SystemExit(f"{path}: does not fit the network; missing or unexpected: {', '.join(odd[:6])}")


if __name__ == "__main__":
    main()
