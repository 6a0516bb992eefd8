# SPDX-License-Identifier: Apache-2.0
"""What two phases that run side by side make of what they share: memory's bandwidth, and links to other devices.

A neighbour takes half of the bandwidth in the part f = min(1, 2 D) of the time (`part_met`), D being the mean part that
it draws when alone: seconds A alone and H with half of the bandwidth become 1 / ((1 - f) / A + f / H) (`busy`). While
both send to other devices, each has half of the links.
"""

from __future__ import annotations

from flexnpu._native import busy, part_met

__all__ = ["HALF", "busy", "part_met"]

HALF = 0.5  # of the device's bandwidth: the least that a neighbour leaves
