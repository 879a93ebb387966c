"""A fitted generator draws maps like those that it was fitted to; uniform maps of the same rate are not like them."""

import numpy as np
import pytest
from helpers import needs_data

from tremap_brevitas import FaultMap, Memory, random_fault_maps
from tremap_brevitas.faults.analysis.statistics import map_statistics
from tremap_brevitas.faults.formats import read_readback
from tremap_brevitas.faults.random.fitted import FaultModel, fit_fault_model

MEMORY = Memory(words=400 * 512, word_bits=16, banks=400)


def means(maps):
    statistics = [map_statistics(m) for m in maps]
    clean = np.mean([1 - f.banks_hit / f.banks for f in statistics])
    names = ("rate", "dispersion", "crowded_share", "worst_tenth_share", "worst_column_share")
    return {"clean": clean, **{name: np.mean([getattr(f, name) for f in statistics]) for name in names}}


def test_what_was_drawn_is_fitted():
    for correlation in (0.0, 0.2, 0.6, 1.0):
        drawn_from = FaultModel(fault_rate=4e-4, sa1_share=0.2, dispersion=12, column_correlation=correlation)
        model = fit_fault_model(drawn_from.draw(MEMORY, chips=30, seed=3))
        assert model.fault_rate == pytest.approx(4e-4, rel=0.1)
        assert model.sa1_share == pytest.approx(0.2, abs=0.01)
        assert model.dispersion == pytest.approx(12, rel=0.2)
        assert model.column_correlation == pytest.approx(correlation, abs=0.03)
        assert "20 % stuck at 1" in str(model)


@pytest.mark.parametrize("banks", [2, 16])
def test_chance_is_not_fitted(banks):
    """Uniform maps have columns of three and more; those drawn from the fit have as many, and no more."""
    memory = Memory(words=1024 * banks, word_bits=32, banks=banks)
    uniform = random_fault_maps(memory, chips=40, fault_rate=1e-3, seed=0)
    expected, drawn = means(uniform), means(fit_fault_model(uniform).draw(memory, chips=40, seed=1))
    assert expected["crowded_share"] > 0.2
    for name in ("crowded_share", "worst_column_share"):
        assert drawn[name] == pytest.approx(expected[name], abs=0.04)
    assert expected["dispersion"] == pytest.approx(1, abs=0.3)


def test_a_real_chip():
    """KC705 at 0.55 V: 126 faults in 890 block RAMs. 40 draws of a model fitted to it have its statistics, uniform maps not."""
    path = needs_data("kc705b_bram_0.55V.hex.gz")
    memory = Memory(words=890 * 1024, word_bits=8, banks=890)
    real = read_readback(path, None, memory, duplicated_bytes=True)
    expected = means([real])
    assert (expected["clean"], expected["worst_column_share"]) == pytest.approx((834 / 890, 120 / 126))
    drawn = means(fit_fault_model([real]).draw(memory, chips=40, seed=0))
    uniform = means(random_fault_maps(memory, chips=40, fault_rate=real.fault_rate, seed=0))
    assert drawn["rate"] == pytest.approx(expected["rate"], rel=0.15)
    # The dispersion of single maps varies a lot, as their worst bank does.
    assert drawn["dispersion"] == pytest.approx(expected["dispersion"], rel=0.4)
    assert drawn["worst_tenth_share"] == pytest.approx(expected["worst_tenth_share"], abs=0.15)
    assert drawn["clean"] == pytest.approx(expected["clean"], abs=0.03)
    assert drawn["crowded_share"] == pytest.approx(expected["crowded_share"], abs=0.15)
    assert drawn["worst_column_share"] == pytest.approx(expected["worst_column_share"], abs=0.03)
    assert uniform["dispersion"] < 1.2 < expected["dispersion"] / 2
    assert uniform["crowded_share"] < 0.05
    assert uniform["clean"] < expected["clean"] - 0.05


def test_maps_in_which_nothing_shares_a_column():
    model = fit_fault_model([FaultMap(Memory(words=8, word_bits=4, banks=2), [0, 1, 17], [1, 0, 0])])
    assert model.column_correlation == 0.0
    model.draw(MEMORY, chips=1, seed=0)
    for narrow in (Memory(words=8, word_bits=1, banks=2), Memory(words=2, word_bits=1, banks=2)):
        assert fit_fault_model([FaultMap(narrow, [0, 1], [0, 0])]).column_correlation == 0.0


def test_nothing_to_fit():
    with pytest.raises(ValueError, match="have no fault that a model could be fitted to"):
        fit_fault_model([FaultMap(MEMORY, [], [])])
    with pytest.raises(ValueError, match="empty group"):
        fit_fault_model([])
    banks = [FaultMap(Memory(words=8, word_bits=2, banks=b), [0], [0], f"{b} banks") for b in (2, 4)]
    with pytest.raises(ValueError, match="maps with different banks: chip '2 banks' has 2, '4 banks' 4"):
        fit_fault_model(banks)
