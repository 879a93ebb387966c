"""Evaluate a fleet in onnxruntime alone, and compare with PyTorch chip by chip.

    python export/onnxruntime/fleet.py out/digits

Takes what the quick start left: a bundle, the chips' fault maps, test images, and the float network. For each chip the bundle's
QCDQ file is given the weights that this chip reads (``apply_to_onnx``); its accuracy in onnxruntime is set beside that of the
PyTorch model computing with the same codes. Ends with 1 if a chip's predictions are not the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import tremap_brevitas as tm
from tremap_brevitas.onnx_files import onnx_runner

sys.path.append(str(Path(__file__).parents[2] / "examples"))
from networks import DigitsNet


def main(arguments: list[str] | None = None) -> int:
    """Evaluate every chip twice; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output folder of examples/01_digits_fleet.py")
    options = parser.parse_args(arguments)
    bundle = tm.Bundle.load(options.folder / "group_0")
    chips = [tm.FaultMap.load(path) for path in sorted((options.folder / "chips").glob("*.npz"))]
    with np.load(options.folder / "test_data.npz", allow_pickle=False) as data:
        images, labels = data["images"], data["labels"]
    model = tm.make_faulty(DigitsNet())
    model.load_state_dict(torch.load(options.folder / "network.pt", weights_only=True))
    model.eval()
    net = tm.PlacedModel(model, bundle.image.placement)
    print("chip        onnxruntime  PyTorch  same prediction  onnxruntime ms/image  PyTorch ms/image")
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        for chip in tqdm(chips, unit="chip", leave=False):
            run = onnx_runner(tm.apply_to_onnx(bundle, chip, Path(name) / "chip.onnx"))
            begin = time.perf_counter()
            predicted = run(images).argmax(1)
            middle = time.perf_counter()
            with torch.no_grad(), net.using_codes(bundle.certificate(chip).read()):
                model(torch.tensor(images[:1]))  # the codes are handed down once, not once an image
                again = time.perf_counter()
                expected = np.concatenate([model(torch.tensor(image[None])).argmax(1).numpy() for image in images])
            end = time.perf_counter()
            same = int((predicted == expected).sum())
            bad += same != len(images)
            spent = 1e3 * (middle - begin) / len(images), 1e3 * (end - again) / len(images)
            tqdm.write(
                f"{chip.chip:<10}  {(predicted == labels).mean():>11.4f}  {(expected == labels).mean():>7.4f}  {same:>8} of "
                f"{len(images):<4}  {spent[0]:>20.3f}  {spent[1]:>16.3f}",
                file=sys.stdout,
            )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
