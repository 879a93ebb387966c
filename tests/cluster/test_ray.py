"""A real Ray cluster of two nodes on this machine, whose workers and nodes die."""

import threading
import time
from pathlib import Path

import pytest
from cluster.jobs import JOBS, Deadly, Slow, fails, retrained, variable

from tremap_brevitas.cluster import JobError, RayEngine, run_jobs

ray = pytest.importorskip("ray", reason="Ray (extra cluster) is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected():
    return run_jobs(retrained, JOBS, progress=None)


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    two.second = two.add_node(num_cpus=1)
    two.wait_for_nodes()
    yield two
    ray.shutdown()
    two.shutdown()


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Workers must find the jobs' module."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


def test_the_same_results_bit_for_bit(cluster, expected):
    assert run_jobs(retrained, JOBS, engine=RayEngine(cluster.address), progress=None) == expected


def test_a_worker_that_is_killed(cluster, expected, tmp_path):
    engine = RayEngine(cluster.address)
    found = run_jobs(Deadly(str(tmp_path), victims=(1, 4)), JOBS, engine=engine, folder=tmp_path / "run", progress=None)
    assert found == expected
    assert sorted(p.name for p in tmp_path.glob("died-*")) == ["died-1", "died-4"]


def test_a_node_that_is_removed(cluster, expected, tmp_path):
    second = cluster.second.node_id

    def remove():
        while not list(tmp_path.glob(f"began-*-{second}-*")):  # in the middle of a job
            time.sleep(0.02)
        cluster.remove_node(cluster.second, allow_graceful=False)

    thread = threading.Thread(target=remove)
    thread.start()
    found = run_jobs(Slow(str(tmp_path)), JOBS, engine=RayEngine(cluster.address), folder=tmp_path / "run", progress=None)
    thread.join()
    assert found == expected
    assert len(list(tmp_path.glob("began-*"))) > len(JOBS)  # at least one began twice


def test_a_job_that_fails_is_not_tried_again(cluster, tmp_path):
    with pytest.raises(JobError, match="job 'group 3' failed: ValueError: the fault map of chip 'A7'"):
        run_jobs(fails, JOBS, engine=RayEngine(cluster.address), folder=tmp_path, progress=None)


def test_a_cluster_of_its_own(expected):
    assert run_jobs(retrained, JOBS, engine=RayEngine(), progress=None) == expected


def test_what_workers_are_to_find(cluster):
    engine = RayEngine(cluster.address, runtime_env={"env_vars": {"WHERE_WEIGHTS_ARE": "there"}})
    assert run_jobs(variable, {"a": "WHERE_WEIGHTS_ARE"}, engine=engine, progress=None) == {"a": "there"}
