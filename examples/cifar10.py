"""Read CIFAR-10 from the official binary layout (Krizhevsky, 2009).

A folder holds ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``; a record is one byte of label and
3 × 32 × 32 bytes of pixels, red, green, blue, row by row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from training import Data

RECORD = 1 + 3 * 32 * 32
MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)


def data_files(folder: Path) -> list[Path]:
    """Return the five files of training images and the one of test images.

    Args:
        folder: Folder with the six files, or one that holds it as ``cifar-10-batches-bin``.

    Raises:
        FileNotFoundError: If one is missing.
    """
    inner = folder / "cifar-10-batches-bin"
    folder = inner if inner.is_dir() else folder
    files = [folder / name for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")]
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; --data must name a folder in the official binary layout of CIFAR-10"
            )
    return files


def load_cifar10(folder: Path, *, test_images: int | None = None) -> Data:
    """Read the data set, normalised by the ImageNet mean and standard deviation.

    Args:
        folder: Folder with the six files, or one that holds it as ``cifar-10-batches-bin``.
        test_images: Use only so many test images, evenly spread; None for all.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is not a whole number of records, or a label is above 9.
    """
    *files, test_file = data_files(folder)
    training = [_read(file) for file in files]
    test, test_labels = _read(test_file)
    if test_images is not None and test_images < len(test):
        keep = torch.linspace(0, len(test) - 1, test_images).long()
        test, test_labels = test[keep], test_labels[keep]
    images, labels = (torch.cat(parts) for parts in zip(*training, strict=True))
    return Data(images, labels, test, test_labels)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the images, and shift all by up to 4 pixels."""
    flip = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    rows, columns = torch.randint(9, (len(images), 2), generator=generator).to(images.device)[..., None].unbind(1)
    inside = torch.arange(32, device=images.device)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    # Indexed dimensions come first: (N, 32, 32, 3).
    return padded[image, :, (rows + inside)[:, :, None], (columns + inside)[:, None, :]].movedim(-1, 1)


def _read(path: Path) -> tuple[Tensor, Tensor]:
    raw = np.fromfile(path, dtype=np.uint8)
    if len(raw) == 0 or len(raw) % RECORD:
        raise ValueError(f"{path}: {len(raw)} bytes are not a whole number of records of {RECORD}")
    records = raw.reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"{path}: record {int(records[:, 0].argmax())} has label {records[:, 0].max()}, above 9")
    pixels = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
    return (pixels - MEAN) / STD, torch.from_numpy(records[:, 0].astype(np.int64))
