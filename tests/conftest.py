"""Settings for all tests."""

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("tremap", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("tremap")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
