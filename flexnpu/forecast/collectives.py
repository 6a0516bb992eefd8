# SPDX-License-Identifier: Apache-2.0
"""What devices exchange: seconds of a collective as a start and a rate, from the data sheet's links and network.

Within a node every device sends at its link's rate, between nodes at its network's. A reduction over several nodes is
hierarchical, as NCCL and HCCL do it: scatter within each node, reduce over the network, gather within.
"""

from __future__ import annotations

from typing import NamedTuple

from flexnpu.forecast.batch import ForecastError
from flexnpu.hardware import Soc
from flexnpu.llm.shape import Experts


class Route(NamedTuple):
    """Seconds of a collective: `start` whatever it carries, `per_byte` of what it is about."""

    start: float
    per_byte: float


NOWHERE = Route(0.0, 0.0)


def all_reduce(soc: Soc, devices: int, efficiency: float = 1.0) -> Route:
    """Per byte of the vector that every device has. A ring: 2 (n - 1) / n of it passes each device's link."""
    half = all_gather(soc, devices, efficiency)
    # One collective, so one start; a reduction over the network makes two more of it.
    return Route(half.start, 2.0 * half.per_byte)


def all_gather(soc: Soc, devices: int, efficiency: float = 1.0) -> Route:
    """Per byte of the vector that every device has in the end."""
    if devices == 1:
        return NOWHERE
    near, nodes = _nodes(soc, devices)
    link, network = _rates(soc, devices, efficiency)
    within = (near - 1) / near / link if near > 1 else 0.0
    between = (nodes - 1) / nodes / near / network if nodes > 1 else 0.0
    starts = (near > 1) + (nodes > 1)
    return Route(starts * soc.collective_seconds, within + between)


def exchange(soc: Soc, devices: int, experts: Experts, efficiency: float = 1.0, start: float = 0.0) -> Route:
    """Dispatch of tokens to experts on `devices`, or the way back: per byte of the tokens that one device sends.

    A token goes once to every node that has one of its experts, over the network, and there once to every device that
    has (DeepSeek-V3, arXiv 2412.19437, section 3.2.2). Links and network work at the same time.
    """
    if devices == 1:
        return NOWHERE
    near, nodes = _nodes(soc, devices)
    link, network = _rates(soc, devices, efficiency)
    reached = _reached(nodes, experts.chosen)
    copies = _reached(devices, experts.chosen)
    if experts.groups > 1 and reached > experts.chosen_groups:
        # Groups of experts lie on nodes, and few of them are chosen.
        copies *= experts.chosen_groups / reached
        reached = float(experts.chosen_groups)
    within = copies * (near - 1) / near / link if near > 1 else 0.0
    between = reached * (nodes - 1) / nodes / network if nodes > 1 else 0.0
    return Route(max(start, soc.collective_seconds), max(within, between))


def _reached(places: int, chosen: int) -> float:
    """Expected number of distinct places that `chosen` experts lie on."""
    return places * (1.0 - (1.0 - 1.0 / places) ** chosen)


def _nodes(soc: Soc, devices: int) -> tuple[int, int]:
    """Devices of a group within one node, and nodes."""
    near = min(devices, soc.node_devices)
    if devices % near:
        raise ForecastError(
            f"{devices} devices do not fill nodes of {near} {soc.name}; give up to {near}, or a multiple of it"
        )
    return near, devices // near


def _rates(soc: Soc, devices: int, efficiency: float) -> tuple[float, float]:
    if not soc.link_bandwidth and soc.node_devices > 1:
        raise ForecastError(
            f"{devices} devices of {soc.name}, which has no link_gb_s; give 1, or add it to a specification"
        )
    if devices > soc.node_devices and not soc.network_bandwidth:
        raise ForecastError(
            f"{devices} devices are more than a node of {soc.node_devices} {soc.name}, which has no network_gb_s; "
            f"give at most {soc.node_devices}, or add it to a specification"
        )
    return max(soc.link_bandwidth, 1e-300) * efficiency, max(soc.network_bandwidth, 1e-300) * efficiency
