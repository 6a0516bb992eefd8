# SPDX-License-Identifier: Apache-2.0
"""The daemon as the loop's Cores: what the two vNPUs may have, and one transaction per move."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx

from flexnpu.controller.decision import Applied
from flexnpu.controller.seam import CoresError, DeviceView
from flexnpu.planner import Split

# Operators take milliseconds; a move that is not applied by then waits for a hung engine.
APPLY_WITHIN = 5.0


class DaemonClient(Protocol):
    """The part of flexnpu.client.Client that is used here."""

    def devices(self) -> Sequence[Any]: ...

    def vnpus(self) -> Sequence[Any]: ...

    def rebalance(self, moves: Sequence[Any], wait: float | None = None) -> Any: ...


class DaemonCores:
    """Two vNPUs of one device, through the daemon."""

    @classmethod
    def connect(cls, prefill: str, decode: str, runtime_dir: Path | None = None) -> "DaemonCores":
        raise NotImplementedError
