"""Saved maps and placements with every byte, field and array damaged: a documented error, or what was saved."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from mutations import ODD, changed, places

import tremap_brevitas as tm
from tremap_brevitas.placement import PlacedLayer, Placement
from tremap_brevitas.reading import reading

GOLDEN = Path(__file__).parent / "golden" / "files_v1"  # as the first schema had them
MEMORY = tm.Memory(words=16, word_bits=8, banks=2)
CHIPS = (
    tm.FaultMap(MEMORY, [3, 17, 90], [1, 0, 1], "A7", {"voltage": "0.55 V"}),
    tm.FaultMap(MEMORY, [3, 20], [0, 1], "B2", {"lot": "9"}),
)
SAVED = {
    "fault_map": CHIPS[0],
    "merged": tm.merge(CHIPS, on_conflict="free"),
    "placement": Placement(
        tm.Memory(words=16, word_bits=8),
        (
            PlacedLayer("features.0", (2, 3), 4, "twos_complement", 0, 2, np.array([5, 0, 3, 1, 4, 2])),
            PlacedLayer("fc", (3,), 8, "offset_binary", 4, 1),
        ),
    ),
}


@pytest.fixture(params=SAVED)
def saved(request, tmp_path):
    """(value, its file)."""
    value = SAVED[request.param]
    return value, value.save(tmp_path / f"{request.param}.npz")


def attempt(value, path):
    """Load a file; what comes out must be the value that was saved, or a documented error."""
    try:
        loaded = type(value).load(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
        return False
    assert type(loaded) is type(value)
    return loaded == value


def contents(path):
    with np.load(path) as archive:
        arrays = dict(archive)
    return json.loads(arrays.pop("header").tobytes()), arrays


def store(path, header, arrays):
    text = header if isinstance(header, str) else json.dumps(header)
    np.savez(path.open("wb"), header=np.frombuffer(text.encode(), np.uint8), **arrays)


def test_files_of_the_first_schema_load():
    for name, value in SAVED.items():
        assert type(value).load(GOLDEN / f"{name}.npz") == value


def test_a_bit_of_every_byte_changed(saved):
    every_byte(*saved, lambda at: [1 << at % 8])


@pytest.mark.slow
@pytest.mark.parametrize("source", ["new", "golden"])
def test_every_bit_changed(saved, source):
    value, path = saved
    if source == "golden":
        path.write_bytes((GOLDEN / path.name).read_bytes())
    # The files of the first schema get fewer: their reader is the same but for the digest.
    every_byte(value, path, lambda at: [*(1 << bit for bit in range(8)), 0xFF] if source == "new" else [1 << at * 3 % 8, 0xFF])


def every_byte(value, path, flips):
    whole = path.read_bytes()
    flipped = [(at, flip) for at in range(len(whole)) for flip in flips(at)]
    for at, flip in flipped:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
        try:
            assert type(value).load(path) == value, at
        except ValueError as error:
            assert str(error).startswith(f"{path}: "), at  # noqa: PT017


def test_every_length(saved):
    value, path = saved
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert not attempt(value, path), length


def test_every_field_of_another_type_or_missing(saved):
    value, path = saved
    header, arrays = contents(path)
    for place in places(header):
        for odd in [*ODD, ...]:
            store(path, changed(header, place, odd), arrays)
            if attempt(value, path):  # then it says nothing else than before
                before = header
                for key in place:
                    before = before[key]
                older = place == ("schema",) or (place[-1] in ("arrays", "digest") and odd in (None, ...))
                assert odd == before or older or place[0] == "banks" or place == ("memory", 2), (place, odd)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "1", '{"kind": {}}', '{"a": ' * 100_000, "\0", '{"schema": 1e400}'])
def test_headers_that_are_none(saved, text):
    value, path = saved
    store(path, text, contents(path)[1])
    assert not attempt(value, path)


def test_every_array_of_another_type_or_missing(saved):
    value, path = saved
    header, arrays = contents(path)
    for name, array in arrays.items():
        others = [array[:-1], np.append(array, 0), array[None], array[0], array + 1, array - 1, np.roll(array, 1), array * 0]
        others += [array + 0.5, array.astype(float), array.astype(complex), array.astype(str), array.astype("datetime64[s]")]
        others += [np.array([{}]), np.array([], dtype=np.float32), np.array(b"x"), np.zeros(len(array), "i4,f8")]
        for other in others:
            store(path, header, {**arrays, name: other})
            assert not attempt(value, path), (name, other)
        store(path, header, {k: v for k, v in arrays.items() if k != name})
        assert not attempt(value, path)
    store(path, header, {**arrays, "order_7": np.arange(3)})
    assert not attempt(value, path)


def test_an_order_that_the_first_schema_would_have_lost(tmp_path):
    value = SAVED["placement"]
    path = value.save(tmp_path / "p.npz")
    header, _ = contents(path)
    store(path, {**header, "arrays": []}, {})
    with pytest.raises(ValueError, match=f"content has digest [0-9a-f]{{64}}, header says {value.digest}"):
        Placement.load(path)


# ------------------------------------------------------------------ no files, and too large ones


def npy(shape, dtype="<i8", data=b""):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize("load", [tm.FaultMap.load, tm.MergedFaultMap.load, Placement.load])
def test_what_is_no_file(tmp_path, load):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="pipe: is not a regular file"):
        load(pipe)
    with pytest.raises(ValueError, match="/dev/zero: is not a regular file"):
        load("/dev/zero")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


@pytest.mark.parametrize(
    "shape", ["(10**13,)".replace("10**13", str(10**13)), "(-1, -1)", "(0, -5)", f"({10**40},)", "(2,)", "()"]
)
def test_arrays_that_declare_more_than_they_hold(saved, shape):
    value, path = saved
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("cells_9.npy", npy(shape))
    assert not attempt(value, path)


def test_members_that_declare_more_than_they_can_hold(tmp_path):
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", npy((3,), "|u1", b"{}\n"))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # the size that the directory says
    data[at : at + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match="'header.npy' declares 2147483648 bytes, more than it can hold"):
        tm.FaultMap.load(path)


def test_a_file_that_unpacks_to_more_than_any_has(tmp_path, monkeypatch):
    path = tm.FaultMap(tm.Memory(1000, 8), range(2000), [0] * 2000).save(tmp_path / "m.npz")
    monkeypatch.setattr("tremap_brevitas.archive.MAX_BYTES", 10_000)
    with pytest.raises(
        ValueError, match="m.npz: not a tremap fault map file, or damaged .it declares [0-9]+ bytes, more than the 10000"
    ):
        tm.FaultMap.load(path)
    monkeypatch.setattr("tremap_brevitas.archive.MAX_BYTES", 100)
    with pytest.raises(ValueError, match="m.npz: [0-9]+ bytes, more than the 100 that such a file may have"):
        tm.FaultMap.load(path)


def test_errors_of_the_operating_system_stay():
    with pytest.raises(PermissionError), reading("f", "a map"):
        raise PermissionError(13, "Permission denied", "f")
    with pytest.raises(ValueError, match="^f: not a map, or damaged .UnsupportedOperation: seek.$"), reading("f", "a map"):
        raise io.UnsupportedOperation("seek")
    with pytest.raises(ValueError, match="^f:3: bad line$"), reading("f", "a map"):
        raise ValueError("f:3: bad line")
