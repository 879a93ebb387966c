from .advice import Advice, Option, advise
from .assign import assign
from .assignment import Assignment, Prepared
from .cost import fault_costs
from .evidence import ChipRow, Measured
from .group import Group, group_chips
from .output_error import output_error
from .plan import PlannedGroup, plan_groups
from .resilience import Point, ResilienceCurve
from .supply import SupplyAdvice, SupplyPoint, advise_supply, read_supply_points

__all__ = [
    "Advice",
    "Assignment",
    "ChipRow",
    "Group",
    "Measured",
    "Option",
    "PlannedGroup",
    "Point",
    "Prepared",
    "ResilienceCurve",
    "SupplyAdvice",
    "SupplyPoint",
    "advise",
    "advise_supply",
    "assign",
    "fault_costs",
    "group_chips",
    "output_error",
    "plan_groups",
    "read_supply_points",
]
