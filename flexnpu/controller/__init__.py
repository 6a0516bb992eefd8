# SPDX-License-Identifier: Apache-2.0
"""The live loop: observe two engines, forecast, plan, move cores, and check the forecast against what came."""

from flexnpu.controller.decision import Applied, Decision, Outcome
from flexnpu.controller.loop import Loop, Settings
from flexnpu.controller.seam import Cores, CoresError, DeviceView, Endpoint, ScrapeError, Seams

__all__ = [
    "Applied",
    "Cores",
    "CoresError",
    "Decision",
    "DeviceView",
    "Endpoint",
    "Loop",
    "Outcome",
    "ScrapeError",
    "Seams",
    "Settings",
]
