# SPDX-License-Identifier: Apache-2.0
"""What a service has on one device: a pair of engines, one per phase, or an engine of its own that runs both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from flexnpu.controller.decision import Grant, ServicePlan
from flexnpu.controller.engines import Engine, Progress, Role, ScrapedEngine, Work
from flexnpu.controller.feasible import pair_minima
from flexnpu.controller.followed import FollowedEngine
from flexnpu.controller.learning import Corrected
from flexnpu.controller.seam import Endpoint
from flexnpu.controller.services import Service, Settings
from flexnpu.planner import Alternative, Colocated, Instances, Plan, Policy, Snapshot, SnapshotError, Split, Tenant
from flexnpu.planner.plan import ms, rate, verdict

Phase = Literal["prefill", "decode"]
Grants = Mapping[str, Grant]
DECODE_FIRST = 1  # decode's priority where time is shared


class Unit:
    """One service's engines on one device.

    present: its vNPUs that are there, with what they have; elsewhere: those that are on other devices now. The device
    keeps both up to date. total: cores that all services have there. minima, safe: cores by engine, with every default
    chosen by settle().
    """

    roles: ClassVar[tuple[Role, ...]]

    def __init__(
        self, service: Service, endpoints: Sequence[Endpoint], forecaster: Corrected, settings: Settings
    ) -> None:
        self.service, self.forecaster, self.settings = service, forecaster, settings
        self.present: Grants = {}
        self.elsewhere: Mapping[str, tuple[int, ...]] = {}
        self.total = 0
        self.minima: tuple[int, ...] = ()
        self.safe: tuple[int, ...] = ()
        self.engines = tuple(map(self._engine, endpoints, self.roles))
        self.vnpus = tuple(endpoint.vnpu for endpoint in endpoints)

    def settle(self, total: int, part: int) -> None:
        """part: about this one's of the total. SnapshotError where they do not fit."""
        self.total = total
        self.minima = self.service.minima or self._least(part)
        self.safe = self.service.pin or self.service.safe or self._halves(max(part, self.least))
        if sum(self.safe) > total or any(cores < least for cores, least in zip(self.safe, self.minima, strict=True)):
            what = "pin" if self.service.pin else "safe"
            raise SnapshotError(
                f"--{what}: the {what} cores of service {self.service.name!r} are {_slashed(self.safe)}; they must be "
                f"at most {total} and at least the minima {_slashed(self.minima)} (--minima)"
            )

    def _engine(self, endpoint: Endpoint, role: Role) -> Engine:
        if endpoint.url is not None:
            return ScrapedEngine(endpoint, role)

        def took(work: Work, cores: int) -> float:
            return float(self.forecaster.alone((*work.prefill, *work.decode))[cores])

        def cores() -> int:
            held = self.present.get(endpoint.vnpu)
            return min(max(1, held.cores if held else 1), self.forecaster.forecaster.cores)

        return FollowedEngine(endpoint, role, took, cores)

    @property
    def least(self) -> int:
        return sum(self.minima)

    def missing(self, at: float, pending: Mapping[str, float]) -> str | None:
        """Why this service cannot be planned for, or None. pending: for how long a quota is not in force, by vNPU."""
        found = []
        for engine in self.engines:
            name, limit = engine.endpoint.vnpu, self.settings.stale_after
            if name in self.elsewhere:
                where = ", ".join(map(str, self.elsewhere[name]))
                found.append(f"vNPU {name} is on device {where} now, start the controller anew for it")
            elif name not in self.present:
                found.append(f"vNPU {name} is gone")
            elif (since := pending.get(name, 0.0)) > limit:
                found.append(f"{name} has not acknowledged its cores for {since:.2f} s")
            elif (why := engine.stale(at, limit)) is not None:
                found.append(why)
        return "; ".join(found) or None

    def hold(self, mode: Literal["safe", "pinned"], why: str) -> ServicePlan:
        """The safe cores, whatever is known of the engines. Those of one that is not there stay free, so that it finds
        them when it comes back."""
        grants = {name: Grant(count) for name, count in zip(self.vnpus, self.safe, strict=True) if name in self.present}
        return self._blind(mode, grants, f"{mode} cores {_slashed(self.safe)}: {why}")

    def stay(self, why: str) -> ServicePlan:
        """What its engines have now."""
        grants = {name: self.present[name] for name in self.vnpus if name in self.present}
        return self._blind("safe", grants, f"as it is: {why}")

    def absent(self) -> int:
        """Safe cores of engines that are not there."""
        return sum(count for name, count in zip(self.vnpus, self.safe, strict=True) if name not in self.present)

    def learns_from(self, plan: ServicePlan) -> bool:
        """Whether gaps between tokens are those of the step that the plan forecast."""
        return plan.forecast is not None and plan.phases.get("decode") == "busy"

    def _blind(self, mode: Literal["safe", "pinned"], grants: Grants, reason: str) -> ServicePlan:
        return ServicePlan(
            service=self.service.name,
            mode=mode,
            grants=grants,
            phases={engine.role: "unknown" for engine in self.engines},
            inputs=self.inputs(),
            reason=reason,
            meets_itl=False,
        )

    def state(self, at: float) -> Snapshot:
        """What is before its engines, as if they had the whole device."""
        return self._state(at, self.total, {})

    def tenant(self, at: float) -> Tenant:
        state = self.state(at)
        return Tenant(self.service.name, state, self.forecaster, self.least, weight=self.service.weight)

    def inputs(self) -> dict[str, object]:
        known = {engine.role: engine.describe() for engine in self.engines}
        told: dict[str, object] = {role: page for role, page in known.items() if page is not None}
        return told | {"decode_correction": self.forecaster.decode}

    def plan(self, at: float, cores: int, now: Grants, phase: Phase | None = None) -> ServicePlan:
        """What its engines get of so many cores. now: in force; phase: the one that the device is for, if it is."""
        raise NotImplementedError

    def progress(self, scale: float) -> tuple[Progress, Progress]:
        """Of prompts and of running requests, since the last call."""
        raise NotImplementedError

    def _least(self, part: int) -> tuple[int, ...]:
        raise NotImplementedError

    def _halves(self, part: int) -> tuple[int, ...]:
        raise NotImplementedError

    def work(self, at: float) -> Work:
        """Of all its engines."""
        found = [engine.work(at) for engine in self.engines]
        return Work(sum((each.prefill for each in found), ()), sum((each.decode for each in found), ()))

    def _state(self, at: float, cores: int, now: Grants) -> Snapshot:
        work = self.work(at)
        return Snapshot(
            device_cores=cores,
            targets=self.service.targets,
            prefill=work.prefill,
            decode=work.decode,
            margin=self.settings.margin,
            band=self.settings.band,
            switch_seconds=self.settings.switch_seconds,
        )


