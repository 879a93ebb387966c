"""Every chip with BatchNorm statistics of its own: as if the network had been prepared for that chip by hand."""

import copy
import functools
import pickle

import brevitas.nn as qnn
import pytest
import torch
from helpers import a_net
from placed.elsewhere import X, accuracy, make

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.cluster import JobError
from tremap_brevitas.placed.evaluator import Evaluator
from tremap_brevitas.prepare.batchnorm import BatchNormOnChip
from tremap_brevitas.report.fleet_report import read_csv

BATCHES = X.split(16)


@pytest.fixture(scope="module")
def fleet():
    torch.manual_seed(0)
    model = make()
    for _ in range(3):
        model(X)
    model.eval()
    net = tm.place(model, tm.Memory(words=2500, word_bits=32))
    chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=0.02, seed=0)
    exact = [tm.FaultMap(net.placement.memory, [], [], name) for name in ("healthy", "healthy too")]
    return net, [exact[0], *chips, exact[1]]


def statistics(model):
    return {name: value.clone() for name, value in model.named_buffers() if "running_" in name or "num_batches" in name}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("deployment", ["chip_image", "group_image"])
def test_as_if_each_chip_was_prepared_by_hand(fleet, deployment):
    net, chips = fleet
    expected, seen = [], []
    for chip in chips:
        twin = copy.deepcopy(net)
        twin.set_faults_(chip, rule=tm.Rule("nearest" if deployment == "chip_image" else "plain"))
        tm.reestimate_batchnorm_(twin.model, [(batch, "labels") for batch in BATCHES])
        expected.append((statistics(twin.model), accuracy(twin.model)))
    before = statistics(net.model)
    nominal = accuracy(net.model)

    def measure(model):
        assert not model.training
        seen.append(statistics(model))
        return accuracy(model)

    given = ((batch, "labels") for batch in BATCHES)  # is taken once, and serves all chips
    report = net.evaluate(chips, measure, deployment=deployment, batchnorm=given, progress=False)
    plain = net.evaluate(chips, accuracy, deployment=deployment, progress=False)
    assert report.nominal == plain.nominal == nominal
    assert [c.accuracy for c in report.chips] == [figure for _, figure in expected]
    assert report.chips[0].accuracy != nominal  # bit-exact, and yet with other statistics
    assert same(seen[0], before)
    assert len(seen) == 1 + 3 + 1  # the two exact chips are one measurement
    for measured, (statistic, _) in zip(seen[1:4], expected[1:4], strict=True):
        assert same(measured, statistic)
    for one, other in zip(report.chips, plain.chips, strict=True):
        assert (one.chip, one.weights_that_differ, one.worst_error) == (
            other.chip,
            other.weights_that_differ,
            other.worst_error,
        )
    assert same(statistics(net.model), before)
    assert (report.batchnorm, plain.batchnorm) == (True, False)


def test_the_networks_own_statistics_come_back_after_an_error(fleet):
    net, chips = fleet
    net.model.train()
    before, calls = statistics(net.model), []

    def fragile(model):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError("no more")
        return accuracy(model)

    with pytest.raises(JobError, match="MemoryError: no more"):
        net.evaluate(chips, fragile, batchnorm=BATCHES, progress=False)
    with pytest.raises(JobError, match="batch 1, of 16 samples: |shapes cannot be multiplied|size"):
        net.evaluate(chips, accuracy, batchnorm=[X[:8], torch.ones(16, 3, 8, 8)], progress=False)
    assert same(statistics(net.model), before)
    assert net.model.training
    assert net.fault_map is None
    net.model.eval()


def test_a_run_folder_knows_the_batches(fleet, tmp_path):
    net, chips = fleet
    kept = {"progress": False, "folder": tmp_path / "run", "evaluation": "64 random images"}
    calls = []
    counted = lambda model: calls.append(1) or accuracy(model)  # noqa: E731
    first = net.evaluate(chips, counted, batchnorm=BATCHES, **kept)
    assert len(calls) == 5
    again = net.evaluate(chips, counted, batchnorm=[(batch, 0) for batch in BATCHES], **kept)
    assert len(calls) == 6  # the nominal accuracy alone
    assert again.chips == first.chips
    for other in (BATCHES[::-1], BATCHES[:-1], X.split(32), None):
        with pytest.raises(ValueError, match="holds a run with batchnorm='[0-9a-f]{64}', but here it is ('[0-9a-f]{64}'|None)"):
            net.evaluate(chips, accuracy, batchnorm=other, **kept)


def test_elsewhere_as_here(fleet):
    """As a worker sees it: an evaluator that was pickled, and a network that was built there."""
    net, chips = fleet
    here = net.evaluate(chips, accuracy, batchnorm=BATCHES, progress=False)
    image, on_chip = net.memory_image(), BatchNormOnChip(net.model, BATCHES)
    sent = pickle.loads(pickle.dumps(Evaluator(net, image, functools.partial(accuracy), make=make, on_chip=on_chip)))
    for chip, result in zip(chips, here.chips, strict=True):
        assert sent(tm.placement.certificate(image, chip).differences) == result.accuracy


def test_what_cannot_be_done_is_refused_before_anything_is_measured(fleet, tmp_path):
    net, chips = fleet

    def never(model):
        raise AssertionError

    for batches, error, message in (
        ([], ValueError, "batchnorm: no batch was given"),
        (X, TypeError, r"batchnorm must be batches, such as images.split\(128\), got a single tensor"),
        ([X, {"x": X}], TypeError, "batchnorm: batch 1 must be a tensor or a tuple whose first element is one, got a dict"),
    ):
        with pytest.raises(error, match=message):
            net.evaluate(chips, never, batchnorm=batches, progress=False)
    bare = a_net(qnn.QuantLinear(4, 4, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint))
    (chip,) = tm.random_fault_maps(bare.placement.memory, chips=1, fault_rate=0.1, seed=0)
    with pytest.raises(ValueError, match="QuantLinear has no BatchNorm layer with running statistics"):
        bare.evaluate([chip], never, batchnorm=[torch.ones(2, 4)], progress=False)
    # A bundle holds one network: what was measured with statistics of each chip is not its.
    net.set_faults_(chips[1])
    report = net.evaluate(chips, accuracy, batchnorm=BATCHES, progress=False)
    with pytest.raises(ValueError, match="was measured with BatchNorm statistics of each chip, but a bundle holds one network"):
        net.export(tmp_path / "bundle", X[:1], chips=chips, report=report)
    assert not (tmp_path / "bundle").exists()
    net.clear_faults_()


def test_a_report_says_so_in_print_and_in_csv(fleet, tmp_path):
    net, chips = fleet
    report = net.evaluate(chips, accuracy, batchnorm=BATCHES, name="r", progress=False)
    plain = net.evaluate(chips, accuracy, name="r", progress=False)
    assert "0 steps, BatchNorm statistics of each chip\n" in str(report)
    assert read_csv(tm.report.write_csv([report, plain], tmp_path / "fleet.csv")) == [report, plain]
    assert tm.FleetReport.join([report, plain], name="both").batchnorm
