import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
from cluster.jobs import JOB_SECONDS, JOBS, MANY, fails, retrained

from tremap_brevitas.cluster import InProcess, JobError, RunFolder, run_jobs

SCRIPT = Path(__file__).with_name("jobs.py")
OPTIONS = {"steps": 20}
HERE = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2])}  # this checkout, whatever is installed


@pytest.fixture(scope="module")
def undisturbed():
    return run_jobs(retrained, JOBS, progress=None)


def test_every_job_once_in_order(undisturbed):
    assert list(undisturbed) == list(JOBS)
    assert undisturbed["group 3"] == retrained(3)


def test_what_is_finished_is_not_run_again(tmp_path, undisturbed):
    calls = []

    def counted(seed):
        calls.append(seed)
        return retrained(seed)

    some = {name: JOBS[name] for name in list(JOBS)[:3]}
    run_jobs(counted, some, folder=tmp_path / "run", progress=None)
    assert run_jobs(counted, JOBS, folder=tmp_path / "run", progress=None) == undisturbed
    assert sorted(calls) == sorted(JOBS.values())


def test_a_job_that_fails_loses_nothing(tmp_path):
    with pytest.raises(JobError, match="job 'group 3' failed: ValueError: the fault map of chip 'A7'") as error:
        run_jobs(fails, JOBS, folder=tmp_path, progress=None)
    assert isinstance(error.value.__cause__, ValueError)
    with RunFolder(tmp_path) as folder:
        assert [name for name in JOBS if folder.get(name) is not None] == ["group 0", "group 1", "group 2"]


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_report(tmp_path):
    undisturbed = run_jobs(retrained, MANY, progress=None)
    rng = random.Random(0)
    kills = 0
    done = tmp_path / "run" / "done"

    def finished():
        return len(list(done.glob("[!.]*.json"))) if done.exists() else 0

    while finished() < len(MANY):
        # A random number of jobs later, then a random part of a job: counted in jobs, so that a slow machine gets there too.
        enough = min(finished() + rng.randint(1, 20), len(MANY))
        process = forked.start(SCRIPT, tmp_path / "run", environment=HERE, complained=str(tmp_path / "stderr"))
        while finished() < enough and process.is_alive():
            time.sleep(0.002)
        time.sleep(rng.random() * 1.2 * JOB_SECONDS)
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), (tmp_path / "stderr").read_text()
    assert kills >= 2
    again = run_jobs(
        lambda seed: pytest.fail("finished already"), MANY, folder=tmp_path / "run", options=OPTIONS, progress=None
    )
    assert again == undisturbed
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["done", "lock", "run.json"]


def test_a_second_process_is_refused(tmp_path):
    code = (
        "import sys; from tremap_brevitas.cluster import RunFolder\n"
        f"with RunFolder({str(tmp_path)!r}):\n print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(BlockingIOError, match="another process is working in this run folder"), RunFolder(tmp_path):
            pass
        other.kill()  # its lock dies with it
        other.wait()
    with RunFolder(tmp_path) as folder:
        folder.put("a", 1)


def test_damaged_records_are_named_and_run_again(tmp_path, caplog, undisturbed):
    run_jobs(retrained, JOBS, folder=tmp_path, progress=None)
    records = sorted((tmp_path / "done").iterdir())
    damage = [
        lambda t: t[: len(t) // 2],
        lambda t: "",
        lambda t: "[]",
        lambda t: t.replace("loss", "lost"),
        lambda t: "[" * 10**5,
    ]
    for record, change in zip(records, damage, strict=False):
        record.write_text(change(record.read_text()))
    assert run_jobs(retrained, JOBS, folder=tmp_path, progress=None) == undisturbed
    assert {(entry.name, entry.levelname) for entry in caplog.records} == {("tremap_brevitas.cluster.folder", "WARNING")}
    for record in records[: len(damage)]:
        assert f"{record}: damaged record" in caplog.text
        assert record.with_suffix(".damaged").exists()


def test_a_folder_of_another_run_is_refused(tmp_path):
    run_jobs(retrained, {}, folder=tmp_path, options={"steps": 200, "rate": 0.006}, progress=None)
    with pytest.raises(ValueError, match="holds a run with steps=200, but here it is 100"):
        run_jobs(retrained, JOBS, folder=tmp_path, options={"steps": 100, "rate": 0.006}, progress=None)
    for text, message in (("{", "damaged"), ('{"kind": "x", "schema": 1, "options": {}}', "holds a 'x'"), ("[]", "damaged")):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            run_jobs(retrained, JOBS, folder=tmp_path, progress=None)


def test_a_disk_that_takes_no_more(tmp_path):
    """The operating system really refuses to write: no file may be longer than 600 bytes."""
    run_jobs(retrained, {"group 0": 0}, folder=tmp_path, progress=None)
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from tremap_brevitas.cluster import run_jobs\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        f"run_jobs(lambda n: 'x' * n, {{'small': 10, 'large': 5000}}, folder={str(tmp_path)!r}, progress=None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "OSError: [Errno 27] File too large" in done.stderr
    with RunFolder(tmp_path) as folder:
        assert folder.get("group 0") is not None
        assert folder.get("small") == "x" * 10
        assert folder.get("large") is None
    assert len(list((tmp_path / "done").iterdir())) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=str(tmp_path)):
        run_jobs(retrained, JOBS, folder=tmp_path / "run", progress=None)


def test_names_cannot_leave_the_folder(tmp_path):
    names = ["../../etc/passwd", "a/b", "a_b", "", "..", "ä" * 300, "a\0b"]
    with RunFolder(tmp_path / "run") as folder:
        for index, name in enumerate(names, start=1):
            folder.put(name, index)
        assert [folder.get(name) for name in names] == list(range(1, 8))
    assert len(list((tmp_path / "run" / "done").iterdir())) == 7
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_results_that_cannot_be_kept(tmp_path):
    with RunFolder(tmp_path) as folder:
        with pytest.raises(TypeError, match="its result is None"):
            folder.put("a", None)
        with pytest.raises(TypeError, match="not JSON serializable"):
            folder.put("a", {1, 2})
        assert folder.get("a") is None
    with pytest.raises(RuntimeError, match="in a with block"):
        folder.put("a", 1)


def test_records_can_be_read_by_eye(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.put("group 7", {"accuracy": 0.5})
    (record,) = (tmp_path / "done").iterdir()
    assert record.name.startswith("group_7-")
    assert json.loads(record.read_text())["result"] == {"accuracy": 0.5}


def test_results_come_as_they_are_finished():
    begin = time.perf_counter()
    results = InProcess().run(retrained, JOBS)
    next(results)
    assert time.perf_counter() - begin < 5  # the first came before the others were run
    results.close()
