# SPDX-License-Identifier: Apache-2.0
"""FlexNPU's findings (arXiv 2606.04415), and what of them is waiting that moved elsewhere.

Published for Qwen2.5-7B on one NPU: the time to the first token falls from 488 s to 0.33 s while throughput and the
time per token stay as they were. With the same arrivals and throughput the mean time in the system cannot change
much (it is the area between the arrivals and the departures): what is gone before the first token is behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flexnpu.planner import POLICIES
from flexnpu.simulator.run import Setup, config_for, run
from flexnpu.simulator.slo import show_seconds
from flexnpu.simulator.study.capacities import Place
from flexnpu.simulator.study.runs import HEAD, Finding, Row, more, row
from flexnpu.simulator.traces import make_trace

FEW, MANY = 4, 256  # requests that run at once: what the published figures imply, and an engine's default


class Published(NamedTuple):
    """A row of the paper: seconds, tokens per second; None where it says nothing."""

    prompt: int
    output: int
    ttft_static: float
    ttft_flexnpu: float
    tokens_static: float | None = None
    tokens_flexnpu: float | None = None
    tpot_static: float | None = None
    tpot_flexnpu: float | None = None


PUBLISHED = (
    Published(256, 256, 109.9, 0.33),
    Published(256, 1024, 488.1, 0.33, 195.3, 194.3, 0.02035, 0.02053),
    Published(1024, 256, 118.2, 8.57),
    Published(1024, 1024, 506.5, 8.31),
)


class InSystem(NamedTuple):
    """Little's law on a published row: requests per second times what a request is said to take."""

    seconds: float  # TTFT and the time per token after it
    requests: float  # in the system on average


def in_system(ttft: float, tpot: float, output: int, tokens_per_s: float) -> InSystem:
    """What published figures say of the requests in the system."""
    seconds = ttft + tpot * (output - 1)
    return InSystem(seconds, tokens_per_s / output * seconds)


def co_location(place: Place, requests: int) -> Finding:
    """Static co-location against weights, with few and with many running requests; all requests there at the start."""
    rows: list[Row] = []
    for each in PUBLISHED:
        load = f"requests={requests},prompt={each.prompt},output={each.output}"
        trace = make_trace([load], ["synthetic"])
        for running in (FEW, MANY):
            setup = Setup(place.forecaster, place.slo, config_for(place.slo, max_running=running))
            for policy in ("static", "weights"):
                name = f"{each.prompt}/{each.output}, {running} run at once, {policy}"
                rows.append(row(name, run(trace, POLICIES[policy](), setup, watched=False)))
    return Finding(
        title=f"FlexNPU over static co-location: {place.model} on one {place.device}",
        published=(
            "TTFT "
            + ", ".join(f"{p.prompt}/{p.output}: {p.ttft_static:g} s to {p.ttft_flexnpu:g} s" for p in PUBLISHED)
            + "; throughput and TPOT within 4 %"
        ),
        setting=f"{requests} requests that are all there at the start; within {place.slo}",
        head=HEAD,
        rows=[each.cells() for each in rows],
        verdict=_verdict(rows),
        figures={"rows": [each._asdict() for each in rows]},
    )


