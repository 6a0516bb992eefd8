# SPDX-License-Identifier: Apache-2.0
"""vNPUs, their quotas, who may have how much, and where that is kept."""

from flexnpu.tenancy.admission import Capacity, Usage, admit
from flexnpu.tenancy.counts import Buckets, DeviceCounts, NodeCounts, Tally, VNpuCounts
from flexnpu.tenancy.registry import Granted, Lease, Registry
from flexnpu.tenancy.views import (
    AppliedView,
    DeviceView,
    EventView,
    GraphView,
    IterationView,
    StepView,
    TenantView,
    UseView,
    VNpuView,
)
from flexnpu.tenancy.vnpu import (
    PHASES,
    Move,
    MoveFields,
    Owner,
    Quota,
    QuotaFields,
    VNpu,
    check_name,
    share_of,
)

__all__ = [
    "PHASES",
    "AppliedView",
    "Buckets",
    "Capacity",
    "DeviceCounts",
    "DeviceView",
    "EventView",
    "Granted",
    "GraphView",
    "IterationView",
    "Lease",
    "Move",
    "MoveFields",
    "NodeCounts",
    "Owner",
    "Quota",
    "QuotaFields",
    "Registry",
    "StepView",
    "Tally",
    "TenantView",
    "Usage",
    "UseView",
    "VNpu",
    "VNpuCounts",
    "VNpuView",
    "admit",
    "check_name",
    "share_of",
]
