from .assign import Assignment, Prepared, assign
from .certify import Certificate, LayerDifference, certificate
from .cost import fault_costs
from .effective import EffectiveFaults, effective_faults
from .plan import PlannedGroup, plan_groups
from .plot import plot_reports
from .plot_fleet import plot_effective_faults, plot_yield
from .report import ChipResult, FleetReport, comparison, read_csv, write_csv
from .resilience import Point, ResilienceCurve

__all__ = [
    "Assignment",
    "Certificate",
    "ChipResult",
    "EffectiveFaults",
    "FleetReport",
    "LayerDifference",
    "PlannedGroup",
    "Point",
    "Prepared",
    "ResilienceCurve",
    "assign",
    "certificate",
    "comparison",
    "effective_faults",
    "fault_costs",
    "plan_groups",
    "plot_effective_faults",
    "plot_reports",
    "plot_yield",
    "read_csv",
    "write_csv",
]
