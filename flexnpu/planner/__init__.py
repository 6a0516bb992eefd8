# SPDX-License-Identifier: Apache-2.0
"""Which phase gets which cores: pure functions from a snapshot to a plan with its reasons."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from flexnpu.planner.chunked import Chunked
from flexnpu.planner.duetserve import DuetServe
from flexnpu.planner.instances import Instances
from flexnpu.planner.plan import Alternative, Explanation, Plan, Policy
from flexnpu.planner.snapshot import (
    Feedback,
    PhaseForecaster,
    Snapshot,
    SnapshotError,
    Split,
    Targets,
    Upcoming,
)
from flexnpu.planner.static import Static

# What `--policy NAME` may say; each makes a policy with its published settings, or with those it is called with.
POLICIES: Mapping[str, Callable[..., Policy]] = MappingProxyType(
    {
        "chunked": Chunked,
        "static": Static,
        "duetserve": DuetServe,
        "instances": Instances,
    }
)

__all__ = [
    "POLICIES",
    "Alternative",
    "Chunked",
    "DuetServe",
    "Explanation",
    "Feedback",
    "Instances",
    "PhaseForecaster",
    "Plan",
    "Policy",
    "Snapshot",
    "SnapshotError",
    "Split",
    "Static",
    "Targets",
    "Upcoming",
]