class Pair(Unit):
    """A prefill and a decode engine."""

    roles = ("prefill", "decode")

    def __init__(
        self, service: Service, endpoints: Sequence[Endpoint], forecaster: Corrected, settings: Settings
    ) -> None:
        super().__init__(service, endpoints, forecaster, settings)
        self._policy: Policy = Colocated() if settings.mode == "co-located" else Instances()

    def plan(self, at: float, cores: int, now: Grants, phase: Phase | None = None) -> ServicePlan:
        state = self._state(at, cores, now)
        if phase is not None:
            state = replace(state, idle_reserve=self.minima[0])
        plan = self._policy.plan(state, self.forecaster)
        grants, reason = self._grants(plan), plan.reason
        if phase == "decode" and not state.prompts:
            least = self.minima[0]
            grants = self._named(Grant(least), Grant(cores - least))
            reason = f"the device is for decode: prefill keeps {least}"
        return ServicePlan(
            service=self.service.name,
            mode="planned",
            grants=grants,
            phases={
                "prefill": "busy" if state.prompts else "idle",
                "decode": "busy" if state.running else "idle",
            },
            inputs=self.inputs() | {"prefill_tokens": state.waiting_tokens},
            reason=reason,
            meets_itl=plan.meets_itl,
            forecast=plan.chosen,
            alternatives=plan.alternatives,
        )

    def progress(self, scale: float) -> tuple[Progress, Progress]:
        return self.engines[0].progress(scale), self.engines[1].progress(scale)

    def _grants(self, plan: Plan) -> Grants:
        if plan.mode != "shared":
            return self._named(Grant(plan.split.prefill), Grant(plan.split.decode))
        percent = round(100 * plan.weight, 1)
        return self._named(
            Grant(plan.split.prefill, 100 - percent), Grant(plan.split.decode, percent, priority=DECODE_FIRST)
        )

    def _named(self, *grants: Grant) -> Grants:
        return dict(zip(self.vnpus, grants, strict=True))

    def _state(self, at: float, cores: int, now: Grants) -> Snapshot:
        held = [now[name] for name in self.vnpus if name in now]
        reserve = self.service.idle_reserve
        state = replace(
            super()._state(at, cores, now),
            minima=Split(*self.minima),
            idle_reserve=cores // 2 if reserve is None else reserve,
        )
        if len(held) < len(self.vnpus):
            return state
        share = held[1].share
        return replace(
            state,
            current=Split(*(grant.cores for grant in held)),
            current_mode="split" if share is None else "shared",
            current_weight=None if share is None else share / 100,
        )

    def _least(self, part: int) -> tuple[int, ...]:
        return pair_minima(self.service.targets, self.settings.margin, self.forecaster, part)

    def _halves(self, part: int) -> tuple[int, ...]:
        prefill, decode = self.minima
        half = min(max(part // 2, decode), part - prefill)
        return part - half, half


class Lone(Unit):
    """An engine that runs prompts and running requests on the same cores, or prompts alone."""

    roles = ("both",)

    def plan(self, at: float, cores: int, now: Grants, phase: Phase | None = None) -> ServicePlan:
        work = self.work(at)
        queue, batch = self.forecaster.load(work.prefill), self.forecaster.load(work.decode)
        seconds = [self.forecaster.seconds(cores, load) if load.tokens else 0.0 for load in (queue, batch)]
        limit = self.service.targets.itl
        holds = seconds[1] <= limit
        total = rate(queue.tokens + batch.tokens, sum(seconds))
        return ServicePlan(
            service=self.service.name,
            mode="planned",
            grants={self.vnpus[0]: Grant(cores)},
            phases={"prefill": "busy" if work.prefill else "idle", "decode": "busy" if work.decode else "idle"},
            inputs=self.inputs() | {"prefill_tokens": int(queue.tokens)},
            reason=(
                f"on {cores} cores {int(queue.tokens)} tokens of prompts take {ms(seconds[0])}, "
                f"a step of {int(batch.tokens)} running {ms(seconds[1])}"
            ),
            meets_itl=holds,
            forecast=Alternative("aggregated", Split(cores, cores), 1, seconds[0], seconds[1], total, verdict(holds)),
        )

    def learns_from(self, plan: ServicePlan) -> bool:
        """An iteration that has prompts in it is longer than a step."""
        return super().learns_from(plan) and plan.phases["prefill"] == "idle"

    def progress(self, scale: float) -> tuple[Progress, Progress]:
        told = self.engines[0].progress(scale)
        return told, told

    def _least(self, part: int) -> tuple[int, ...]:
        return (max(1, part // 8),)

    def _halves(self, part: int) -> tuple[int, ...]:
        return (part,)


def _slashed(cores: tuple[int, ...]) -> str:
    return "/".join(map(str, cores))
