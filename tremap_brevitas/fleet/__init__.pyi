from .certify import Certificate, LayerDifference, certificate
from .effective import EffectiveFaults, effective_faults
from .evaluate import evaluate_fleet
from .plot import plot_reports
from .plot_fleet import plot_effective_faults, plot_yield
from .report import ChipResult, FleetReport, comparison, write_csv

__all__ = [
    "Certificate",
    "ChipResult",
    "EffectiveFaults",
    "FleetReport",
    "LayerDifference",
    "certificate",
    "comparison",
    "effective_faults",
    "evaluate_fleet",
    "plot_effective_faults",
    "plot_reports",
    "plot_yield",
    "write_csv",
]
