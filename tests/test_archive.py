"""Files: whole or not at all, no pickle, schema checked."""

import json
import os
import zipfile

import numpy as np
import pytest

from tremap_brevitas.archive import archive_kind, read_archive, write_archive


def write(path, **changes):
    options = {"kind": "k", "schema": 1, "header": {"a": 1}, "arrays": {"x": np.arange(3)}}
    return write_archive(path, **(options | changes))


def test_round_trip(tmp_path):
    header, arrays = read_archive(write(tmp_path / "f.any"), kind="k", schema=1)
    assert header == {"a": 1, "schema": 1}
    assert arrays["x"].tolist() == [0, 1, 2]


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write(tmp_path / "f")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="[Oo]bject arrays"):
        write(path, arrays={"x": np.array([object()])})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["f"]


def test_nothing_but_header_and_arrays_is_written(tmp_path):
    """NumPy below 2.1 takes every option of ``savez`` for an array."""
    path = write(tmp_path / "f", arrays={"x": np.arange(3)})
    with np.load(path) as archive:
        assert sorted(archive.files) == ["header", "x"]


def test_files_that_numpy_below_2_1_wrote_with_one_array_too_many(tmp_path):
    path = write(tmp_path / "f", arrays={"x": np.arange(3)})
    with zipfile.ZipFile(path, "a") as archive, archive.open("allow_pickle.npy", "w") as member:
        np.lib.format.write_array(member, np.array(False))
    _, arrays = read_archive(path, kind="k", schema=1)
    assert list(arrays) == ["x"]


def test_wrong_kind_and_newer_schema(tmp_path):
    path = write(tmp_path / "f", schema=2)
    with pytest.raises(ValueError, match="f: holds a k, expected a other"):
        read_archive(path, kind="other", schema=2)
    with pytest.raises(ValueError, match="f: schema 2 of k, but this version reads 1 to 1 only"):
        read_archive(path, kind="k", schema=1)


def test_damage_is_named(tmp_path):
    data = write(tmp_path / "f").read_bytes()
    for name, damaged in {"cut": data[:60], "empty": b"", "text": b"hello", "flip": data[:80] + b"\xff" + data[81:]}.items():
        path = tmp_path / name
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name}: not a k file, or damaged"):
            read_archive(path, kind="k", schema=1)


def test_no_pickle_is_ever_loaded(tmp_path):
    header = np.frombuffer(json.dumps({"kind": "k", "schema": 1}).encode(), dtype=np.uint8)
    np.savez(tmp_path / "f.npz", header=header, x=np.array([{}]))
    with pytest.raises(ValueError, match="array 'x': is of dtype object, and holds no numbers"):
        read_archive(tmp_path / "f.npz", kind="k", schema=1)


def test_the_kind_of_an_archive(tmp_path):
    assert archive_kind(write(tmp_path / "f")) == "k"
    (tmp_path / "g").write_bytes((tmp_path / "f").read_bytes()[:40])
    assert archive_kind(tmp_path / "g") is None
    assert archive_kind(tmp_path / "nowhere") is None
