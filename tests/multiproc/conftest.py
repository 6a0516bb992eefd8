# SPDX-License-Identifier: Apache-2.0
"""A daemon in a fresh directory."""

from __future__ import annotations

from fresh_node import lasting_node, libraries, node, quiet_node

__all__ = ["lasting_node", "libraries", "node", "quiet_node"]
