"""Schedules and collapse detection refuse settings that make no sense."""

import math

import pytest

import tremap_brevitas as tm
from tremap_brevitas.prepare import ByEpoch, ByStep, OnRecovery


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ByStep(2.5), TypeError, "steps must be an integer, got 2.5"),
        (lambda: ByStep(3, start=True), ValueError, "start must lie between 0 and 1, got True"),
        (lambda: ByStep(3, start=math.nan), ValueError, "start must lie between 0 and 1, got nan"),
        (lambda: ByEpoch(2, 0.5), TypeError, "steps_per_epoch must be an integer, got 0.5"),
        (lambda: OnRecovery(stages=2.5), TypeError, "stages must be an integer, got 2.5"),
        (lambda: OnRecovery(patience=20.5), TypeError, "patience must be an integer, got 20.5"),
        (lambda: OnRecovery(tolerance=math.nan), ValueError, "tolerance must be finite and not negative, got nan"),
        (lambda: OnRecovery(tolerance=math.inf), ValueError, "tolerance must be finite and not negative, got inf"),
        (lambda: OnRecovery(reference=math.nan), ValueError, "reference must be a finite number or None, got nan"),
        (lambda: OnRecovery(patience=3, window=4), ValueError, r"patience must be at least window \(4\), got 3"),
        (lambda: ByStep(3, start=2.0), ValueError, "start must lie between 0 and 1, got 2.0"),
        (lambda: ByEpoch(1, 0), ValueError, "steps_per_epoch must be at least 1, got 0"),
        (lambda: tm.CollapseDetector(limit=math.nan), ValueError, "limit must be finite, got nan"),
        (lambda: tm.CollapseDetector(limit=1, patience=0), ValueError, "patience must be at least 1, got 0"),
    ],
)
def test_bad_schedules(make, error, message):
    with pytest.raises(error, match=message):
        make()
