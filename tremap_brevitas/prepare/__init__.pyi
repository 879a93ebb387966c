from .batchnorm import reestimate_batchnorm_
from .collapse import CollapseDetector, CollapseError
from .combine import CleanAndFaulty, ClipWeights
from .compensation.fleet import prepare_fleet
from .compensation.prepared import PreparedChip, PreparedFleet
from .compensation.report import CompensatedLayer, CompensationReport
from .compensation.shared import HealthyInputs, Moments
from .ramp import Ramp
from .read_by_members import ReadByMembers
from .reordering import (
    ChannelReport,
    LeftAlone,
    apply_order_,
    channel_groups,
    in_another_order,
    prove_groups,
    reorder,
)
from .schedule import ByEpoch, ByStep, OnRecovery, Schedule
from .strategies import AllAtOnce, RandomMaps, RandomMember
from .strategy import Strategy
from .until import Retrained, retrain_until

__all__ = [
    "AllAtOnce",
    "ByEpoch",
    "ByStep",
    "ChannelReport",
    "CleanAndFaulty",
    "ClipWeights",
    "CollapseDetector",
    "CollapseError",
    "CompensatedLayer",
    "CompensationReport",
    "HealthyInputs",
    "LeftAlone",
    "Moments",
    "OnRecovery",
    "PreparedChip",
    "PreparedFleet",
    "Ramp",
    "RandomMaps",
    "RandomMember",
    "ReadByMembers",
    "Retrained",
    "Schedule",
    "Strategy",
    "apply_order_",
    "channel_groups",
    "in_another_order",
    "prepare_fleet",
    "prove_groups",
    "reestimate_batchnorm_",
    "reorder",
    "retrain_until",
]
