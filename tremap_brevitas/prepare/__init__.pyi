from .batchnorm import reestimate_batchnorm_
from .collapse import CollapseDetector, CollapseError
from .combine import CleanAndFaulty, ClipWeights
from .compensation.fleet import prepare_fleet
from .compensation.prepared import PreparedChip, PreparedFleet
from .compensation.report import CompensatedLayer, CompensationReport
from .compensation.shared import HealthyInputs, HealthyMoments
from .dead_channels import silence_dead_channels_
from .lightning import LightningCallback
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
from .strategies import AllAtOnce, RandomMaps, RandomMember
from .strategy import Strategy
from .teacher import TeacherLoss
from .until import Retrained, retrain_until

__all__ = [
    "AllAtOnce",
    "ChannelReport",
    "CleanAndFaulty",
    "ClipWeights",
    "CollapseDetector",
    "CollapseError",
    "CompensatedLayer",
    "CompensationReport",
    "HealthyInputs",
    "HealthyMoments",
    "LeftAlone",
    "LightningCallback",
    "PreparedChip",
    "PreparedFleet",
    "Ramp",
    "RandomMaps",
    "RandomMember",
    "ReadByMembers",
    "Retrained",
    "Strategy",
    "TeacherLoss",
    "apply_order_",
    "channel_groups",
    "in_another_order",
    "prepare_fleet",
    "prove_groups",
    "reestimate_batchnorm_",
    "reorder",
    "retrain_until",
    "silence_dead_channels_",
]
