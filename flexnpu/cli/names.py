# SPDX-License-Identifier: Apache-2.0
"""What a shell completes names with. It has no place for an error, so that there is none: no names then."""

from __future__ import annotations

from flexnpu.client import Client
from flexnpu.errors import FlexNpuError


def complete_vnpu(incomplete: str) -> list[str]:
    """The vNPUs whose names begin so."""
    try:
        with Client() as client:
            return [vnpu.name for vnpu in client.vnpus() if vnpu.name.startswith(incomplete)]
    except FlexNpuError:
        return []
