"""Jobs on the cores of this machine."""

import math

import pytest

from tremap_brevitas.cluster import JobError, LocalCores


def test_results_by_name_and_the_job_that_failed():
    """Functions of the standard library: a worker that needs no torch starts in no time."""
    assert dict(LocalCores(2).run(abs, {"a": -1, "b": 2})) == {"a": 1, "b": 2}
    with pytest.raises(JobError, match="job 'c' failed: ValueError: "):
        list(LocalCores(1).run(math.sqrt, {"c": -3}))
    with pytest.raises(ValueError, match="workers"):
        LocalCores(0)
