"""What other processes import: a network, and a way to measure it."""

import os
from pathlib import Path

import numpy as np
import torch
from networks import DigitsNet

import tremap_brevitas as tm

X = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def make():
    return tm.make_faulty(DigitsNet())


@torch.no_grad()
def accuracy(model, noted=None):
    """A figure that any other code changes; notes where it was measured."""
    if noted is not None:
        (Path(noted) / f"{os.getpid()}-{np.random.default_rng().integers(2**60)}").touch()
    return float(model(X).softmax(1).square().sum())
