from .assign import Assignment, Prepared, assign
from .cost import fault_costs
from .group import Group, group_chips
from .output_error import output_error
from .plan import PlannedGroup, plan_groups
from .resilience import Point, ResilienceCurve

__all__ = [
    "Assignment",
    "Group",
    "PlannedGroup",
    "Point",
    "Prepared",
    "ResilienceCurve",
    "assign",
    "fault_costs",
    "group_chips",
    "output_error",
    "plan_groups",
]
