# SPDX-License-Identifier: Apache-2.0
"""observe -> forecast -> plan -> apply -> record: at once when there is news, else once per period of device time.

Every interval is device time: wall time divided by the device's scale, which is read anew each second. Whatever is
missing leads to the safe split, never to a guess, and the decision says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from flexnpu.controller.decision import Applied, Decision
from flexnpu.controller.engines import Engine, Role, ScrapedEngine
from flexnpu.controller.feasible import LONE_REQUEST
from flexnpu.controller.followed import FollowedEngine
from flexnpu.controller.learning import Corrected, Episode
from flexnpu.controller.seam import DeviceView, Endpoint, Seams
from flexnpu.errors import FlexNpuError
from flexnpu.forecast import Forecaster, Request
from flexnpu.planner import Instances, Plan, Snapshot, SnapshotError, Split, Targets

LOOK_EVERY = 1.0  # wall seconds between two questions to the daemon
_BEYOND = 1e-4  # device seconds: a look at the very moment of a change may be a rounding too early
Mode = Literal["split", "pinned", "observe"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator sets. None: chosen for the device, model and targets when the loop starts.

    mode: split moves cores; pinned holds `safe`; observe decides the same and moves nothing.
    period, stale_after: device seconds. safe: the split without a plan (half and half).
    """

    targets: Targets
    mode: Mode = "split"
    period: float = 0.05
    stale_after: float = 1.0
    safe: Split | None = None
    minima: Split | None = None
    idle_reserve: int | None = None
    margin: float = 0.9
    band: float = 0.1
    switch_seconds: float = 0.005


@dataclass(slots=True)
class _Clock:
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


