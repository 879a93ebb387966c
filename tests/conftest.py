"""Settings for all tests."""

import hypothesis
import pytest
import torch
from bundles import copied, exported, group

__all__ = ["copied", "exported", "group"]  # fixtures of the tests of exports and bundles

hypothesis.settings.register_profile("tremap", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("tremap")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
