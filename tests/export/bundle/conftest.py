"""The bundle that these tests begin with."""

from bundles import copied, exported, group

__all__ = ["copied", "exported", "group"]