class Loop:
    """One controller for one pair of engines. Construction asks the daemon, and raises a FlexNpuError if that fails."""

    def __init__(
        self, prefill: Endpoint, decode: Endpoint, forecaster: Forecaster, settings: Settings, seams: Seams
    ) -> None:
        self._seams = seams
        self._view = seams.cores.look()
        self._looked_at = seams.clock()
        self._clock = _Clock(seams.clock, self._view.scale)
        self._forecaster = Corrected(forecaster)
        self._settings = _settled(settings, self._view, forecaster)
        self._prefill = self._engine(prefill, "prefill")
        self._decode = self._engine(decode, "decode")
        self._would = self._view.split  # where `observe` would be by now
        self._seen_after: float | None = None
        self._device_trouble: str | None = None
        self._episode: Episode | None = None
        self._turn_at = self._clock.now()
        self._numbers = 0

    @property
    def settings(self) -> Settings:
        """The settings with every default filled in."""
        return self._settings

    @property
    def correction(self) -> float:
        return self._forecaster.decode

    def _engine(self, endpoint: Endpoint, role: Role) -> Engine:
        if endpoint.url is not None:
            return ScrapedEngine(endpoint, role)

        def took(requests: Sequence[Request]) -> float:
            cores = self._view.split.prefill if role == "prefill" else self._view.split.decode
            return float(self._forecaster.alone(requests)[max(1, cores)])

        return FollowedEngine(endpoint, role, took)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Turns until stopped; then the safe split, because nobody will move cores any more."""
        try:
            while not stopped():
                began = self._seams.clock()
                self.step()
                due = min(self._settings.period, self._next_change()) * self._view.scale
                self._seams.sleep(max(0.0, due - (self._seams.clock() - began)))
        finally:
            self.close()

    def _next_change(self) -> float:
        """Device seconds until an engine is to be taken for idle."""
        at = self._clock.now()
        changes = [change for engine in self._engines if (change := engine.changes_at(at)) is not None]
        return max(0.0, min(changes, default=math.inf) - at) + _BEYOND

    def close(self) -> None:
        """Write the last outcome and leave the safe split behind."""
        at = self._clock.now()
        self._finish_episode(at)
        try:
            self._view = self._seams.cores.look()
        except FlexNpuError:
            return  # the vNPUs or the daemon are gone, and with them what would have to be put back
        if self._settings.mode == "observe":
            return
        decision = self._apply(self._safe(at, "the controller ends"))
        if decision.moved:
            self._seams.record(decision)

    def step(self) -> Decision:
        """One turn. Returns its decision, whether or not it was worth recording."""
        self._look()
        at = self._observe()
        self._learn(at)
        self._turn_at = at
        decision = self._apply(self._decide(at))
        self._keep(decision)
        return decision

    def _observe(self) -> float:
        """Pages and steps; the device time that they are of."""
        scraped = [engine for engine in self._engines if isinstance(engine, ScrapedEngine)]
        urls = [engine.endpoint.url for engine in scraped if engine.endpoint.url is not None]
        pages = self._seams.scraper.read(urls) if urls else []
        steps, trouble = self._seams.follower.fresh() if self._seams.follower is not None else ([], None)
        at, wall = self._clock.now(), self._seams.clock()
        for asked, page in zip(scraped, pages, strict=True):
            asked.take(page, at)
        self._seen_after = wall - steps[-1].at_s if steps else None
        for engine in self._engines:
            if isinstance(engine, FollowedEngine):
                engine.fail(trouble, at)
                for step in steps:
                    if step.vnpu == engine.endpoint.vnpu:
                        engine.take(step, at - (wall - step.at_s) / self._view.scale)
        return at

    @property
    def _engines(self) -> tuple[Engine, ...]:
        return self._prefill, self._decode

    def _look(self) -> None:
        """Scale, quotas and what the device has left; another hand may have changed them."""
        wall = self._seams.clock()
        if wall - self._looked_at < LOOK_EVERY and self._device_trouble is None:
            return
        self._looked_at = wall
        try:
            self._view, self._device_trouble = self._seams.cores.look(), None
            self._clock.rescale(self._view.scale)
        except FlexNpuError as error:
            self._device_trouble = str(error)

    def _learn(self, at: float) -> None:
        if self._episode is None:
            return
        forecast = self._episode.decision.forecast
        expected = forecast.decode_seconds if forecast else 0.0
        prefill, decode = (engine.progress(self._view.scale) for engine in self._engines)
        observed = self._episode.observe(prefill, decode, turn=at - self._turn_at, forecast=expected)
        # Tokens of the first two iterations after a move may have been made on the cores before it.
        if observed is not None and at - self._episode.decision.at > 2 * expected:
            self._forecaster.learn(observed, expected)

    def _decide(self, at: float) -> Decision:
        missing = [why for engine in self._engines if (why := engine.stale(at, self._settings.stale_after))]
        if missing:
            return self._safe(at, "; ".join(missing))
        began = self._seams.clock()
        snapshot = self._snapshot(at)
        plan = Instances().plan(snapshot, self._forecaster)
        planned = self._planned(at, snapshot, plan, self._seams.clock() - began)
        if self._settings.mode != "pinned" or self._settings.safe is None:
            return planned
        safe = self._settings.safe
        why = f"pinned {safe.prefill}/{safe.decode}; a plan would be {plan.split.prefill}/{plan.split.decode}"
        return replace(planned, mode="pinned", after=safe, reason=f"{why}: {plan.reason}", forecast=None)

    def _snapshot(self, at: float) -> Snapshot:
        known = self._settings
        if known.minima is None or known.idle_reserve is None:
            raise AssertionError("_settled has filled the settings")
        return Snapshot(
            device_cores=self._view.cores,
            targets=known.targets,
            prefill=self._prefill.requests(at),
            decode=self._decode.requests(at),
            current=self._before,
            minima=known.minima,
            idle_reserve=known.idle_reserve,
            margin=known.margin,
            band=known.band,
            switch_seconds=known.switch_seconds,
        )

    @property
    def _before(self) -> Split:
        return self._would if self._settings.mode == "observe" else self._view.split

    def _planned(self, at: float, snapshot: Snapshot, plan: Plan, wall_seconds: float) -> Decision:
        return Decision(
            number=self._next_number(),
            at=at,
            mode="observed" if self._settings.mode == "observe" else "planned",
            phases={
                "prefill": "busy" if snapshot.prompts else "idle",
                "decode": "busy" if snapshot.running else "idle",
            },
            inputs=self._inputs() | {"prefill_tokens": snapshot.waiting_tokens},
            before=self._before,
            after=plan.split,
            reason=plan.reason,
            meets_itl=plan.meets_itl,
            forecast=plan.chosen,
            alternatives=plan.alternatives,
            planned_in_wall_seconds=wall_seconds,
            seen_after_wall_seconds=self._seen_after,
        )

    def _safe(self, at: float, why: str) -> Decision:
        safe = self._settings.safe or self._view.split
        return Decision(
            number=self._next_number(),
            at=at,
            mode="safe",
            phases={"prefill": "unknown", "decode": "unknown"},
            inputs=self._inputs(),
            before=self._before,
            after=safe,
            reason=f"safe split {safe.prefill}/{safe.decode}: {why}",
            meets_itl=False,
        )

    def _inputs(self) -> dict[str, object]:
        known = {engine.role: engine.describe() for engine in self._engines}
        told: dict[str, object] = {role: page for role, page in known.items() if page is not None}
        return told | {"scale": self._view.scale, "cores": self._view.cores, "decode_correction": self.correction}

    def _apply(self, decision: Decision) -> Decision:
        if self._settings.mode == "observe":
            self._would = decision.after
            return decision
        if self._device_trouble is not None:
            applied = Applied(done=False, wall_seconds=0.0, error=self._device_trouble) if decision.moved else None
            return replace(decision, applied=applied)
        if not decision.moved:
            return decision
        began = self._seams.clock()
        try:
            applied = self._seams.cores.move(decision.after)
            self._view = replace(self._view, split=decision.after)
        except FlexNpuError as error:
            applied = Applied(done=False, wall_seconds=self._seams.clock() - began, error=str(error))
            self._device_trouble = str(error)  # asks the daemon anew before the next move
        return replace(decision, applied=applied)

    def _keep(self, decision: Decision) -> None:
        """Record what differs from the last record; count the turns that do not."""
        last = self._episode.decision if self._episode else None
        did_move = decision.moved and (decision.applied is None or decision.applied.error is None)
        if self._episode and last and not did_move and _looks(last) == _looks(decision):
            self._episode.turns += 1
            self._episode.decision = replace(last, forecast=decision.forecast)
            return
        self._finish_episode(decision.at)
        self._seams.record(decision)
        self._episode = Episode(decision)

    def _finish_episode(self, at: float) -> None:
        if self._episode is not None:
            self._seams.record(self._episode.outcome(at, self.correction))
        self._episode = None

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers


def _looks(decision: Decision) -> tuple[object, ...]:
    error = decision.applied.error if decision.applied else None
    return decision.mode, decision.after, tuple(decision.phases.items()), decision.meets_itl, error


def _settled(settings: Settings, view: DeviceView, forecaster: Forecaster) -> Settings:
    """The settings with every default chosen, refused where they cannot hold on this device."""
    total = view.cores
    minima = settings.minima or Split(max(1, total // 8), _lone_cores(settings, forecaster, total))
    safe = settings.safe or Split(total - total // 2, total // 2)
    reserve = total // 2 if settings.idle_reserve is None else settings.idle_reserve
    if sum(safe) > total or any(cores < least for cores, least in zip(safe, minima, strict=True)):
        option = "--pin" if settings.mode == "pinned" else "--safe"
        raise SnapshotError(
            f"{option}: the safe split is {safe.prefill}/{safe.decode}; it must be at most {total} cores "
            f"and at least the minima {minima.prefill}/{minima.decode} (--minima)"
        )
    settled = replace(settings, minima=minima, safe=safe, idle_reserve=reserve)
    Snapshot(total, settings.targets, minima=minima, idle_reserve=reserve, margin=settings.margin, band=settings.band)
    return settled


def _lone_cores(settings: Settings, forecaster: Forecaster, total: int) -> int:
    """Fewest cores that keep the ITL target for one request; a quarter of the device when that is fewer."""
    seconds = forecaster.alone(LONE_REQUEST)  # its guaranteed cores keep the target for that
    limit = settings.targets.itl * settings.margin
    most = max(1, total // 4)
    return next((cores for cores in range(1, most) if seconds[cores] <= limit), most)
