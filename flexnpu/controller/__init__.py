# SPDX-License-Identifier: Apache-2.0
"""The live loop: observe engines, forecast, plan, move cores, and check the forecast against what came."""

from flexnpu.controller.decision import Applied, Decision, Grant, Outcome, ServicePlan
from flexnpu.controller.loop import Loop
from flexnpu.controller.seam import Cores, CoresError, DeviceView, Endpoint, ScrapeError, Seams
from flexnpu.controller.services import Service, ServiceError, Settings

__all__ = [
    "Applied",
    "Cores",
    "CoresError",
    "Decision",
    "DeviceView",
    "Endpoint",
    "Grant",
    "Loop",
    "Outcome",
    "ScrapeError",
    "Seams",
    "Service",
    "ServiceError",
    "ServicePlan",
    "Settings",
]
