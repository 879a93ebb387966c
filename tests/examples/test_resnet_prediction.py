"""The prediction for ResNet-20 in small: chips are measured one by one, and the network is as it was between them."""

import pytest
from study_bench import small_workbench

from benchmarks import resnet_prediction as prediction
from benchmarks.digits_prediction import held_out_table
from benchmarks.resnet_prediction import WAYS, Chip, Work


@pytest.mark.slow
def test_chips_are_measured_alike_and_the_last_are_predicted(monkeypatch):
    monkeypatch.setattr(prediction, "IMAGES", 8)
    with small_workbench(images=40, test_images=20) as (bench, _):
        monkeypatch.setattr(prediction, "workbench_of", lambda setup, network: bench)
        chips = [Chip(0.05, number, held_out) for number, held_out in ((0, False), (1, False), (0, True), (0, False))]
        rows = [Work(None)(chip) for chip in chips]
        bench.reset()
        healthy = prediction._accuracy(bench)(bench.model)
    prediction._network.cache_clear()
    assert rows[0] == rows[3]
    assert rows[0]["codes"] != rows[1]["codes"] != rows[2]["codes"]
    assert {row["healthy"] for row in rows} == {healthy}
    assert all(0 < row["compensated outputs"] < 1 and row["outputs"] > 0 for row in rows)
    table = held_out_table([(healthy, rows[:3])], WAYS)
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == list(WAYS)
