"""Every field and file of a bundle damaged, digests made right again: a report that says so, and nothing else comes out."""

import json
import shutil

import brevitas.nn as qnn
import pytest
import torch
from mutations import ODD, changed, places
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.export.bundle import manifest as manifests
from tremap_brevitas.export.bundle.manifest import NAME


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(folder, chips): two little layers, an image for each chip."""
    torch.manual_seed(0)
    quantizer = {"weight_quant": tm.FaultyInt8WeightPerTensorFixedPoint}
    model = nn.Sequential(qnn.QuantLinear(6, 4, bias=True, **quantizer), qnn.QuantLinear(4, 3, bias=False, **quantizer)).eval()
    memory = tm.Memory(words=64, word_bits=8)
    placement = tm.place(model, memory)
    chips = tm.random_fault_maps(memory, chips=2, fault_rate=0.02, seed=0)
    merged = tm.merge(chips, on_conflict="free")
    tm.set_faults_(model, placement, merged)
    folder = tmp_path_factory.mktemp("small") / "b"
    options = {"placement": placement, "fault_map": merged, "deployment": "chip_image", "dynamo": False}
    tm.export_bundle(model, torch.randn(2, 6), folder, **options)
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
    """What is wrong by the report; loading must say the same."""
    report = tm.verify_bundle(folder, chips)
    str(report)
    if report.ok:
        tm.Bundle.load(folder)
    else:
        with pytest.raises(ValueError, match="not what was exported"):
            tm.Bundle.load(folder)
    return report.problems


INSIGNIFICANT = {"versions", "accuracy", "on_conflict", "store", "probe_error", "accumulators"}  # nothing else repeats them


def test_every_field_of_the_manifest(bundle):
    folder, chips = bundle
    whole = json.loads((folder / NAME).read_text())
    for number, place in enumerate(places(whole)):
        if place == ("digest",):
            continue
        before = whole
        for key in place:
            before = before[key]
        odd = [value for value in [*ODD, ...] if value is ... or type(value) is not type(before) or value != before]
        for value in odd if len(place) < 3 else odd[number % 4 :: 4]:
            write_manifest(folder, changed(whole, place, value))
            found = problems(folder, chips)
            assert found or INSIGNIFICANT & set(map(str, place)) or place[-1] in ("probe", "chip"), (place, value)
