# SPDX-License-Identifier: Apache-2.0
"""The devices of a simulation, who goes to which, and the caches that travel between them.

A policy of one device runs alike devices behind a router. One with a layout N:M has devices for prompts and devices for
decode: a prompt goes to the shortest queue; when it is complete, its first token is there, and its keys and values go
to the decode device with the fewest requests that has room for them. Until they have arrived they keep their blocks on
both. A transfer has its two links to itself, is overlapped with whatever the devices compute, and those who find no
room wait in order.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import NamedTuple

from flexnpu import _native
from flexnpu._native import Device, SimulatedRequest
from flexnpu.planner import Looks, Policy
from flexnpu.planner.disaggregated import DeviceLoad, decode_goes_to, prompt_goes_to
from flexnpu.simulator.asking import Asking
from flexnpu.simulator.config import EngineConfig, SimulationError, machine
from flexnpu.simulator.forecast import EngineForecaster

INFINITE = float("inf")


class Transfer(NamedTuple):
    """A cache on its way; ordered by when it arrives."""

    end: float
    number: int
    request: SimulatedRequest
    source: Device
    target: Device
    blocks: int


class Pool:
    """All devices. `fronts` take arrivals; `backs` decode what others have run, and are empty where nobody does."""

    def __init__(self, forecaster: EngineForecaster, policy: Policy, config: EngineConfig) -> None:
        self._most = config.max_running
        self.blocks = config.blocks(*machine(forecaster))
        fronts, backs = _counts(policy, config)
        self.asking = Asking(policy, forecaster, config)
        looks = _looks(policy) if config.reuse_plans else None
        answers = _native.Answers()
        self.devices = [
            Device(forecaster, self.asking, config, self.blocks, looks, answers) for _ in range(fronts + backs)
        ]
        self.fronts, self.backs = self.devices[:fronts], self.devices[fronts:]
        for device in self.fronts:
            device.decodes = not self.backs
        self.transfers = 0
        self._token_seconds = config.transfer_seconds(*machine(forecaster)) if self.backs else 0.0
        self._waiting: deque[tuple[SimulatedRequest, Device]] = deque()
        self._moving: list[Transfer] = []
        self._links = dict.fromkeys(map(id, self.devices), 0.0)  # until when each device's link is taken

    @property
    def next_transfer(self) -> float:
        return self._moving[0].end if self._moving else INFINITE

    def next_device(self) -> Device:
        """Whose turn is next; of equals the first."""
        return min(self.devices, key=_next_turn) if len(self.devices) > 1 else self.devices[0]

    def put(self, request: SimulatedRequest, now: float) -> None:
        """A request that has arrived."""
        fronts = self.fronts
        place = prompt_goes_to([_queue(device) for device in fronts]) if len(fronts) > 1 else 0
        fronts[place].put(request, now)

    def after_turn(self, device: Device, now: float) -> None:
        """Caches that are complete since the device's turn start to travel, and those for which it has room by now."""
        self._waiting.extend((request, device) for request in device.take_handed())
        while self._waiting and self._send(*self._waiting[0], now):
            self._waiting.popleft()

    def _send(self, request: SimulatedRequest, source: Device, now: float) -> bool:
        block = source.kv.block_tokens
        place = decode_goes_to([self._room(device, now) for device in self.backs], request.computed + 1)
        if place is None:
            return False
        target = self.backs[place]
        blocks = -(-request.computed // block)
        target.take(blocks, now)
        begin = max(now, self._links[id(source)], self._links[id(target)])
        end = begin + self._token_seconds * request.computed
        self._links[id(source)] = self._links[id(target)] = end
        heapq.heappush(self._moving, Transfer(end, self.transfers, request, source, target, blocks))
        self.transfers += 1
        return True

    def arrive(self) -> None:
        """The next transfer is over."""
        now, _, request, source, target, blocks = heapq.heappop(self._moving)
        source.leave(request)
        source.wake(now)
        target.put_decoding(request, blocks, now)

    def _room(self, device: Device, now: float) -> DeviceLoad:
        """A device that has as many requests as it may run has no room, whatever its cache."""
        full = device.running >= self._most
        return DeviceLoad(0.0, device.running, 0 if full else device.free_blocks(now) * device.kv.block_tokens)

    def kv_fraction(self) -> float:
        """Of all blocks, those that requests hold."""
        return sum(device.kv.used for device in self.devices) / (self.blocks * len(self.devices))


def _counts(policy: Policy, config: EngineConfig) -> tuple[int, int]:
    """Devices that take arrivals, and devices that decode what those have run."""
    first, second = config.devices
    if ":" not in policy.layout:
        return first + second, 0
    if not first or not second:
        raise SimulationError(
            f"policy {policy.name} has devices for each phase and devices is {config.devices}; it must be (n, m) with "
            "one or more of each, such as (1, 1)"
        )
    return first, second


def _next_turn(device: Device) -> float:
    return device.next_seconds


def _queue(device: Device) -> DeviceLoad:
    return DeviceLoad(device.prompts.tokens, device.decoding.sequences)


def _looks(policy: Policy) -> _native.Looks:
    looks: _native.Looks = getattr(_native.Looks, getattr(policy, "looks", Looks.ALL).name)
    return looks
