"""Settings for all tests."""

import gc
import os
from collections import Counter

if gc.isenabled():  # not until all is imported and collected
    gc.disable()
if "PYTEST_XDIST_WORKER" in os.environ:  # several processes: threads of each would only wait for those of the others
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch
from bundles import copied, exported, group

__all__ = ["copied", "exported", "group"]  # fixtures of the tests of exports and bundles

hypothesis.settings.register_profile("tremap", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("tremap")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What imports and collection made stays to the end: a million objects that the collector need not visit ever again."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items):
    """Files whose slow tests say how long they take come first, so that no core waits at the end for the last of them."""
    seconds = Counter()
    for item in items:
        for mark in item.iter_markers("slow"):
            seconds[item.path] += sum(mark.args)
    items.sort(key=lambda item: -seconds[item.path])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
