# SPDX-License-Identifier: Apache-2.0
"""vNPUs, their quotas, who may have how much, and where that is kept."""

from flexnpu.tenancy.admission import Capacity, Usage, admit
from flexnpu.tenancy.registry import Lease, Registry
from flexnpu.tenancy.views import AppliedView, DeviceView, TenantView, VNpuView
from flexnpu.tenancy.vnpu import PHASES, Move, Owner, Quota, VNpu, check_name

__all__ = [
    "PHASES",
    "AppliedView",
    "Capacity",
    "DeviceView",
    "Lease",
    "Move",
    "Owner",
    "Quota",
    "Registry",
    "TenantView",
    "Usage",
    "VNpu",
    "VNpuView",
    "admit",
    "check_name",
]
