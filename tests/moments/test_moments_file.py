"""Moments in a file: what was saved comes back, mapped, and damage is one sentence."""

import dataclasses
import zipfile

import numpy as np
import pytest
from moments.test_layer_moments import drawn

from tremap_brevitas.archive import mapped_archive, read_archive, write_archive
from tremap_brevitas.moments import InputMoments


@pytest.fixture
def saved(tmp_path):
    layers = {"a": drawn(0)[0], "b": drawn(1, groups=2, by_weight=True)[0]}
    layers = {name: dataclasses.replace(layer, name=name) for name, layer in layers.items()}
    moments = InputMoments(layers, "d" * 64)
    return moments, moments.save(tmp_path / "moments.npz")


def same(one, other):
    assert one.image == other.image
    assert list(one.layers) == list(other.layers)
    for name, layer in one.layers.items():
        for field in dataclasses.fields(layer):
            assert np.array_equal(getattr(layer, field.name), getattr(other.layers[name], field.name)), field.name


def test_it_comes_back_mapped_and_read_only(saved):
    moments, path = saved
    loaded = InputMoments.load(path)
    same(moments, loaded)
    second = loaded.layers["a"].second
    assert not second.flags.owndata
    assert not second.flags.writeable
    read_archive(path, kind="tremap input moments", schema=1)  # the ordinary reader, checksums and all


def test_every_damaged_byte_is_one_sentence_or_another_number(saved):
    _, path = saved
    data = path.read_bytes()
    refused = 0
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            InputMoments.load(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            refused += 1
    assert refused > 100
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match="moments.npz: "):
            InputMoments.load(path)


def test_headers_that_do_not_go_with_the_arrays(saved, tmp_path):
    _, path = saved
    header, arrays = read_archive(path, kind="tremap input moments", schema=1)
    layers = header["layers"]
    for bad, message in (
        ([], "0 layers, 0 names, 8 arrays"),
        ([layers[0], layers[0]], ""),
        ([{**layers[0], "groups": "1"}, layers[1]], "'1' groups|1 groups"),
        ([{**layers[0], "groups": 2}, layers[1]], "of shape"),
        ([{}, layers[1]], "KeyError"),
        ([layers[0], {**layers[1], "name": "a"}], "2 layers, 1 names"),
    ):
        write_archive(
            path, kind="tremap input moments", schema=1, header={"image": "d", "layers": bad}, arrays=arrays, compress=False
        )
        with pytest.raises(ValueError, match=f"moments.npz: .*{message}"):
            InputMoments.load(path)
    wide = {**arrays, "second_0": arrays["second_0"].astype(np.float64)}
    write_archive(path, kind="tremap input moments", schema=1, header={"image": "d", "layers": layers}, arrays=wide)
    with pytest.raises(ValueError, match="layer 'a': second is of float64"):
        InputMoments.load(path)
    write_archive(path, kind="tremap input moments", schema=2, header={"image": "d", "layers": layers}, arrays=arrays)
    with pytest.raises(ValueError, match="schema 2 of tremap input moments, but this version reads 1 to 1 only"):
        InputMoments.load(path)


def test_compressed_arrays_and_an_empty_file(tmp_path):
    arrays = {"a": np.arange(1000.0), "b": np.zeros((3, 0), dtype=np.int32)}
    path = write_archive(tmp_path / "a.npz", kind="k", schema=1, header={"x": 1}, arrays=arrays)
    header, loaded = mapped_archive(path, kind="k", schema=1)
    assert header["x"] == 1
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="a.npz: .*empty"):
        mapped_archive(path, kind="k", schema=1)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.npy", b"no array")
    with pytest.raises(ValueError, match="a.npz: not a k file, or damaged"):
        mapped_archive(path, kind="k", schema=1)
    with pytest.raises(FileNotFoundError):
        mapped_archive(tmp_path / "none.npz", kind="k", schema=1)
