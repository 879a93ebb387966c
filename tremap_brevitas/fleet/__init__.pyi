from .certify import Certificate, LayerDifference, certificate
from .evaluate import evaluate_fleet
from .plot import plot_reports
from .report import ChipResult, FleetReport, comparison, write_csv

__all__ = [
    "Certificate",
    "ChipResult",
    "FleetReport",
    "LayerDifference",
    "certificate",
    "comparison",
    "evaluate_fleet",
    "plot_reports",
    "write_csv",
]
