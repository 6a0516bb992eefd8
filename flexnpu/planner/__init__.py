# SPDX-License-Identifier: Apache-2.0
"""Which phase gets which cores: pure functions from a snapshot to a plan with its reasons."""

from flexnpu.planner import duetserve, instances
from flexnpu.planner.plan import Alternative, Plan
from flexnpu.planner.snapshot import PhaseForecaster, Snapshot, SnapshotError, Split, Targets

__all__ = [
    "Alternative",
    "PhaseForecaster",
    "Plan",
    "Snapshot",
    "SnapshotError",
    "Split",
    "Targets",
    "duetserve",
    "instances",
]
