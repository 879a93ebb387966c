"""A real Ray cluster of two nodes on this machine, whose workers and nodes die."""

import threading
import time
from pathlib import Path

import pytest
from cluster.jobs import JOBS, Deadly, Slow, cluster_of, fails, retrained, variable

from tremap_brevitas.cluster import JobError, RayEngine, run_jobs

ray = pytest.importorskip("ray", reason="Ray (extra cluster) is not installed")
pytestmark = pytest.mark.slow(10)


@pytest.fixture(scope="module")
def expected():
    return run_jobs(retrained, JOBS, progress=None)


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Workers must find the jobs' module; their cluster has the environment in which it was started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        yield


def two_nodes():
    from ray.cluster_utils import Cluster

    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    two.second = two.add_node(num_cpus=1)
    two.wait_for_nodes()
    yield two
    ray.shutdown()
    two.shutdown()


@pytest.fixture
def cluster():
    """One for a test that damages it."""
    yield from two_nodes()


@pytest.fixture(scope="class")
def shared():
    """One for the tests that leave it as it is."""
    yield from two_nodes()


class TestAClusterThatLives:
    def test_the_same_results_bit_for_bit(self, shared, expected):
        assert run_jobs(retrained, JOBS, engine=RayEngine(shared.address), progress=None) == expected

    def test_a_job_that_fails_is_not_tried_again(self, shared, tmp_path):
        with pytest.raises(JobError, match="job 'group 3' failed: ValueError: the fault map of chip 'A7'"):
            run_jobs(fails, JOBS, engine=RayEngine(shared.address), folder=tmp_path, progress=None)

    def test_what_workers_are_to_find(self, shared):
        engine = RayEngine(shared.address, runtime_env={"env_vars": {"WHERE_WEIGHTS_ARE": "there"}})
        assert run_jobs(variable, {"a": "WHERE_WEIGHTS_ARE"}, engine=engine, progress=None) == {"a": "there"}

    def test_without_an_address_somebody_elses_cluster_is_left_alone(self, shared, monkeypatch):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        own = run_jobs(cluster_of, {"a": 0}, engine=RayEngine(), progress=None)["a"]
        assert own != shared.address
        monkeypatch.setenv("RAY_ADDRESS", shared.address)
        assert run_jobs(cluster_of, {"a": 0}, engine=RayEngine(), progress=None) == {"a": shared.address}


def test_a_worker_that_is_killed(cluster, expected, tmp_path):
    engine = RayEngine(cluster.address)
    results = run_jobs(Deadly(str(tmp_path), victims=(1, 4)), JOBS, engine=engine, folder=tmp_path / "run", progress=None)
    assert results == expected
    assert sorted(p.name for p in tmp_path.glob("died-*")) == ["died-1", "died-4"]


def test_a_node_that_is_removed(cluster, expected, tmp_path):
    second = cluster.second.node_id

    def remove():
        while not list(tmp_path.glob(f"began-*-{second}-*")):  # in the middle of a job
            time.sleep(0.02)
        cluster.remove_node(cluster.second, allow_graceful=False)

    thread = threading.Thread(target=remove)
    thread.start()
    results = run_jobs(Slow(str(tmp_path)), JOBS, engine=RayEngine(cluster.address), folder=tmp_path / "run", progress=None)
    thread.join()
    assert results == expected
    assert len(list(tmp_path.glob("began-*"))) > len(JOBS)  # at least one began twice
