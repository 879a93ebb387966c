"""A workbench of the study that is small enough for tests."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from training import Data

from benchmarks.study import workbench


@contextmanager
def small_workbench(*, images: int, test_images: int):
    """Yield a workbench of an untrained ResNet-8 on images of noise, not compiled, and the patch that is undone afterwards."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    data = Data(
        torch.randn(images, 3, 32, 32, generator=generator),
        torch.randint(10, (images,), generator=generator),
        torch.randn(test_images, 3, 32, 32, generator=generator),
        torch.randint(10, (test_images,), generator=generator),
    )
    network = workbench.new_network("resnet8")
    network(data.test_images[:8])
    state = network.state_dict()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workbench.tm, "compiled", lambda model, **_: model)
        patch.setattr(workbench, "BATCH", 8)
        yield workbench.Workbench("resnet8", state, data, bfloat16=False), patch
