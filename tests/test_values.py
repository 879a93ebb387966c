"""Every value of the package can be sent to another process and copied, and is the same value there: equal, and as frozen."""

import copy
import dataclasses
import importlib
import pickle
from collections.abc import Mapping

import numpy as np
import pytest

import tremap_brevitas as tm
from tremap_brevitas import bundle, codes, faults, moments, onnx_files, order, patching, placement, planning, prepare
from tremap_brevitas import report as report_room
from tremap_brevitas.bundle.chips import BundleChip
from tremap_brevitas.bundle.manifest import BundleLayer, Manifest
from tremap_brevitas.cluster import JobError
from tremap_brevitas.faults.analysis.statistics import compare_maps, group_statistics, map_statistics
from tremap_brevitas.faults.array.allocate import allocate_repair
from tremap_brevitas.faults.array.geometry import ArrayGeometry
from tremap_brevitas.faults.array.repair import Repair
from tremap_brevitas.faults.formats.text import FormatError
from tremap_brevitas.faults.formats.voltages import CellVoltages
from tremap_brevitas.faults.random.fitted import fit_fault_model
from tremap_brevitas.planning.group import group_chips

MEMORY = tm.Memory(words=16, word_bits=32, banks=4)
LAYERS = [placement.LayerCodes("fc", (4, 8), 8, "sign_magnitude"), placement.LayerCodes("last", (7,), 4, "binary")]


def values():
    """One of each kind."""
    chips = tm.random_fault_maps(MEMORY, chips=3, fault_rate=0.1, seed=0)
    chips[0] = tm.FaultMap(MEMORY, chips[0].cells, chips[0].stuck_at, "A7", {"voltage": "0.55 V"})
    merged = tm.merge(chips, on_conflict="free")
    rng = np.random.default_rng(0)
    plain = placement.linear_placement(LAYERS, MEMORY)
    ordered = dataclasses.replace(plain.layers[0], order=rng.permutation(32))
    placed = placement.Placement(MEMORY, (ordered, *plain.layers[1:]))
    image = tm.MemoryImage(placed, {"fc": rng.integers(-127, 128, (4, 8)), "last": rng.integers(0, 16, 7)})
    proof = tm.placement.certificate(image, chips[0])
    curve = planning.ResilienceCurve(
        [planning.Point(0, 0.9), planning.Point(5, 0.5), planning.Point(9, 0.4), planning.Point(5, 0.9, 10)], name="net"
    )
    advice = planning.advise(1e-3, bits=8, chips=3)
    result = report_room.ChipResult("A7", weights_that_differ=3, worst_error=64, accuracy=0.5)
    report = tm.FleetReport("merged", 0.9, (result,), 200, 1.5, 0.25)
    geometry = ArrayGeometry(MEMORY, column_mux=2, word_order=rng.permutation(16), bit_order=rng.permutation(32))
    layer = BundleLayer("fc", (4, 8), 8, True, "binary", 0, 4, (0.5,), (0.0,), None, {"qonnx": "w"})
    chip = BundleChip(result, "d", 3, True, "image.hex")
    manifest = Manifest(
        files={"a": "b"},
        onnx={"qcdq": "m.onnx"},
        placement="p",
        placement_digest="d",
        image="i",
        image_format="mem",
        image_digest="d",
        chips="c",
        deployment="group_image",
        fault_map="d",
        on_conflict="free",
        members=({"chip": "A7"},),
        layers=(layer,),
    )
    rows = order.Side("fc", 0, np.arange(4)[:, None], (1, np.arange(6)))
    channels = order.ChannelGroup("fc", 4, (rows,), (order.Side("scale", 0, np.arange(4)[:, None]),))
    ordered_chip = order.solve(image, [channels], chips[0])
    left = prepare.LeftAlone("last", 0, 7, "the network's output")
    compensated = prepare.CompensatedLayer("fc", 0.2, 0.05, 31, 2)
    healthy_inputs = prepare.HealthyInputs(np.eye(8)[None], np.zeros((1, 8)), "norm")
    prepared = prepare.PreparedChip(
        chips[0],
        image.codes,
        {"bias": rng.random(4)},
        tm.prepare.CompensationReport((compensated,), images=512, seconds=0.5),
        0.9,
    )
    inputs = rng.random((9, 8))
    second, mean = inputs.T @ inputs / 9, inputs.mean(0)
    layer_moments = moments.LayerMoments.of("fc", second[None], mean[None], image.codes["fc"][None], 0.5, samples=9)
    input_moments = moments.InputMoments({"fc": layer_moments}, image.digest)
    patched = patching.patch(image, input_moments, chips[0])
    # What is worked out once and kept must not stand in the way, nor be lost.
    for cached in (
        proof.relative_error,
        image.bits,
        placed.digest,
        chips[0].digest,
        ordered.positions,
        curve.spread,
        layer_moments.curvature,
    ):
        assert cached is not None
    return [
        MEMORY,
        chips[0],
        merged,
        geometry,
        group_chips(chips, limit=100)[0],
        allocate_repair(chips[0], spare_rows=1, spare_columns=1),
        map_statistics(chips[0]),
        compare_maps(*chips[:2]),
        group_statistics(chips),
        fit_fault_model(chips),
        CellVoltages(MEMORY, rng.random((16, 32), dtype=np.float32), "A7"),
        ordered,
        placed,
        placed.sites(chips[0].cells)[0],
        placed.stuck_bits(chips[0])[0],
        placement.WeightBit("fc", (1, 2), 3),
        LAYERS[0],
        image,
        proof,
        proof.differences[0],
        result,
        report,
        curve,
        curve.points[0],
        placement.activated_faults(image, chips[0]),
        planning.Prepared("a", image, 0.9),
        advice,
        advice.options[0],
        advice.options[0].measured,
        advice.options[0].measured.first,
        planning.SupplyPoint(0.5, 1e-3, 0.25),
        planning.advise_supply([planning.SupplyPoint(0.5, 1e-3, 0.25)], bits=8, chips=3),
        next(planning.assign(chips, [planning.Prepared("a", image, 0.9)], goal=0.5, curve=curve)),
        planning.plan_groups(chips, image, curve, goal=0.6, steps=10)[0],
        onnx_files.OnnxReport("m.onnx", {"fc": "w"}, ()),
        onnx_files.OnnxWeight("w", image.codes["fc"].astype(np.int32), np.float32(0.5), np.int64(0), 8, True),
        bundle.BundleReport("b", (), (proof,)),
        bundle.Bundle(tm.__path__[0], manifest, image, (chip,)),
        manifest,
        layer,
        chip,
        rows,
        channels,
        ordered_chip,
        order.FleetOrders((ordered_chip,)),
        order.SearchOptions(aim="error", seed=3),
        order.Hardware(scramble=4, rotate=2, invert=1),
        order.SpareLines(Repair(rows=((0, 1),), columns=((0, 2),)), ArrayGeometry(MEMORY)),
        order.HardwareSetting(order.Hardware(scramble=4, rotate=2), MEMORY, keys=[1, 0, 3, 2], rows=[1, 5], amounts=[3, 4]),
        tm.Rule("plain", "zero_fully_stuck"),
        layer_moments,
        input_moments,
        patched,
        patched.layers[0],
        compensated,
        tm.prepare.CompensationReport((compensated,), images=512, seconds=0.5),
        healthy_inputs,
        prepare.HealthyMoments({"fc": healthy_inputs}, images=5, network="d"),
        prepared,
        prepare.PreparedFleet((prepared,), "d", report),
        left,
        prepare.ChannelReport((channels,), (left,)),
        prepare.Retrained(True, 0.9, 10, 1.0, ((0, 0.5), (10, 0.9))),
    ]


