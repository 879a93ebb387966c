"""What happens to the faults during retraining: all at once, gradually, or another chip at every step."""

from tremap_brevitas.retrain.batchnorm import reestimate_batchnorm_
from tremap_brevitas.retrain.collapse import CollapseDetector, CollapseError
from tremap_brevitas.retrain.combine import CleanAndFaulty, ClipWeights
from tremap_brevitas.retrain.ramp import Ramp
from tremap_brevitas.retrain.read_by_members import ReadByMembers
from tremap_brevitas.retrain.schedule import ByEpoch, ByStep, OnRecovery, Schedule
from tremap_brevitas.retrain.strategies import AllAtOnce, RandomMaps, RandomMember
from tremap_brevitas.retrain.strategy import Strategy
from tremap_brevitas.retrain.until import Retrained, retrain_until

__all__ = [
    "AllAtOnce",
    "ByEpoch",
    "ByStep",
    "CleanAndFaulty",
    "ClipWeights",
    "CollapseDetector",
    "CollapseError",
    "OnRecovery",
    "Ramp",
    "RandomMaps",
    "RandomMember",
    "ReadByMembers",
    "Retrained",
    "Schedule",
    "Strategy",
    "reestimate_batchnorm_",
    "retrain_until",
]
