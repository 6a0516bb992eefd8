# SPDX-License-Identifier: Apache-2.0
"""What a simulation came to: a collector that is fed while it runs, in memory that does not grow with the trace.

Latencies are those of finished requests, in sketches (relative error 0.5 %). Attainment and goodput are exact counts;
dropped and unfinished requests are misses. (What never finished is in no latency: who drops requests looks quick.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

import numpy as np

from flexnpu.forecast.batch import Floats
from flexnpu.planner import Plan
from flexnpu.planner.plan import Alternative
from flexnpu.simulator.arrival import Finished, Sample
from flexnpu.simulator.series import Series
from flexnpu.simulator.sketch import Sketch
from flexnpu.simulator.slo import Slo

LATENCIES = ("ttft", "tpot", "itl", "itl_p99", "itl_max", "e2e")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
COLUMNS = Sample._fields[1:]
MOST_ALTERNATIVES = 8  # of a plan that is kept, with the most tokens per second
_MOST_GAPS = 1 << 14  # that wait to be counted

# Why a request was no good: each miss is counted once.
Miss = Literal["ttft", "itl", "both", "dropped", "unfinished"]
MISSES: tuple[Miss, ...] = ("ttft", "itl", "both", "dropped", "unfinished")


@dataclass(slots=True)
class Sampled:
    """Some plans of a run, spread evenly over it: at most `MOST`, thinned by half whenever they are more."""

    MOST = 32
    plans: list[dict[str, Any]] = field(default_factory=list)
    seen: int = 0
    _stride: int = 1

    def offer(self) -> bool:
        """Counts a plan; whether this one is to be kept with `keep`, so that its text is made only then."""
        self.seen += 1
        return (self.seen - 1) % self._stride == 0

    def keep(self, plan: dict[str, Any]) -> None:
        self.plans.append(plan)
        if len(self.plans) > self.MOST:
            del self.plans[1::2]
            self._stride *= 2


class Collector:
    """Feed it every request once it is over, and samples of the device; then read `summary`."""

    def __init__(self, slo: Slo) -> None:
        self.slo = slo
        self._latencies = {name: Sketch() for name in LATENCIES}
        self._gaps: list[Floats] = []  # between tokens, not counted yet
        self._gaps_kept = 0
        self.series = Series(COLUMNS)
        self.plans = Sampled()
        self.misses: dict[str, int] = dict.fromkeys(MISSES, 0)
        self.requests = self.finished = self.good = 0
        self.prompt_tokens = self.output_tokens = self.cached_tokens = self.preemptions = 0
        self.first_arrival, self.last_arrival, self.end = float("inf"), 0.0, 0.0

    def request(self, request: Finished) -> None:
        """A request that finished, was dropped, or was not finished when the run ended."""
        self.requests += 1
        arrival = request.arrival
        self.first_arrival = min(self.first_arrival, arrival)
        self.last_arrival = max(self.last_arrival, arrival)
        self.preemptions += request.preemptions
        if request.dropped:
            self.misses["dropped"] += 1
        elif not request.completed:
            self.misses["unfinished"] += 1
        else:
            self._finished(request)

    def _finished(self, request: Finished) -> None:
        self.finished += 1
        self.end = max(self.end, request.finish)
        self.prompt_tokens += request.prompt
        self.output_tokens += request.output
        self.cached_tokens += request.cached
        add = self._latencies
        add["ttft"].add(request.ttft)
        add["e2e"].add(request.latency)
        if request.output > 1:
            add["tpot"].add(request.mean_tpot)
            add["itl_p99"].add(request.itl_p99)
            add["itl_max"].add(request.itl_max)
        late, slow = self.slo.misses(request)
        if late or slow:
            self.misses["both" if late and slow else "ttft" if late else "itl"] += 1
        else:
            self.good += 1

    def gaps(self, gaps: Sequence[Floats]) -> None:
        """The gaps between the tokens of a request that finished."""
        # Many requests' at once: a sketch takes a thousand values nearly as quickly as ten.
        self._gaps.extend(gaps)
        self._gaps_kept += sum([each.size for each in gaps])
        if self._gaps_kept > _MOST_GAPS:
            self._count_gaps()

    def _count_gaps(self) -> None:
        if self._gaps:
            self._latencies["itl"].add_all(np.concatenate(self._gaps))
            self._gaps, self._gaps_kept = [], 0

    @property
    def latencies(self) -> Mapping[str, Sketch]:
        """By name, as in `LATENCIES`."""
        self._count_gaps()
        return self._latencies

    def sample(self, sample: Sample) -> None:
        """The pool from that moment on."""
        self.series.sample(sample.seconds, sample[1:])

    def plan(self, at: float, plan: Plan) -> None:
        """A fresh plan. Its reason is read for the few that are kept alone: telling it costs more than planning."""
        if self.plans.offer():
            record = {"at_s": at, "mode": plan.mode, "split": list(plan.split), "steps": plan.steps}
            # A policy that tries every split has tens of them: those that came nearest say enough.
            beaten = sorted(plan.alternatives, key=lambda each: -each.tokens_per_second)
            weighed = {
                "chosen": _candidate(plan.chosen),
                "alternatives": [_candidate(each) for each in beaten[:MOST_ALTERNATIVES]],
                "alternatives_weighed": len(beaten),
            }
            self.plans.keep({**record, "budget": plan.budget, "reason": plan.reason, **weighed})

    @property
    def seconds(self) -> float:
        """From the first arrival to the last token."""
        return max(self.end - self.first_arrival, 0.0) if self.finished else 0.0

    @property
    def attainment(self) -> float:
        """Part of all requests that met every target."""
        return self.good / self.requests if self.requests else 0.0

    def summary(self) -> dict[str, Any]:
        """The figures, as docs/simulate.md names them. Without time passed, rates are 0."""
        rate = 1 / self.seconds if self.seconds > 0 else 0.0
        span = self.last_arrival - self.first_arrival
        return {
            "requests": {
                "total": self.requests,
                "finished": self.finished,
                "within_slo": self.good,
                "missed": dict(self.misses),
            },
            "attainment": self.attainment,
            "goodput_rps": self.good * rate,
            "offered_rps": (self.requests - 1) / span if span > 0 else None,
            "throughput": {
                "requests_per_s": self.finished * rate,
                "prompt_tokens_per_s": self.prompt_tokens * rate,
                "output_tokens_per_s": self.output_tokens * rate,
                "tokens_per_s": (self.prompt_tokens + self.output_tokens) * rate,
            },
            "seconds": self.seconds,
            "latency_s": {name: _spread(sketch) for name, sketch in self.latencies.items()},
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "preemptions": self.preemptions,
            "mean": self.series.means(),
        }


def _candidate(one: Alternative) -> dict[str, Any]:
    """A candidate with its forecast; what takes for ever (a phase without cores) has no seconds."""
    found = {**one._asdict(), "split": list(one.split)}
    return {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in found.items()}


def _spread(sketch: Sketch) -> dict[str, float | int | None]:
    counted = sketch.count > 0
    return {
        "count": sketch.count,
        "mean": sketch.mean,
        "min": sketch.least if counted else None,
        **{name: sketch.quantile(part) for name, part in QUANTILES.items()},
        "max": sketch.greatest if counted else None,
    }
