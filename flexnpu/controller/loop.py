# SPDX-License-Identifier: Apache-2.0
"""observe -> forecast -> plan -> apply -> record: at once when there is news, else once per period of device time.

The loop asks and tells; what is to become of each device's cores is decided in device.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from flexnpu.controller.decision import Decision, Grant
from flexnpu.controller.device import Device, refused
from flexnpu.controller.engines import ScrapedEngine
from flexnpu.controller.feasible import out_of_reach
from flexnpu.controller.followed import FollowedEngine
from flexnpu.controller.making import make_devices
from flexnpu.controller.roles import Roles
from flexnpu.controller.seam import Seams
from flexnpu.controller.services import Service, ServiceError, Settings, check, endpoints
from flexnpu.errors import FlexNpuError

LOOK_EVERY = 0.5  # wall seconds between two questions to the daemon
_BEYOND = 1e-4  # device seconds: a look at the very moment of a change may be a rounding too early


class Loop:
    """One controller. Construction asks the daemon; a FlexNpuError if that fails or what it tells does not fit."""

    def __init__(self, services: Sequence[Service], settings: Settings, seams: Seams) -> None:
        check(tuple(services), settings)
        self._seams = seams
        self._numbers = itertools.count(1)
        views = tuple(seams.cores.look())
        self._looked_at = seams.clock()
        self._daemon_trouble: str | None = None
        self._take(services, settings, make_devices(services, settings, views, seams.clock, self._numbers.__next__))

    def out_of_reach(self) -> list[str]:
        """A line for each target that no cores can keep."""
        found = []
        for device in self.devices:
            for unit in device.units:
                said = out_of_reach(unit.service.targets, unit.forecaster.forecaster, device.view.cores)
                found += [f"service {unit.service.name}: {line}" for line in said]
        return list(dict.fromkeys(found))

    def run(self, stopped: Callable[[], bool]) -> None:
        """Turns until stopped. close() afterwards."""
        while not stopped():
            began = self._seams.clock()
            self.step()
            self._seams.sleep(max(0.0, self._due() - (self._seams.clock() - began)))

    def change(self, services: Sequence[Service], settings: Settings) -> None:
        """Other targets, weights, cores or another mode for the same engines, from the next turn on. They keep what
        they have, and what was seen of them is not forgotten. A FlexNpuError, and no change, where it cannot be."""
        check(tuple(services), settings)
        before, after = ({each.vnpu for each in endpoints(known)} for known in (self._services, tuple(services)))
        if before != after:
            raise ServiceError(
                f"engines on {', '.join(sorted(before))} became engines on {', '.join(sorted(after))}; start the "
                "controller anew for others"
            )
        views = tuple(device.view for device in self.devices)
        made = make_devices(services, settings, views, self._seams.clock, self._numbers.__next__)
        for old, new in zip(self.devices, made, strict=True):
            new.adopt(old)
            for record in old.finish(old.clock.now()):
                self._seams.record(record)
        if self._roles is not None and settings.mode != "disaggregated":
            self._admit_all()
        self._take(services, settings, made)

    def _take(self, services: Sequence[Service], settings: Settings, devices: tuple[Device, ...]) -> None:
        self._services, self._settings, self.devices = tuple(services), settings, devices
        self._roles = Roles(devices, settings.dwell) if settings.mode == "disaggregated" else None

    def step(self) -> list[Decision]:
        """One turn. Returns its decisions, one per device, whether or not they were worth recording."""
        self._look()
        seen_after = self._observe()
        because = self._assign()
        decisions = []
        for device in self.devices:
            at = device.clock.now()
            device.learn(at)
            decisions.append(device.decide(at, seen_after, because))
        decisions = self._apply(decisions)
        for device, decision in zip(self.devices, decisions, strict=True):
            for record in device.keep(decision):
                self._seams.record(record)
        return decisions

    def close(self) -> None:
        """Write the last outcomes and leave the safe cores behind."""
        for device in self.devices:
            for record in device.finish(device.clock.now()):
                self._seams.record(record)
        self._admit_all()
        self._daemon_trouble = "not asked"  # anew, whenever it was asked last
        self._look()
        if self._daemon_trouble is not None or not self._settings.moves:
            return  # the daemon is gone, and with it what would have to be put back
        for decision in self._apply([device.end(device.clock.now(), "the controller ends") for device in self.devices]):
            if decision.moved:
                self._seams.record(decision)

    def _assign(self) -> str:
        """Which device runs which phase, where each runs one; and why."""
        if self._roles is None:
            return ""
        seen = [device for device in self.devices if not device.missing(device.clock.now())]
        reason = self._roles.turn(self.devices[0].clock.now(), seen)
        if self._seams.admission is not None and self._settings.moves:
            self._seams.admission.want(self._admitted())
        return reason

    def _admit_all(self) -> None:
        """Every engine takes new work again."""
        if self._seams.admission is not None and self._roles is not None and self._settings.moves:
            self._seams.admission.want(dict.fromkeys(self._admitted(), True))

    def _admitted(self) -> dict[str, bool]:
        """By URL, whether an engine is to take new work."""
        return {
            engine.endpoint.url: engine.role == device.phase
            for device in self.devices
            for unit in device.units
            for engine in unit.engines
            if engine.endpoint.url is not None
        }

    def _due(self) -> float:
        """Wall seconds until the next turn, if there is no news before."""
        found = []
        for device in self.devices:
            at = device.clock.now()
            change = device.changes_at(at)
            until = math.inf if change is None else max(0.0, change - at) + _BEYOND
            found.append(min(self._settings.period, until) * device.view.scale)
        return min(found)

    def _look(self) -> None:
        """Scales, quotas and what the devices have left; another hand may have changed them."""
        wall = self._seams.clock()
        if wall - self._looked_at < LOOK_EVERY and self._daemon_trouble is None:
            return
        self._looked_at = wall
        try:
            views = self._seams.cores.look()
        except FlexNpuError as error:
            self._daemon_trouble = str(error)
            return
        self._daemon_trouble = None
        told = {view.devices: view for view in views}
        for device in self.devices:
            nothing_left = replace(device.view, grants={}, pending=frozenset())
            device.look(told.get(device.view.devices, nothing_left))

    def _observe(self) -> float | None:
        """Pages and steps; wall seconds since the newest step began."""
        engines = [engine for device in self.devices for unit in device.units for engine in unit.engines]
        scraped = [(engine, engine.endpoint.url) for engine in engines if isinstance(engine, ScrapedEngine)]
        urls = [url for _, url in scraped if url is not None]
        pages = self._seams.scraper.read(urls) if urls else []
        steps, troubles = self._seams.follower.fresh() if self._seams.follower is not None else ([], {})
        wall = self._seams.clock()
        read = {id(engine): page for (engine, _), page in zip(scraped, pages, strict=True)}
        for device in self.devices:
            at = device.clock.now()
            for engine in (engine for unit in device.units for engine in unit.engines):
                if isinstance(engine, ScrapedEngine):
                    engine.take(read[id(engine)], at)
                elif isinstance(engine, FollowedEngine):
                    engine.fail(troubles.get(engine.endpoint.vnpu), at)
                    for step in steps:
                        if step.vnpu == engine.endpoint.vnpu:
                            engine.take(step, at - (wall - step.at_s) / device.view.scale)
        return wall - steps[-1].at_s if steps else None

    def _apply(self, decisions: Sequence[Decision]) -> list[Decision]:
        """All of a turn's moves are one transaction."""
        moves: dict[str, Grant] = {}
        for decision in decisions:
            moves.update(decision.moves)
        if not self._settings.moves or not moves:
            return [self._took(device, decision) for device, decision in zip(self.devices, decisions, strict=True)]
        if self._daemon_trouble is not None:
            return _refused(decisions, self._daemon_trouble)
        began = self._seams.clock()
        try:
            applied = self._seams.cores.move(moves)
        except FlexNpuError as error:
            self._daemon_trouble = str(error)  # asks the daemon anew before the next move
            return _refused(decisions, str(error), self._seams.clock() - began)
        done = [replace(decision, applied=applied) if decision.moved else decision for decision in decisions]
        return [self._took(device, decision) for device, decision in zip(self.devices, done, strict=True)]

    def _took(self, device: Device, decision: Decision) -> Decision:
        device.took(decision)
        return decision


def _refused(decisions: Sequence[Decision], error: str, wall_seconds: float = 0.0) -> list[Decision]:
    return [refused(decision, error, wall_seconds) if decision.moved else decision for decision in decisions]
