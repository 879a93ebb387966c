"""Files and folders: whole or not at all, and nothing destroyed that the tool did not write."""

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from tremap_brevitas import files
from tremap_brevitas.files import atomic_file, atomic_folder

AS_ROOT = os.geteuid() == 0


@pytest.fixture(autouse=True)
def _a_new_run(monkeypatch):
    monkeypatch.setattr(files, "_tidied", set())
    mask = os.umask(0o027)
    yield
    os.umask(mask)


def write(path, text="new"):
    with atomic_file(path) as draft:
        draft.write_text(text)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def run(code, *args, **options):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], text=True, **options)


# ------------------------------------------------------------------ files


def test_new_files_honour_umask_and_replaced_ones_keep_their_mode(tmp_path):
    write(tmp_path / "new")
    assert mode(tmp_path / "new") == 0o640
    old = tmp_path / "old"
    old.write_text("old")
    for kept in (0o600, 0o666, 0o755):
        old.chmod(kept)
        write(old, f"{kept}")
        assert (old.read_text(), mode(old)) == (f"{kept}", kept)
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


@pytest.mark.skipif(AS_ROOT, reason="nothing is write-protected for root")
def test_a_write_protected_file_is_not_replaced(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(PermissionError):
        write(path)
    assert path.read_text() == "old"


def test_links_stay_and_what_they_lead_to_is_written(tmp_path):
    (tmp_path / "store").mkdir()
    there = tmp_path / "store" / "there"
    there.write_text("old")
    for name in ("there", "not_yet"):
        link = tmp_path / f"to_{name}"
        link.symlink_to(f"store/{name}")
        chain = tmp_path / f"chain_{name}"
        chain.symlink_to(link)
        write(chain)
        assert chain.is_symlink()
        assert link.is_symlink()
        assert (tmp_path / "store" / name).read_text() == "new"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        write(loop)


def test_pipes_are_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    thread = threading.Thread(target=lambda: read.append(pipe.read_text()))
    thread.start()
    write(pipe, "through")
    thread.join(timeout=10)
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(RuntimeError), atomic_file(pipe):  # nobody reads: writing would wait for ever
        raise RuntimeError
    assert os.listdir(tmp_path) == ["pipe"]


def test_devices_are_written_to(tmp_path):
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.write_text("")
    except PermissionError:
        pytest.skip("only root can make a device")
    write(null)
    assert stat.S_ISCHR(null.stat().st_mode)
    assert os.listdir(tmp_path) == ["null"]


TO_STDOUT = """
from tremap_brevitas.files import atomic_file
print("before")
with atomic_file("/dev/stdout") as draft:
    draft.write_text("whole\\n")
print("after")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="Linux only")
def test_standard_output_is_written_to_wherever_it_goes(tmp_path):
    expected = "before\nwhole\nafter\n"
    assert run(TO_STDOUT, stdout=subprocess.PIPE).communicate()[0] == expected
    path = tmp_path / "f"
    path.write_text("earlier\n")
    for flag, kept in (("a", "earlier\n"), ("w", "")):
        with path.open(flag) as file:
            run(TO_STDOUT, stdout=file).communicate()
        assert path.read_text() == kept + expected


def test_folders_and_missing_folders_are_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        write(tmp_path)
    with pytest.raises(FileNotFoundError, match="none/f"):
        write(tmp_path / "none" / "f")


def test_the_longest_name_that_a_file_can_have(tmp_path):
    write(tmp_path / ("x" * 255))
    with atomic_folder(tmp_path / ("y" * 255), overwrite=False):
        pass
    assert len(os.listdir(tmp_path)) == 2


# ------------------------------------------------------------------ folders


def wrote(folder):
    """What an earlier run left, if it left a list of it."""
    return {"list": digest("x"), "x": digest("x")} if (folder / "list").is_file() else {}


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def make(path, *, overwrite=False, text="x", meanwhile=lambda: None):
    with atomic_folder(path, overwrite=overwrite, wrote=wrote) as draft:
        (draft / "x").write_text(text)
        (draft / "list").write_text("x")
        meanwhile()


def test_a_new_folder(tmp_path):
    make(tmp_path / "g")
    assert mode(tmp_path / "g") == 0o750
    with pytest.raises(FileExistsError, match="g exists already; give overwrite=True"):
        make(tmp_path / "g")
    with pytest.raises(FileNotFoundError, match="none/g"):
        make(tmp_path / "none" / "g")
    assert os.listdir(tmp_path) == ["g"]


@pytest.mark.parametrize("appeared", ["folder", "file", "empty"])
def test_what_appears_meanwhile_stays(tmp_path, appeared):
    path = tmp_path / "g"

    def appear():
        if appeared == "file":
            path.write_text("theirs")
            return
        path.mkdir()
        if appeared == "folder":
            (path / "theirs").write_text("theirs")

    with pytest.raises(FileExistsError, match="g exists already: it was made in the meantime"):
        make(path, meanwhile=appear)
    assert os.listdir(tmp_path) == ["g"]
    assert {"file": path.is_file, "folder": (path / "theirs").exists, "empty": path.is_dir}[appeared]()


@pytest.mark.parametrize("overwrite", [False, True])
def test_one_of_many_writers_succeeds(tmp_path, overwrite):
    path = tmp_path / "g"
    if overwrite:
        make(path)
    barrier = threading.Barrier(8)
    outcomes = []

    def writer(number):
        try:
            with atomic_folder(path, overwrite=overwrite, wrote=wrote) as draft:
                (draft / "who").write_text(str(number))
                barrier.wait(timeout=20)
            outcomes.append(str(number))
        except FileExistsError:
            outcomes.append(None)

    threads = [threading.Thread(target=writer, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number in outcomes if number is not None]
    assert len(outcomes) == 8
    assert winners == [(path / "who").read_text()]


def test_overwriting_replaces_what_an_earlier_run_wrote(tmp_path):
    path = tmp_path / "g"
    make(path)
    path.chmod(0o711)
    make(path, overwrite=True)
    assert mode(path) == 0o711
    (tmp_path / "link").symlink_to(path)
    (path / "x").chmod(0o600)
    make(tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert mode(path / "x") == 0o640  # another file
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty", overwrite=True)
    assert (tmp_path / "empty" / "x").exists()
    assert sorted(os.listdir(tmp_path)) == ["empty", "g", "link"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "sub", "x", "link"])
def test_overwriting_leaves_alone_what_somebody_else_put_there(tmp_path, name, when):
    path = tmp_path / "g"
    make(path)

    def put():
        if name == "sub":
            (path / name).mkdir()
            (path / name / "model.pt").write_text("weeks")
        elif name == "link":
            (path / name).symlink_to(path / "x")
        else:
            (path / name).write_text("weeks")

    if when == "before":
        put()
    with pytest.raises(FileExistsError, match=f"g exists already, and holds '{name}', which no earlier run wrote there"):
        make(path, overwrite=True, meanwhile=put if when == "meanwhile" else lambda: pytest.fail("refused too late"))
    assert (path / "list").exists()
    assert (path / name).exists()
    assert os.listdir(tmp_path) == ["g"]


def test_a_folder_that_was_replaced_meanwhile_stays(tmp_path):
    path = tmp_path / "g"
    make(path)
    with pytest.raises(FileExistsError, match="g was replaced in the meantime"):
        make(path, overwrite=True, text="slow", meanwhile=lambda: make(path, overwrite=True))
    assert (path / "x").read_text() == "x"
    with pytest.raises(FileExistsError, match="g was replaced in the meantime"):
        make(path, overwrite=True, meanwhile=lambda: path.rename(tmp_path / "moved"))
    assert sorted(os.listdir(tmp_path)) == ["moved"]


def test_a_failure_leaves_everything_as_it_was(tmp_path):
    make(tmp_path / "g")
    for overwrite, name in ((True, "g"), (False, "h")):
        with pytest.raises(RuntimeError), atomic_folder(tmp_path / name, overwrite=overwrite, wrote=wrote):
            raise RuntimeError
    assert os.listdir(tmp_path) == ["g"]


# ------------------------------------------------------------------ runs that were killed

AT_WORK = """
import sys, time
from pathlib import Path
from tremap_brevitas.files import atomic_file, atomic_folder
with atomic_folder(Path(sys.argv[1], "g"), overwrite=False), atomic_file(Path(sys.argv[1], "f")):
    print("ready", flush=True)
    time.sleep(60)
"""
KILLED_IN_BETWEEN = """
import os, signal, sys
from tremap_brevitas import files
files._move_to_free_name = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with files.atomic_folder(sys.argv[1], overwrite=True, wrote=lambda folder: {"x": sys.argv[2]}):
    pass
"""


def drafts(folder):
    return [name for name in os.listdir(folder) if name.startswith(".tremap-draft-")]


def test_drafts_of_killed_runs_are_removed_and_those_of_others_not(tmp_path, monkeypatch):
    (tmp_path / ".tremap-draft-mine").mkdir()
    (tmp_path / ".g.12345678").mkdir()
    worker = run(AT_WORK, tmp_path, stdout=subprocess.PIPE)
    assert worker.stdout.readline() == "ready\n"
    write(tmp_path / "a")
    assert len(drafts(tmp_path)) == 3
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    monkeypatch.setattr(files, "_tidied", set())
    write(tmp_path / "b")
    assert drafts(tmp_path) == [".tremap-draft-mine"]
    assert sorted(os.listdir(tmp_path)) == [".g.12345678", ".tremap-draft-mine", "a", "b"]


@pytest.mark.parametrize("name", ["g", "other"])
def test_a_folder_that_was_moved_aside_comes_back(tmp_path, name):
    path = tmp_path / "g"
    path.mkdir()
    (path / "x").write_text("x")
    assert run(KILLED_IN_BETWEEN, path, digest("x")).wait() == -signal.SIGKILL
    assert drafts(tmp_path) == os.listdir(tmp_path)
    if name == "g":
        with pytest.raises(FileExistsError):
            make(path)
    else:
        make(tmp_path / name)
    assert (path / "x").read_text() == "x"
    assert drafts(tmp_path) == []
