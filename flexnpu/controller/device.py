# SPDX-License-Identifier: Apache-2.0
"""One device's part of the loop: its time, what it has to give, a decision per turn, and what came of the last one.

Every time is the device's: wall time divided by its scale. Whatever is missing leads to safe cores, never to a guess,
and the decision says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flexnpu.controller.deal import Deal, deal
from flexnpu.controller.decision import Applied, Decision, Grant, Mode, Outcome, ServicePlan, together
from flexnpu.controller.learning import Episode
from flexnpu.controller.seam import DeviceView
from flexnpu.controller.services import ServiceError, Settings
from flexnpu.controller.units import Phase, Unit
from flexnpu.errors import FlexNpuError
from flexnpu.planner import Rules, SnapshotError


@dataclass(slots=True)
class Clock:
    """Device time, integrated over changes of the scale."""

    wall: Callable[[], float]
    scale: float = 1.0
    _seen: float = field(init=False)
    _device: float = 0.0

    def __post_init__(self) -> None:
        self._seen = self.wall()

    def now(self) -> float:
        wall = self.wall()
        self._device += max(0.0, wall - self._seen) / self.scale
        self._seen = wall
        return self._device

    def rescale(self, scale: float) -> None:
        self.now()
        self.scale = scale


class Device:
    """A device (or those that each vNPU here spans) and the services' units on it.

    wall: the clock. number: gives each decision its own.
    """

    def __init__(
        self,
        view: DeviceView,
        units: Sequence[Unit],
        settings: Settings,
        wall: Callable[[], float],
        number: Callable[[], int],
    ) -> None:
        self.view, self.units, self.settings = view, tuple(units), settings
        self.clock = Clock(wall, view.scale)
        self.phase: Phase | None = None  # the one that it is for, where devices are
        self._wall, self._number = wall, number
        self._would = dict(view.grants)  # where a controller that moves nothing would be by now
        self._pending: dict[str, tuple[int, float]] = {}  # by vNPU, the revision that is not in force, and since when
        self._episodes: list[Episode] = []
        self._decision: Decision | None = None
        self._turn_at = self.clock.now()
        self._tell()
        for unit in self.units:
            unit.settle(view.cores, view.cores // len(self.units))
        self._must_fit()
        if settings.mode == "co-located" and len(self.units) > 1:
            names = ", ".join(unit.service.name for unit in self.units)
            raise ServiceError(
                f"mode co-located takes one service per device, and device {self.index} has {names}; use mode split"
            )

    @property
    def index(self) -> int:
        return self.view.devices[0]

    @property
    def before(self) -> Mapping[str, Grant]:
        return self.view.grants if self.settings.moves else self._would

    def adopt(self, old: Device) -> None:
        """Go on where another one of the same engines was."""
        self.clock, self._pending, self._turn_at, self.phase = old.clock, old._pending, old._turn_at, old.phase
        self._would = dict(old.before)
        before = {unit.vnpus: unit for unit in old.units}
        for unit in self.units:
            if unit.vnpus in before:
                unit.forecaster.decode = before[unit.vnpus].forecaster.decode
        known = {engine.endpoint.vnpu: engine for unit in old.units for engine in unit.engines}
        for unit in self.units:
            for engine in unit.engines:
                engine.adopt(known[engine.endpoint.vnpu])

    def look(self, view: DeviceView) -> None:
        """What the daemon tells now; another hand may have changed it."""
        self.view = view
        self.clock.rescale(view.scale)
        self._tell()
        at = self.clock.now()
        before = self._pending
        self._pending = {
            name: before[name] if name in before and before[name][0] == revision else (revision, at)
            for name, revision in view.pending.items()
        }

    def lose_sight(self) -> None:
        """The daemon cannot be asked: who has acknowledged what is not known meanwhile."""
        self._pending = {}

    def learn(self, at: float) -> None:
        """What the turn since the last one brought, beside what was forecast for it."""
        turn, self._turn_at = at - self._turn_at, at
        progress = [unit.progress(self.view.scale) for unit in self.units]
        if self._decision is None:
            return
        for unit, episode, (prefill, decode) in zip(self.units, self._episodes, progress, strict=True):
            forecast = episode.plan.forecast
            expected = forecast.decode_seconds if forecast and unit.learns_from(episode.plan) else 0.0
            observed = episode.observe(prefill, decode, turn=turn, expected=expected)
            # Tokens of the first two iterations after a move may have been made on the cores before it.
            if observed is not None and at - self._decision.at > 2 * expected:
                unit.forecaster.learn(observed, expected)

    def missing(self, at: float) -> dict[str, str]:
        """Why services cannot be planned for, by name."""
        pending = self._ages(at)
        return {unit.service.name: why for unit in self.units if (why := unit.missing(at, pending))}

    def decide(self, at: float, seen_after: float | None = None, because: str = "") -> Decision:
        """seen_after: wall seconds from the beginning of the newest step until now; because: of its phase."""
        began = self._wall()
        try:
            plans, why = self._plans(at)
            self._must_sum_up(plans)
        except Exception as error:  # whatever it is: nothing is moved, and the other devices are planned for
            said = str(error) if isinstance(error, FlexNpuError) else f"{type(error).__name__}: {error}"
            plans, why = [unit.stay("no plan can be made") for unit in self.units], said
        why = "; ".join(each for each in (because, why) if each)
        return self._as_decision(at, plans, why, self._wall() - began, seen_after)

    def _plans(self, at: float) -> tuple[list[ServicePlan], str]:
        missing = self.missing(at)
        seen = [unit for unit in self.units if unit.service.name not in missing]
        unseen = [unit for unit in self.units if unit.service.name in missing]
        blind = {unit.service.name: self._blind(unit, missing[unit.service.name], at) for unit in unseen}
        if self._left(seen, blind) < sum(unit.least for unit in seen):  # others have their cores by now
            blind = {unit.service.name: unit.stay(missing[unit.service.name]) for unit in unseen}
        dealt = self._deal(at, seen, self._left(seen, blind))
        plans = []
        for unit in self.units:
            name = unit.service.name
            if name in blind:
                plans.append(blind[name])
            elif self.settings.mode == "pinned":
                plans.append(self._pinned(unit, at, dealt.cores[name]))
            else:
                plans.append(unit.plan(at, dealt.cores[name], self.before, self.phase))
        return plans, dealt.reason

    def end(self, at: float, why: str) -> Decision:
        """The safe cores of all services."""
        plans = [unit.hold("safe", why) for unit in self.units]
        try:
            self._must_sum_up(plans)
        except SnapshotError as error:
            plans = [unit.stay(f"{why}, and {error}") for unit in self.units]
        return self._as_decision(at, plans, "", 0.0, None)

    def took(self, decision: Decision) -> None:
        """It is in force, or would be."""
        if self.settings.moves:
            self.view = replace(self.view, grants={**self.view.grants, **decision.after})
            self._tell()
        else:
            self._would = dict(decision.after)

    def keep(self, decision: Decision) -> list[Decision | Outcome]:
        """What is to be recorded: nothing where the last decision said the same; the turns are counted."""
        last = self._decision
        done = decision.moved and (decision.applied is None or decision.applied.error is None)
        if last is not None and not done and _looks(last) == _looks(decision):
            for episode, plan in zip(self._episodes, decision.services, strict=True):
                episode.goes_on(plan)
            return []
        outcomes = self.finish(decision.at)
        self._decision = decision
        self._episodes = [Episode(decision.number, decision.at, plan) for plan in decision.services]
        return [*outcomes, decision]

    def finish(self, at: float) -> list[Decision | Outcome]:
        """What came of the last decision, which is over."""
        told = [
            episode.outcome(at, unit.forecaster.decode)
            for unit, episode in zip(self.units, self._episodes, strict=bool(self._episodes))
        ]
        self._decision, self._episodes = None, []
        return list(told)

    def changes_at(self, at: float) -> float | None:
        """When an engine is to be taken for idle; None: not before there is news."""
        engines = (engine for unit in self.units for engine in unit.engines)
        return min((change for engine in engines if (change := engine.changes_at(at)) is not None), default=None)

    def _ages(self, at: float) -> dict[str, float]:
        """For how long a quota is not in force, by vNPU."""
        return {name: at - since for name, (_, since) in self._pending.items()}

    def _tell(self) -> None:
        for unit in self.units:
            unit.present, unit.elsewhere = self.view.grants, self.view.elsewhere

    def _left(self, seen: Sequence[Unit], blind: Mapping[str, ServicePlan]) -> int:
        """Cores for those who can be planned for: without what the others hold, and without what those who are gone
        will want when they are back, as far as nobody has that by now."""
        left = self.view.cores - sum(together(plan.grants.values()) for plan in blind.values())
        reserve = sum(unit.absent() for unit in self.units if unit.service.name in blind)
        return max(left - reserve, min(left, sum(unit.least for unit in seen)))

    def _deal(self, at: float, units: Sequence[Unit], cores: int) -> Deal:
        if cores < (least := sum(unit.least for unit in units)):
            names = ", ".join(unit.service.name for unit in units)
            raise SnapshotError(f"{cores} cores of device {self.index} are left for {names}, whose minima are {least}")
        if len(units) < 2:
            return Deal({unit.service.name: cores for unit in units}, "")
        now = {unit.service.name: held for unit in units if (held := self._held(unit)) is not None}
        rules = Rules(band=self.settings.band / 2, switch_seconds=self.settings.switch_seconds)
        return deal(cores, [unit.tenant(at) for unit in units], now, rules)

    def _held(self, unit: Unit) -> int | None:
        grants = {name: self.before[name] for name in unit.vnpus if name in self.before}
        return together(grants.values()) if len(grants) == len(unit.vnpus) else None

    def _blind(self, unit: Unit, why: str, at: float) -> ServicePlan:
        """Where one does not acknowledge what it has been asked for already, nothing more is asked of its service."""
        ages = self._ages(at)
        if any(ages.get(name, 0.0) > self.settings.stale_after for name in unit.vnpus):
            return unit.stay(why)
        return unit.hold("safe", why)

    def _must_sum_up(self, plans: Sequence[ServicePlan]) -> None:
        wanted = sum(together(plan.grants.values()) for plan in plans)
        if wanted > self.view.cores:
            raise SnapshotError(
                f"services would have {wanted} cores of device {self.index}, which has {self.view.cores} for them"
            )

    def _pinned(self, unit: Unit, at: float, cores: int) -> ServicePlan:
        plan = unit.plan(at, cores, self.before)
        would = ", ".join(f"{name} {grant}" for name, grant in plan.grants.items())
        held = unit.hold("pinned", f"a plan would be {would}: {plan.reason}")
        return replace(plan, mode="pinned", grants=held.grants, reason=held.reason, forecast=None)

    def _as_decision(
        self, at: float, plans: Sequence[ServicePlan], why: str, wall_seconds: float, seen_after: float | None
    ) -> Decision:
        mode: Mode = "planned" if self.settings.moves else "observed"
        if any(plan.mode == "safe" for plan in plans):
            mode = "safe"
        elif self.settings.mode == "pinned" and self.settings.moves:
            mode = "pinned"
        reasons = [plan.reason for plan in plans]
        return Decision(
            number=self._number(),
            at=at,
            device=self.index,
            mode=mode,
            before=dict(self.before),
            after={**self.before, **{name: grant for plan in plans for name, grant in plan.grants.items()}},
            reason="; ".join([why, *reasons] if why else reasons),
            services=tuple(plans),
            scale=self.view.scale,
            cores=self.view.cores,
            planned_in_wall_seconds=wall_seconds,
            seen_after_wall_seconds=seen_after,
        )

    def _must_fit(self) -> None:
        for what in ("minima", "safe"):
            wanted = sum(sum(getattr(unit, what)) for unit in self.units)
            if wanted > self.view.cores:
                names = ", ".join(unit.service.name for unit in self.units)
                raise SnapshotError(
                    f"the {what} cores of {names} are {wanted} together; device {self.index} has {self.view.cores} "
                    "for them, lower one"
                )


def refused(decision: Decision, error: str) -> Decision:
    """The decision with the reason why it was not carried out."""
    return replace(decision, applied=Applied(done=False, wall_seconds=0.0, error=error))


def _looks(decision: Decision) -> tuple[object, ...]:
    error = decision.applied.error if decision.applied else None
    services = tuple(
        (plan.mode, tuple(plan.phases.items()), plan.meets_itl, _cause(plan)) for plan in decision.services
    )
    return decision.mode, tuple(decision.after.items()), services, error


def _cause(plan: ServicePlan) -> str:
    """Why it was not planned for, without how long that has been so."""
    return re.sub(r"[\d.]+", "", plan.reason) if plan.mode == "safe" else ""
