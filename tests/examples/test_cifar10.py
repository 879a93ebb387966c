"""The loader of the official binary layout, on files made here."""

import numpy as np
import pytest
import torch
from cifar10 import MEAN, RECORD, STD, augment, load_cifar10


def write_data_set(folder, *, records=40, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        table = rng.integers(0, 256, size=(records, RECORD), dtype=np.uint8)
        table[:, 0] = np.arange(records) % 10
        # something to learn: the class colours a stripe
        for row in table:
            start = 1 + 300 * int(row[0])
            row[start : start + 300] = 255
        table.tofile(folder / name)
    return folder


def test_pixels_and_labels(tmp_path):
    write_data_set(tmp_path / "cifar-10-batches-bin")
    data = load_cifar10(tmp_path)
    assert data.images.shape == (200, 3, 32, 32)
    assert data.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    raw = np.fromfile(tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin", dtype=np.uint8).reshape(-1, RECORD)
    pixel = raw[7, 1 + 2 * 1024 + 5 * 32 + 9]  # blue, row 5, column 9
    restored = data.images[40 + 7, 2, 5, 9] * STD[0, 2, 0, 0] + MEAN[0, 2, 0, 0]
    assert restored.item() * 255 == pytest.approx(pixel, abs=1e-3)
    assert len(load_cifar10(tmp_path, test_images=8).test_labels) == 8


def test_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="data_batch_1.bin: no such file; --data must name a folder"):
        load_cifar10(tmp_path)
    write_data_set(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="data_batch_3.bin: .* are not a whole number of records of 3073"):
        load_cifar10(tmp_path)
    path.write_bytes(whole[: 5 * RECORD] + b"\x0b" + whole[5 * RECORD + 1 :])
    with pytest.raises(ValueError, match="data_batch_3.bin: record 5 has label 11, above 9"):
        load_cifar10(tmp_path)


def test_augmentation_is_repeatable_and_keeps_the_shape():
    images = torch.randn(6, 3, 32, 32)
    first, second = (augment(images, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == images.shape
    assert not torch.equal(first, images)
