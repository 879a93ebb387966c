from .batchnorm import reestimate_batchnorm_
from .collapse import CollapseDetector, CollapseError
from .combine import CleanAndFaulty, ClipWeights
from .compensation.report import CompensatedLayer, CompensationReport
from .ramp import Ramp
from .read_by_members import ReadByMembers
from .strategies import AllAtOnce, RandomMaps, RandomMember
from .strategy import Strategy
from .teacher import TeacherLoss
from .until import Retrained, retrain_until

__all__ = [
    "AllAtOnce",
    "CleanAndFaulty",
    "ClipWeights",
    "CollapseDetector",
    "CollapseError",
    "CompensatedLayer",
    "CompensationReport",
    "Ramp",
    "RandomMaps",
    "RandomMember",
    "ReadByMembers",
    "Retrained",
    "Strategy",
    "TeacherLoss",
    "reestimate_batchnorm_",
    "retrain_until",
]
