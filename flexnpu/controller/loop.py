# SPDX-License-Identifier: Apache-2.0
"""observe -> forecast -> plan -> apply -> record: at once when there is news, else once per period of device time.

The loop asks and tells; what is to become of each device's cores is decided in device.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from flexnpu.controller.decision import Decision, Grant
from flexnpu.controller.device import Device, refused
from flexnpu.controller.engines import ScrapedEngine
from flexnpu.controller.feasible import out_of_reach
from flexnpu.controller.followed import FollowedEngine
from flexnpu.controller.making import make_units
from flexnpu.controller.roles import Roles
from flexnpu.controller.seam import DeviceView, Seams
from flexnpu.controller.services import Service, ServiceError, Settings, check, endpoints
from flexnpu.errors import FlexNpuError

LOOK_EVERY = 0.5  # wall seconds between two questions to the daemon
_BEYOND = 1e-4  # device seconds: a look at the very moment of a change may be a rounding too early


class Loop:
    """One controller. Construction asks the daemon; a FlexNpuError if that fails or what it tells does not fit."""

    def __init__(self, services: Sequence[Service], settings: Settings, seams: Seams) -> None:
        check(tuple(services), settings)
        self._seams, self._services, self._settings = seams, tuple(services), settings
        self._numbers = itertools.count(1)
        views = tuple(seams.cores.look())
        self._looked_at = seams.clock()
        self._daemon_trouble: str | None = None
        self._places = {name: view.devices for view in views for name in view.grants}
        self.devices = self._make(services, settings, views)
        self._roles = _roles(self.devices, settings)

    @property
    def scale(self) -> float:
        """Wall seconds per device second, of the quickest device."""
        return min(device.view.scale for device in self.devices)

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
            due = self._due(self.step())
            self._seams.sleep(max(0.0, due - self._seams.clock()))

    def change(self, services: Sequence[Service], settings: Settings) -> None:
        """Other targets, weights, cores or another mode for the same engines, from the next turn on. They keep what
        they have, and what was seen of them is not forgotten. A FlexNpuError, and no change, where it cannot be."""
        check(tuple(services), settings)
        before, after = set(endpoints(self._services)), set(endpoints(tuple(services)))
        if before != after:
            names = ", ".join(sorted({each.vnpu for each in before ^ after}))
            raise ServiceError(f"engines are others, or are observed otherwise: {names}; start the controller anew")
        made = self._make(services, settings, [device.view for device in self.devices])
        for old, new in zip(self.devices, made, strict=True):
            new.adopt(old)
        roles = _roles(made, settings)
        if roles is not None and self._roles is not None:
            roles.adopt(self._roles)
        for old in self.devices:
            for record in old.finish(old.clock.now()):
                self._seams.record(record)
        if roles is None or not settings.moves:
            self._admit_all()
        self._services, self._settings, self.devices, self._roles = tuple(services), settings, made, roles

    def _make(self, services: Sequence[Service], settings: Settings, views: Sequence[DeviceView]) -> tuple[Device, ...]:
        return tuple(
            Device(
                view,
                make_units(services, settings, view, self._places),
                settings,
                wall=self._seams.clock,
                number=self._numbers.__next__,
            )
            for view in views
        )

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
        self._look(at_once=True)
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
            engine.endpoint.url: device.phase is None or engine.role == device.phase
            for device in self.devices
            for unit in device.units
            for engine in unit.engines
            if engine.endpoint.url is not None
        }

    def _due(self, decisions: Sequence[Decision]) -> float:
        """Wall seconds at which the next turn is, if there is no news before."""
        wall, found = self._seams.clock(), []
        for device, decision in zip(self.devices, decisions, strict=True):
            change = device.changes_at(decision.at)
            at = decision.at + self._settings.period
            at = at if change is None else min(at, change + _BEYOND)
            found.append(wall + (at - device.clock.now()) * device.view.scale)
        return min(found)

    def _look(self, *, at_once: bool = False) -> None:
        """Scales, quotas and what the devices have left; another hand may have changed them."""
        wall = self._seams.clock()
        if wall - self._looked_at < LOOK_EVERY and not at_once:
            return
        self._looked_at = wall
        try:
            views = self._seams.cores.look()
        except FlexNpuError as error:
            self._daemon_trouble = str(error)
            for device in self.devices:
                device.lose_sight()
            return
        self._daemon_trouble = None
        told = {view.devices: view for view in views}
        for device in self.devices:
            device.look(told.get(device.view.devices, replace(device.view, grants={}, pending={})))

    def _observe(self) -> float | None:
        """Pages and steps; wall seconds since the newest step began."""
        pages = self._seams.scraper.fresh() if self._seams.scraper is not None else {}
        steps, troubles = self._seams.follower.fresh() if self._seams.follower is not None else ([], {})
        wall = self._seams.clock()
        for device in self.devices:
            at, scale = device.clock.now(), device.view.scale
            for engine in (engine for unit in device.units for engine in unit.engines):
                if isinstance(engine, ScrapedEngine):
                    if (page := pages.get(engine.endpoint.url or "")) is not None:
                        engine.take(page.text, at - (wall - page.at) / scale)
                elif isinstance(engine, FollowedEngine):
                    engine.fail(troubles.get(engine.endpoint.vnpu), at)
                    for step in steps:
                        if step.vnpu == engine.endpoint.vnpu:
                            engine.take(step, at - (wall - step.at_s) / scale)
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
        try:
            applied = self._seams.cores.move(moves)
        except FlexNpuError as error:
            if sum(decision.moved for decision in decisions) == 1:
                return self._trouble(decisions, str(error))
            # One of them cannot be; the others shall.
            return [
                self._apply_alone(device, decision) for device, decision in zip(self.devices, decisions, strict=True)
            ]
        done = [replace(decision, applied=applied) if decision.moved else decision for decision in decisions]
        return [self._took(device, decision) for device, decision in zip(self.devices, done, strict=True)]

    def _apply_alone(self, device: Device, decision: Decision) -> Decision:
        if not decision.moved:
            return self._took(device, decision)
        try:
            applied = self._seams.cores.move(decision.moves)
        except FlexNpuError as error:
            return self._trouble([decision], str(error))[0]
        return self._took(device, replace(decision, applied=applied))

    def _trouble(self, decisions: Sequence[Decision], error: str) -> list[Decision]:
        """Nothing is moved until the daemon has been asked how things are."""
        self._daemon_trouble = error
        return _refused(decisions, error)

    def _took(self, device: Device, decision: Decision) -> Decision:
        device.took(decision)
        return decision


def _refused(decisions: Sequence[Decision], error: str) -> list[Decision]:
    return [refused(decision, error) if decision.moved else decision for decision in decisions]


def _roles(devices: Sequence[Device], settings: Settings) -> Roles | None:
    return Roles(devices, settings.dwell) if settings.mode == "disaggregated" else None
