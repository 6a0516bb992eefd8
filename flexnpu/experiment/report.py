# SPDX-License-Identifier: Apache-2.0
"""What a replay came to: latencies, throughput, goodput, the cores over time. Pure; all times are device seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

MODELLED = "modelled on the software NPU: device times are those of its SoC model, not of an NPU"
LATENCIES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "latency": "end to end"}  # of a summary


@dataclass(frozen=True, slots=True)
class Targets:
    """What counts as good."""

    ttft: float = 1.0
    tpot: float = 0.05


@dataclass(frozen=True, slots=True)
class Served:
    """One request of a replay. A request without tokens was not answered; why says what came instead."""

    arrived: float
    prompt: int
    output: int
    tokens: tuple[float, ...] = ()  # when each token was there, same origin as arrived
    why: str | None = None

    @property
    def finished(self) -> bool:
        return len(self.tokens) == self.output

    @property
    def ttft(self) -> float:
        return self.tokens[0] - self.arrived

    @property
    def tpot(self) -> float | None:
        """Seconds per token after the first; None for a single token."""
        return (self.tokens[-1] - self.tokens[0]) / (len(self.tokens) - 1) if len(self.tokens) > 1 else None

    @property
    def gaps(self) -> tuple[float, ...]:
        """Seconds between each token and the one before."""
        return tuple(after - before for before, after in pairwise(self.tokens))

    @property
    def latency(self) -> float:
        return self.tokens[-1] - self.arrived

    def meets(self, targets: Targets) -> bool:
        return self.finished and self.ttft <= targets.ttft and (self.tpot is None or self.tpot <= targets.tpot)


@dataclass(frozen=True, slots=True)
class Cores:
    """The split at one moment; of who takes turns, the part of all its cores that it has the time of."""

    at: float
    prefill: float
    decode: float
    waiting: int  # requests without a first token
    running: int  # requests with one that are not finished


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in three numbers; None where there is nothing to count."""

    mean: float | None = None
    p50: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if not values:
            return cls()
        p50, p99 = np.percentile(values, (50, 99))
        return cls(float(np.mean(values)), float(p50), float(p99))


@dataclass(frozen=True, slots=True)
class Run:
    """One replay under one policy."""

    policy: str
    requests: tuple[Served, ...]
    cores: tuple[Cores, ...]
    applied: tuple[float | None, ...] = ()  # of each move: wall seconds until applied, None where not in time

    @property
    def finished(self) -> tuple[Served, ...]:
        return tuple(request for request in self.requests if request.finished)

    @property
    def seconds(self) -> float:
        """From the first arrival to the last token."""
        ends = [request.tokens[-1] for request in self.finished]
        return max(ends) - min(request.arrived for request in self.requests) if ends else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a run. Unfinished and refused requests count as misses of the goodput."""

    policy: str
    requests: int
    finished: int
    ttft: Spread
    tpot: Spread
    itl: Spread  # of every gap between two tokens
    latency: Spread
    seconds: float
    tokens_per_second: float  # prompts and outputs
    output_tokens_per_second: float
    requests_per_second: float
    goodput: float  # requests per second within the targets
    attainment: float  # 0 to 1, of all requests
    moves: int
    moves_unapplied: int
    applied_wall: Spread  # wall seconds from asking for a move until it was applied
    cores: dict[str, float] = field(default_factory=dict)  # mean over time, by phase


def summarise(run: Run, targets: Targets) -> Summary:
    good = sum(request.meets(targets) for request in run.requests)
    seconds = run.seconds
    rate = 1 / seconds if seconds > 0 else 0.0
    return Summary(
        policy=run.policy,
        requests=len(run.requests),
        finished=len(run.finished),
        ttft=Spread.of([request.ttft for request in run.finished]),
        tpot=Spread.of([request.tpot for request in run.finished if request.tpot is not None]),
        itl=Spread.of([gap for request in run.finished for gap in request.gaps]),
        latency=Spread.of([request.latency for request in run.finished]),
        seconds=seconds,
        tokens_per_second=rate * sum(request.prompt + request.output for request in run.finished),
        output_tokens_per_second=rate * sum(request.output for request in run.finished),
        requests_per_second=rate * len(run.finished),
        goodput=rate * good,
        attainment=good / len(run.requests) if run.requests else 0.0,
        moves=len(run.applied),
        moves_unapplied=run.applied.count(None),
        applied_wall=Spread.of([seconds for seconds in run.applied if seconds is not None]),
        cores={
            "prefill": float(np.mean([each.prefill for each in run.cores])) if run.cores else 0.0,
            "decode": float(np.mean([each.decode for each in run.cores])) if run.cores else 0.0,
        },
    )


def run_entry(run: Run, targets: Targets) -> dict[str, Any]:
    """A run in the JSON: its figures, the cores over time and each request."""
    return {
        "summary": asdict(summarise(run, targets)),
        "cores": [asdict(each) for each in thinned(run.cores)],
        "requests": [
            {
                "arrived": request.arrived,
                "prompt": request.prompt,
                "output": request.output,
                "finished": request.finished,
                "ttft": request.ttft if request.tokens else None,
                "tpot": request.tpot if request.tokens else None,
                "latency": request.latency if request.finished else None,
                "why": request.why,
            }
            for request in run.requests
        ],
    }


def thinned(cores: Sequence[Cores], most: int = 300) -> list[Cores]:
    """Every sample at which cores moved, and of the others at most so many, spread evenly over the run."""
    stride = max(1, -(-len(cores) // most))
    return [
        each
        for index, each in enumerate(cores)
        if index % stride == 0
        or (each.prefill, each.decode) != (cores[index - 1].prefill, cores[index - 1].decode)
        or index == len(cores) - 1
    ]


def to_json(value: object, indent: str = "") -> str:
    """JSON with a line for each innermost object or list, so that a sample or a request is a line."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if not any(isinstance(each, dict | list) for each in inner):
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    if isinstance(value, dict):
        lines = [f"{json.dumps(name)}: {to_json(each, indent + ' ')}" for name, each in value.items()]
    else:
        lines = [to_json(each, indent + " ") for each in inner]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n{indent} " + f",\n{indent} ".join(lines) + f"\n{indent}{end}"


def ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds >= 10:
        return f"{seconds:,.1f} s"
    return f"{seconds * 1e3:,.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.1f} ms"


def moves(summary: Summary) -> str:
    """How many moves there were, and how long the usual one took."""
    if summary.moves == 0:
        return "0"
    late = f", {summary.moves_unapplied} not in time" if summary.moves_unapplied else ""
    return f"{summary.moves} ({ms(summary.applied_wall.p50)}{late})"
