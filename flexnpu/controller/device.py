# SPDX-License-Identifier: Apache-2.0
"""One device's part of the loop: its time, what it has to give, a decision per turn, and what came of the last one.

Every time is the device's: wall time divided by its scale. Whatever is missing leads to safe cores, never to a guess,
and the decision says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flexnpu.controller.deal import Deal, deal
from flexnpu.controller.decision import Applied, Decision, Grant, Mode, Outcome, ServicePlan
from flexnpu.controller.learning import Episode
from flexnpu.controller.seam import DeviceView
from flexnpu.controller.services import Settings
from flexnpu.controller.units import Phase, Unit
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
        self._pending_since: dict[str, float] = {}
        self._episodes: list[Episode] = []
        self._decision: Decision | None = None
        self._turn_at = self.clock.now()
        self._tell()
        for unit in self.units:
            unit.settle(view.cores, view.cores // len(self.units))
        self._must_fit()

    @property
    def index(self) -> int:
        return self.view.devices[0]

    @property
    def before(self) -> Mapping[str, Grant]:
        return self.view.grants if self.settings.moves else self._would

    def adopt(self, old: Device) -> None:
        """Go on where another one of the same engines was."""
        self.clock, self._pending_since, self._turn_at = old.clock, old._pending_since, old._turn_at
        self._would = old._would
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
        self._pending_since = {name: self._pending_since.get(name, at) for name in view.pending}

    def learn(self, at: float) -> None:
        """What the turn since the last one brought, beside what was forecast for it."""
        turn, self._turn_at = at - self._turn_at, at
        progress = [unit.progress(self.view.scale) for unit in self.units]
        if self._decision is None:
            return
        for unit, episode, (prefill, decode) in zip(self.units, self._episodes, progress, strict=True):
            observed, expected = episode.observe(prefill, decode, turn=turn), episode.expected
            # Tokens of the first two iterations after a move may have been made on the cores before it.
            if observed is not None and at - self._decision.at > 2 * expected:
                unit.forecaster.learn(observed, expected)

    def missing(self, at: float) -> dict[str, str]:
        """Why services cannot be planned for, by name."""
        pending = self._pending(at)
        return {unit.service.name: why for unit in self.units if (why := unit.missing(at, pending))}

    def decide(self, at: float, seen_after: float | None = None, because: str = "") -> Decision:
        """seen_after: wall seconds from the beginning of the newest step until now; because: of its phase."""
        began = self._wall()
        pending, missing = self._pending(at), self.missing(at)
        seen = [unit for unit in self.units if unit.service.name not in missing]
        left = self.view.cores - sum(sum(unit.safe) for unit in self.units if unit not in seen)
        dealt = self._deal(at, seen, left)
        plans = []
        for unit in self.units:
            name = unit.service.name
            if name in missing:
                plans.append(self._safe(unit, missing[name], pending))
            elif self.settings.mode == "pinned":
                plans.append(self._pinned(unit, at, dealt.cores[name]))
            else:
                plans.append(unit.plan(at, dealt.cores[name], self.before, self.phase))
        why = "; ".join(each for each in (because, dealt.reason) if each)
        return self._as_decision(at, plans, why, self._wall() - began, seen_after)

    def end(self, at: float, why: str) -> Decision:
        """The safe cores of all services."""
        plans = [unit.hold("safe", why) for unit in self.units]
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

    def _pending(self, at: float) -> dict[str, float]:
        """For how long a quota is not in force, by vNPU."""
        return {name: at - since for name, since in self._pending_since.items()}

    def _tell(self) -> None:
        for unit in self.units:
            unit.present = self.view.grants

    def _deal(self, at: float, units: Sequence[Unit], cores: int) -> Deal:
        if not units:
            return Deal({})
        now = {unit.service.name: held for unit in units if (held := self._held(unit)) is not None}
        rules = Rules(band=self.settings.band / 2, switch_seconds=self.settings.switch_seconds)
        return deal(cores, [unit.tenant(at) for unit in units], now, rules)

    def _held(self, unit: Unit) -> int | None:
        grants = [self.before[name] for name in unit.vnpus if name in self.before]
        if len(grants) < len(unit.vnpus):
            return None
        together = max if any(grant.share is not None for grant in grants) else sum
        return together(grant.cores for grant in grants)

    def _safe(self, unit: Unit, why: str, pending: Mapping[str, float]) -> ServicePlan:
        """Where one does not acknowledge what it has been asked for already, nothing more is asked of its service."""
        plan = unit.hold("safe", why)
        if any(pending.get(name, 0.0) > self.settings.stale_after for name in unit.vnpus):
            return replace(plan, grants={name: self.view.grants[name] for name in plan.grants})
        return plan

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


def refused(decision: Decision, error: str, wall_seconds: float = 0.0) -> Decision:
    """The decision with the reason why it was not carried out."""
    return replace(decision, applied=Applied(done=False, wall_seconds=wall_seconds, error=error))


def _looks(decision: Decision) -> tuple[object, ...]:
    error = decision.applied.error if decision.applied else None
    services = tuple((plan.mode, tuple(plan.phases.items()), plan.meets_itl) for plan in decision.services)
    return decision.mode, tuple(decision.after.items()), services, error
