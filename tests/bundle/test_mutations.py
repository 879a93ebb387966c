"""Every field and file of a bundle damaged, digests made right again: a report that says so, and nothing else comes out."""

import json
import os
import shutil

import brevitas.nn as qnn
import pytest
import torch
from groups import signed
from mutations import ODD, changed, places
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.bundle import manifest as manifests
from tremap_brevitas.bundle.chips import BundleChip, write_chips
from tremap_brevitas.bundle.manifest import NAME, file_digest
from tremap_brevitas.report import ChipResult


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(folder, chips): two little layers, an image for each chip."""
    torch.manual_seed(0)
    quantizer = {"weight_quant": tq.FaultyInt8WeightPerTensorFixedPoint}
    model = nn.Sequential(qnn.QuantLinear(6, 4, bias=True, **quantizer), qnn.QuantLinear(4, 3, bias=False, **quantizer)).eval()
    memory = tm.Memory(words=64, word_bits=8)
    net = tm.place(model, memory)
    chips = tm.random_fault_maps(memory, chips=2, fault_rate=0.02, seed=0)
    net.set_faults_(tm.merge(chips, on_conflict="free"))
    folder = tmp_path_factory.mktemp("small") / "b"
    net.export(folder, torch.randn(2, 6), deployment="chip_image", dynamo=False)
    assert tm.verify_bundle(folder, chips).ok
    return folder, chips


@pytest.fixture
def bundle(small, tmp_path):
    return shutil.copytree(small[0], tmp_path / "b"), small[1]


def write_manifest(folder, content):
    """A manifest whose digest is right, whatever it says."""
    content = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps({**content, "digest": manifests._digest(content)})
    (folder / NAME).write_text(text)


def problems(folder, chips):
    """What is wrong by the report; loading says the same, but for what the chips' own images hold."""
    report = tm.verify_bundle(folder, chips)
    str(report)
    try:
        bundle = tm.Bundle.load(folder)
    except ValueError as error:
        assert not report.ok
        assert "not what was exported" in str(error)  # noqa: PT017
    else:
        assert report.ok or len(report.certificates) < len(chips) or "says of chip" in report.problems[0]
        assert bundle.manifest.files
    return report.problems


# Nothing else in the bundle repeats them.
OPTIONAL = {"accumulators", "moments", "groups"}
INSIGNIFICANT = {"versions", "accuracy", "on_conflict", "store", "probe_error", "probe", "chip"} | OPTIONAL


def test_every_field_of_the_manifest(bundle):
    folder, chips = bundle
    whole = json.loads((folder / NAME).read_text())
    unseen = []
    for number, place in enumerate(places(whole)):
        if place == ("digest",):
            continue
        before = whole
        for key in place:
            before = before[key]
        number_before = type(before) in (int, float)
        odd = [v for v in [*ODD, ...] if not (v == before and (type(v) is type(before) or (type(v) is int and number_before)))]
        for value in odd if len(place) < 3 else odd[number % 4 :: 4]:
            write_manifest(folder, changed(whole, place, value))
            if not problems(folder, chips) and not INSIGNIFICANT & {*map(str, place)} and (place[0], value) != ("onnx", ...):
                unseen.append((place, value))
    assert unseen == []


FILES = [
    "chips.csv",
    "model.qcdq.onnx",
    "model.qonnx.onnx",
    "placement.npz",
    "probe.npz",
    "weights_as_written.mem",
    "weights_as_written_chip_0001.mem",
]


@pytest.mark.parametrize("name", FILES)
def test_every_file_damaged_and_signed_again(bundle, name):
    folder, chips = bundle
    content = json.loads((folder / NAME).read_text())
    path = folder / name
    whole = path.read_bytes()
    step = max(1, len(whole) // 30)
    damaged = [whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :] for at in range(0, len(whole), step)]
    damaged += [whole[: len(whole) // 2], b"", b"\xff\xfe", b"\n" + whole, whole[:-1] + b'"']
    for data in damaged:
        path.write_bytes(data)
        write_manifest(folder, {**content, "files": {**content["files"], name: file_digest(path)}})
        problems(folder, chips)


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file(bundle, name):
    folder, chips = bundle
    path = folder / name
    path.unlink()
    os.mkfifo(path)
    assert f"{name}: is not a file that can be read" in problems(folder, chips)
    path.unlink()
    path.mkdir()
    assert f"{name}: is not a file that can be read" in problems(folder, chips)


def test_a_long_table_with_one_damaged_byte(bundle):
    folder, chips = bundle
    rows = [
        BundleChip(ChipResult(f"chip-{i}", accuracy=0.9), "ab" * 32, 9, False, "weights_as_written.mem") for i in range(1500)
    ]
    write_chips(rows, folder / "chips.csv")
    data = (folder / "chips.csv").read_bytes()
    (folder / "chips.csv").write_bytes(data.replace(b"\nchip-3,", b'\n"hip-3,'))
    signed(folder)
    assert problems(folder, chips) == ("chips.csv:5: field larger than field limit (131072)",)


def test_a_bundle_is_replaced_by_a_bundle_and_nothing_else_is(bundle, group):
    folder, _ = bundle
    for name in ("notes.txt", "model.pt"):
        (folder / name).write_text("weeks")
        with pytest.raises(FileExistsError, match=f"b exists already, and holds '{name}', which no earlier run wrote there"):
            group.export(folder, overwrite=True)
        (folder / name).unlink()
    kept = (folder / "chips.csv").read_bytes()
    (folder / "chips.csv").write_bytes(kept + b"# mine\n")
    with pytest.raises(FileExistsError, match=r"holds 'chips\.csv', which no earlier run wrote there or which was changed"):
        group.export(folder, overwrite=True)
    (folder / "chips.csv").write_bytes(kept)
    assert len(list(folder.iterdir())) == 9
    group.export(folder, overwrite=True)
    assert len(list(folder.iterdir())) == 7