def _verdict(rows: list[Row]) -> list[str]:
    published = PUBLISHED[1]
    before = in_system(published.ttft_static, published.tpot_static or 0, 1024, published.tokens_static or 0)
    after = in_system(published.ttft_flexnpu, published.tpot_flexnpu or 0, 1024, published.tokens_flexnpu or 0)
    lines = [
        f"The published 256/1024 figures leave out most of the wait: at {published.tokens_static} tokens/s, a TTFT of "
        f"{published.ttft_static:g} s means {before.requests:.0f} requests in the system; {published.ttft_flexnpu:g} s "
        f"and the same throughput would mean {after.requests:.0f}. The same requests at the same throughput are in the "
        f"system for as long: the other {before.requests - after.requests:.0f} wait where neither TTFT nor TPOT looks."
    ]
    few = zip(rows[::4], PUBLISHED, strict=True)
    shown = ", ".join(f"{p.prompt}/{p.output} {show_seconds(r.ttft)} ({p.ttft_static:g} s)" for r, p in few)
    lines.append(
        f"The published baseline is this backlog with {FEW} requests at a time: TTFT of static co-location here, and "
        f"(published): {shown}."
    )
    for start in range(0, len(rows), 4):
        few_static, few_weights, many_static, many_weights = rows[start : start + 4]
        load = few_static.name.partition(",")[0]
        lines.append(
            f"{load}: with {FEW} running, weights change TTFT by {more(few_weights.ttft, few_static.ttft)} and end to "
            f"end by {more(few_weights.latency, few_static.latency)}; with {MANY} running, TTFT by "
            f"{more(many_weights.ttft, many_static.ttft)}, end to end by "
            f"{more(many_weights.latency, many_static.latency)}, throughput by "
            f"{more(many_weights.tokens_per_s, many_static.tokens_per_s)}. To let {MANY} run instead of {FEW} brings "
            f"{more(many_static.latency, few_static.latency)} end to end without weights."
        )
    return lines


# Prompt, output, and requests/s before and after, of 384 packages of two dies.
DISAGGREGATION = ((1024, 1024, 489.84, 618.18), (1024, 4096, 146.63, 154.18))
DIES = 768
RATIOS = ((2, 1), (1, 1), (1, 2), (1, 3), (1, 5), (1, 7))


def disaggregation(place: Place, requests: int, ratios: Sequence[tuple[int, int]] = RATIOS) -> Finding:
    """Phases on devices of their own, at several ratios, against weights on as many alike devices."""
    rows: list[Row] = []
    lines: list[str] = []
    for prompt, output, static, flexnpu in DISAGGREGATION:
        found: dict[tuple[int, int], tuple[Row, Row]] = {}
        for ratio in ratios:
            devices = sum(ratio)
            trace = make_trace([f"requests={requests * devices},prompt={prompt},output={output}"], ["synthetic"])
            setup = Setup(place.forecaster, place.slo, config_for(place.slo, devices=ratio))
            name = f"{prompt}/{output}, {ratio[0]}:{ratio[1]}"
            pair = [
                row(f"{name}, {policy}", run(trace, POLICIES[policy](), setup, watched=False))
                for policy in ("disaggregated", "weights")
            ]
            found[ratio] = pair[0], pair[1]
            rows += pair
        gains = {ratio: weights.tokens_per_s / apart.tokens_per_s - 1 for ratio, (apart, weights) in found.items()}
        best = min(gains, key=lambda ratio: gains[ratio])
        worst = max(gains, key=lambda ratio: gains[ratio])
        apart, shared = (max(pair[i].requests_per_s / sum(ratio) for ratio, pair in found.items()) for i in (0, 1))
        lines.append(
            f"{prompt}/{output}: published {static:g} to {flexnpu:g} requests/s ({more(flexnpu, static)}). Here "
            f"{gains[best]:+.0%} over the best ratio ({best[0]}:{best[1]}) and {gains[worst]:+.0%} over the worst "
            f"({worst[0]}:{worst[1]}): how much is won depends on how badly the fixed ratio fits the load; end to end "
            f"{more(found[best][1].latency, found[best][0].latency)} against the best ratio. Requests/s and die: "
            f"published {static / DIES:.3g} and {flexnpu / DIES:.3g}; here {apart:.3g} at the best ratio by "
            f"that, and {shared:.3g}."
        )
    return Finding(
        title=f"FlexNPU over static disaggregation: {place.model} on {place.device}",
        published="1K/1K 489.84 to 618.18 requests/s, 1K/4K 146.63 to 154.18 (DeepSeek-R1 on 384 x 910C)",
        setting=(
            f"{requests} requests per device that are all there at the start, prefill:decode devices against as many "
            "alike ones; within the last column's targets hardly anybody is, since all wait"
        ),
        head=HEAD,
        rows=[each.cells() for each in rows],
        verdict=lines,
        figures={"rows": [each._asdict() for each in rows]},
    )
