# SPDX-License-Identifier: Apache-2.0
"""What a controller has counted since it began: decisions and moves by reason, how far forecasts were off, and what of
the services' tokens came in time. The daemon is told, for its metrics.

The loop's thread adds, the publisher's reads."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from flexnpu.api.controller import (
    RESULTS,
    ControllerTotals,
    DecisionTotals,
    Histogram,
    Reason,
    Result,
    ServiceTotals,
)
from flexnpu.controller.decision import Decision, Outcome
from flexnpu.controller.engines import Engine
from flexnpu.controller.metrics import Served
from flexnpu.controller.services import Service
from flexnpu.tenancy import Buckets, Tally

ERROR_BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0)

Forecast = Literal["prefill", "decode"]
FORECASTS: Final[tuple[Forecast, ...]] = ("prefill", "decode")


@dataclass(slots=True)
class _Tokens:
    """Of a service, so far."""

    first: float = 0.0
    first_in_time: float = 0.0
    output: float = 0.0
    output_in_time: float = 0.0


@dataclass(slots=True)
class Totals:
    """Of one controller."""

    _decisions: Counter[tuple[int, Reason]] = field(default_factory=Counter)
    _moves: Counter[tuple[int, Reason, Result]] = field(default_factory=Counter)
    _errors: dict[tuple[str, Forecast], Tally] = field(default_factory=dict)
    _tokens: defaultdict[str, _Tokens] = field(default_factory=lambda: defaultdict(_Tokens))
    _served: dict[str, Served] = field(default_factory=dict)  # by vNPU, what has been counted
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: Decision | Outcome) -> None:
        """Something that is written down."""
        with self._lock:
            if isinstance(record, Decision):
                self._add_decision(record)
            else:
                self._add_outcome(record)

    def look(self, service: Service, engines: Iterable[Engine], scale: float) -> None:
        """At what its engines have served since the last look. scale: wall per device second."""
        with self._lock:
            for engine in engines:
                self._look(self._tokens[service.name], service, engine, scale)

    def told(self, services: Iterable[Service]) -> ControllerTotals:
        """As the daemon is told."""
        with self._lock:
            return ControllerTotals(
                decisions=[self._told_decisions(*key) for key in self._decisions],
                services=[self._told_service(service.name) for service in services],
            )

    def _add_decision(self, decision: Decision) -> None:
        reason = reason_of(decision)
        self._decisions[decision.device, reason] += 1
        if decision.moved:
            self._moves[decision.device, reason, result_of(decision)] += 1

    def _add_outcome(self, outcome: Outcome) -> None:
        rates = outcome.prefill_observed_tokens_per_second, outcome.prefill_forecast_tokens_per_second
        self._add_error(outcome.service, "prefill", *rates)  # a rate's forecast is over what came as the time is under
        self._add_error(outcome.service, "decode", outcome.decode_forecast_seconds, outcome.decode_observed_seconds)

    def _add_error(self, service: str, phase: Forecast, forecast: float | None, observed: float | None) -> None:
        if forecast and observed:
            known = self._errors.setdefault((service, phase), Tally(ERROR_BOUNDS))
            known.observe(abs(observed / forecast - 1))

    def _look(self, tokens: _Tokens, service: Service, engine: Engine, scale: float) -> None:
        now = engine.served(scale)
        if now is None:
            return
        before = self._served.get(engine.endpoint.vnpu)
        self._served[engine.endpoint.vnpu] = now
        if before is None:  # what it served before this controller was there is not of this one
            return
        # Where each phase has an engine of its own, both may count first tokens: the second one those handed over.
        if engine.role != "decode" and now.first_tokens is not None:
            first = now.first_tokens.since(before.first_tokens)
            tokens.first += first.total
            tokens.first_in_time += first.at_most(service.targets.ttft * now.scale)
        if engine.role != "prefill" and now.gaps is not None:
            gaps = now.gaps.since(before.gaps)
            tokens.output += gaps.total
            tokens.output_in_time += gaps.at_most(service.targets.itl * now.scale)

    def _told_decisions(self, device: int, reason: Reason) -> DecisionTotals:
        moves = {result: self._moves[device, reason, result] for result in RESULTS}
        return DecisionTotals(device=device, reason=reason, decisions=self._decisions[device, reason], moves=moves)

    def _told_service(self, name: str) -> ServiceTotals:
        tokens = self._tokens[name]
        return ServiceTotals(
            service=name,
            first_tokens=tokens.first,
            first_tokens_in_time=tokens.first_in_time,
            output_tokens=tokens.output,
            output_tokens_in_time=tokens.output_in_time,
            forecast_errors={
                phase: _told(tally.buckets()) for (service, phase), tally in self._errors.items() if service == name
            },
        )


def reason_of(decision: Decision) -> Reason:
    """Which phases had work; or that it was none of the planner's."""
    if decision.mode in {"safe", "pinned"}:
        return "safe" if decision.mode == "safe" else "pinned"
    busy = [phase for phase in FORECASTS if any(plan.phases.get(phase) == "busy" for plan in decision.services)]
    if not busy:
        return "idle"
    return "both" if len(busy) == 2 else busy[0]


def result_of(decision: Decision) -> Result:
    """What became of its moves."""
    if decision.applied is None:
        return "withheld"
    if decision.applied.error is not None:
        return "refused"
    return "applied" if decision.applied.done else "late"


def _told(buckets: Buckets) -> Histogram:
    return Histogram(bounds=list(buckets.bounds), counts=list(buckets.counts), sum=buckets.sum)
