from .assign import Assignment, Prepared, assign
from .cost import fault_costs
from .group import Group, group_chips
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
    "plan_groups",
]
