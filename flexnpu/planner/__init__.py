# SPDX-License-Identifier: Apache-2.0
"""Which phase gets which cores: pure functions from a snapshot to a plan with its reasons."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from flexnpu.planner.chunked import Chunked
from flexnpu.planner.colocated import Colocated
from flexnpu.planner.disaggregated import DeviceLoad, Disaggregated, decode_goes_to, prompt_goes_to
from flexnpu.planner.duetserve import DuetServe
from flexnpu.planner.goodput import Goodput
from flexnpu.planner.instances import Instances
from flexnpu.planner.pdmux import PdMux
from flexnpu.planner.plan import Alternative, Explanation, Looks, Plan, Policy
from flexnpu.planner.ratio import Ratio, ratio
from flexnpu.planner.semipd import SemiPd
from flexnpu.planner.snapshot import (
    Feedback,
    PhaseForecaster,
    Snapshot,
    SnapshotError,
    Split,
    Targets,
)
from flexnpu.planner.static import Static
from flexnpu.planner.tenants import Rules, Shares, Tenant, share_cores
from flexnpu.planner.weights import Weights

# What `--policy NAME` may say; each makes a policy with its published settings, or with those it is called with.
POLICIES: Mapping[str, Callable[..., Policy]] = MappingProxyType(
    {
        "flexnpu": Goodput,
        "chunked": Chunked,
        "static": Static,
        "duetserve": DuetServe,
        "weights": Weights,
        "semi-pd": SemiPd,
        "pdmux": PdMux,
        "disaggregated": Disaggregated,
        "instances": Instances,
        "co-located": Colocated,
    }
)

__all__ = [
    "POLICIES",
    "Alternative",
    "Chunked",
    "Colocated",
    "DeviceLoad",
    "Disaggregated",
    "DuetServe",
    "Explanation",
    "Feedback",
    "Goodput",
    "Instances",
    "Looks",
    "PdMux",
    "PhaseForecaster",
    "Plan",
    "Policy",
    "Ratio",
    "Rules",
    "SemiPd",
    "Shares",
    "Snapshot",
    "SnapshotError",
    "Split",
    "Static",
    "Targets",
    "Tenant",
    "Weights",
    "decode_goes_to",
    "prompt_goes_to",
    "ratio",
    "share_cores",
]
