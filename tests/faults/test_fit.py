"""A fitted generator draws maps like those that it was fitted to; uniform maps of the same rate are not like them."""

import numpy as np
import pytest
from helpers import needs_data

from tremap_brevitas import FaultMap, Memory, random_fault_maps
from tremap_brevitas.faults.fit import FaultModel, fit_fault_model
from tremap_brevitas.faults.formats import read_readback
from tremap_brevitas.faults.statistics import map_statistics

MEMORY = Memory(words=400 * 512, word_bits=16, banks=400)


def means(maps):
    found = [map_statistics(m) for m in maps]
    clean = np.mean([1 - f.banks_hit / f.banks for f in found])
    names = ("rate", "dispersion", "crowded_share", "worst_tenth_share")
    return {"clean": clean, **{name: np.mean([getattr(f, name) for f in found]) for name in names}}


def test_what_was_drawn_is_fitted():
    drawn_from = FaultModel(fault_rate=4e-4, sa1_share=0.2, dispersion=12, column_share=0.6, column_faults=5)
    found = fit_fault_model(drawn_from.draw(MEMORY, chips=30, seed=3))
    assert found.fault_rate == pytest.approx(4e-4, rel=0.1)
    assert found.sa1_share == pytest.approx(0.2, abs=0.01)
    assert found.dispersion == pytest.approx(12, rel=0.2)
    assert found.column_share == pytest.approx(0.6, abs=0.08)
    assert found.column_faults == pytest.approx(5, rel=0.25)
    assert "20 % stuck at 1" in str(found)


def test_a_real_chip():
    """KC705 at 0.55 V: 126 faults in 445 block RAMs. 40 draws of a model fitted to it have its statistics, uniform maps not."""
    path = needs_data("kc705b_bram_0.55V.hex.gz")
    memory = Memory(words=445 * 2048, word_bits=8, banks=445)
    real = read_readback(path, None, memory, duplicated_bytes=True)
    expected = means([real])
    drawn = means(fit_fault_model([real]).draw(memory, chips=40, seed=0))
    uniform = means(random_fault_maps(memory, chips=40, fault_rate=real.fault_rate, seed=0))
    assert drawn["rate"] == pytest.approx(expected["rate"], rel=0.15)
    # The dispersion of single maps varies a lot, as their worst bank does.
    assert drawn["dispersion"] == pytest.approx(expected["dispersion"], rel=0.4)
    assert drawn["worst_tenth_share"] == pytest.approx(expected["worst_tenth_share"], abs=0.15)
    assert drawn["clean"] == pytest.approx(expected["clean"], abs=0.03)
    assert drawn["crowded_share"] == pytest.approx(expected["crowded_share"], abs=0.15)
    assert uniform["dispersion"] < 1.2 < expected["dispersion"] / 2
    assert uniform["crowded_share"] < 0.05
    assert uniform["clean"] < expected["clean"] - 0.1
    assert uniform["worst_tenth_share"] < expected["worst_tenth_share"] - 0.2


def test_maps_without_a_crowded_column():
    found = fit_fault_model([FaultMap(Memory(words=8, word_bits=4, banks=2), [0, 1, 17], [1, 0, 0])])
    assert (found.column_share, found.column_faults) == (0.0, 3.0)
    found.draw(MEMORY, chips=1, seed=0)


def test_nothing_to_fit():
    with pytest.raises(ValueError, match="have no fault that a model could be fitted to"):
        fit_fault_model([FaultMap(MEMORY, [], [])])
    with pytest.raises(ValueError, match="empty group"):
        fit_fault_model([])
    banks = [FaultMap(Memory(words=8, word_bits=2, banks=b), [0], [0], f"{b} banks") for b in (2, 4)]
    with pytest.raises(ValueError, match="maps with different banks: chip '2 banks' has 2, '4 banks' 4"):
        fit_fault_model(banks)
