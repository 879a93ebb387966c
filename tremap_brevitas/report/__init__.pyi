from .fleet_report import ChipResult, FleetReport, comparison, read_csv, write_csv
from .pictures import plot_activated_faults, plot_reports, plot_yield

__all__ = [
    "ChipResult",
    "FleetReport",
    "comparison",
    "plot_activated_faults",
    "plot_reports",
    "plot_yield",
    "read_csv",
    "write_csv",
]