def same(one, other):
    """Whether two values say the same: field by field, and as read-only."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
        assert other.flags.writeable == one.flags.writeable
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, Mapping):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            same(*pair)
    elif isinstance(one, tm.MemoryImage):
        same(one.placement, other.placement)
        same(one.codes, other.codes)
        assert one.digest == other.digest
    elif isinstance(one, planning.ResilienceCurve):
        same(one.points, other.points)
        assert (one.name, one.error_of) == (other.name, other.error_of)
    else:
        assert one == other


COPIES = {
    "pickled": lambda value: pickle.loads(pickle.dumps(value)),
    "deep copied": copy.deepcopy,
    "copied": copy.copy,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("value", values(), ids=lambda v: type(v).__name__)
def test_a_value_survives(value, how):
    same(value, COPIES[how](value))


def test_no_public_value_is_left_out():
    kinds = {type(value) for value in values()}
    packages = (bundle, codes, faults, moments, onnx_files, order, patching, placement, planning, prepare, report_room)
    for module in (tm, *packages, importlib.import_module("tremap_brevitas.cluster")):
        for name in getattr(module, "__all__", ()):
            public = getattr(module, name)
            if isinstance(public, type) and "__dataclass_fields__" in vars(public):
                assert public in kinds, f"{module.__name__}.{name} has no example above"


@pytest.mark.parametrize(
    "error",
    [
        JobError("group 3", ValueError("the map of chip 'A7'")),
        JobError("group 3", OSError(lambda: "what no pickle holds")),
        tm.prepare.CollapseError("collapsed", step=3, loss=2.5, limit=2.3),
        FormatError("a.log:3: no address"),
    ],
    ids=["JobError", "JobError of an error that cannot be pickled", "CollapseError", "FormatError"],
)
def test_an_error_comes_back_from_another_process(error):
    error.where = "on machine 3"
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)
