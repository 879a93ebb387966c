"""The fleet: what each chip makes of a memory image, and how well it does."""

from tremap_brevitas.fleet.certificate import Certificate, LayerDifference, certificate
from tremap_brevitas.fleet.evaluate import evaluate_fleet
from tremap_brevitas.fleet.plot import plot_reports
from tremap_brevitas.fleet.report import ChipResult, FleetReport, comparison, write_csv

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
