from .batchnorm import reestimate_batchnorm_
from .collapse import CollapseDetector, CollapseError
from .combine import CleanAndFaulty, ClipWeights
from .compensation.fleet import prepare_fleet
from .compensation.prepared import PreparedChip, PreparedFleet
from .compensation.report import CompensatedLayer, CompensationReport
from .compensation.shared import LayerMoments, Moments
from .ramp import Ramp
from .read_by_members import ReadByMembers
from .schedule import ByEpoch, ByStep, OnRecovery, Schedule
from .strategies import AllAtOnce, RandomMaps, RandomMember
from .strategy import Strategy
from .until import Retrained, retrain_until

__all__ = [
    "AllAtOnce",
    "ByEpoch",
    "ByStep",
    "CleanAndFaulty",
    "ClipWeights",
    "CollapseDetector",
    "CollapseError",
    "CompensatedLayer",
    "CompensationReport",
    "LayerMoments",
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
    "prepare_fleet",
    "reestimate_batchnorm_",
    "retrain_until",
]
