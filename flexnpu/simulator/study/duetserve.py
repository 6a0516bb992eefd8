# SPDX-License-Identifier: Apache-2.0
"""DuetServe's finding (arXiv 2511.04791): up to 1.3 times the throughput of chunked prefill on Mooncake-like load.

Published for two H100 with Qwen3-8B and 14B: a peak of 2.72 requests/s on Mooncake against 2.14 for vLLM, under a bound
on the time between tokens. Two things are asked of each policy here: what it serves of a backlog (throughput, which has
no deadline), and the highest rate at which nine in ten requests meet their targets (goodput, which is all deadlines).
"""

from __future__ import annotations

from collections.abc import Sequence

from flexnpu.simulator.arrival import Arrival
from flexnpu.simulator.capacity import Search
from flexnpu.simulator.policies import parse_policies
from flexnpu.simulator.run import Setup, config_for, run
from flexnpu.simulator.study.capacities import Place, possible_requests
from flexnpu.simulator.study.runs import HEAD, Finding, Row, more, row

POLICIES = "chunked:budget=8192,chunked:budget=2048,chunked:budget=512,duetserve"
_AT_ONCE = 1e-6  # of the trace's times: everybody is there at the start


def finding(place: Place, arrivals: Sequence[Arrival]) -> Finding:
    """The table for one model; `arrivals` of the Mooncake trace at its own rate."""
    backlog = [each._replace(seconds=each.seconds * _AT_ONCE) for each in arrivals]
    kept = possible_requests(place, arrivals)
    rate = (len(kept) - 1) / (kept[-1].seconds - kept[0].seconds)
    setup = Setup(place.forecaster, place.slo, config_for(place.slo))
    rows: list[Row] = []
    capacities: list[float] = []
    for named in parse_policies(POLICIES):
        rows.append(row(named.name, run(backlog, named.policy, setup, watched=False)))
        answer = Search(kept, rate, named.policy, setup, early=True).highest(0.9)
        capacities.append(answer.rate or 0.0)
    chunked, duet = rows[:-1], rows[-1]
    fastest = max(chunked, key=lambda each: each.tokens_per_s)
    best = max(capacities[:-1])
    return Finding(
        title=f"DuetServe over chunked prefill: Mooncake, {place.model} on {place.device}",
        published="up to 1.3 times the throughput; peak 2.72 requests/s against 2.14 (two H100)",
        setting=(
            f"{len(arrivals):,} requests that are all there at the start; the last column is the highest rate at which "
            f"90 % of the {len(kept):,} that can meet {place.slo} do"
        ),
        head=(*HEAD[:-1], "capacity at 90 %, requests/s"),
        rows=[[*each.cells()[:-1], f"{capacity:.3g}"] for each, capacity in zip(rows, capacities, strict=True)],
        verdict=_verdict(duet, chunked, fastest, capacities[-1], best),
        figures={
            "throughput_over_best_chunked": duet.tokens_per_s / fastest.tokens_per_s,
            "throughput_over_chunked": {each.name: duet.tokens_per_s / each.tokens_per_s for each in chunked},
            "capacity_over_best_chunked": capacities[-1] / best if best else None,
            "rows": [each._asdict() for each in rows],
            "capacities": capacities,
        },
    )


def _verdict(duet: Row, chunked: Sequence[Row], fastest: Row, capacity: float, best: float) -> list[str]:
    smallest = min(chunked, key=lambda each: each.tokens_per_s)
    over_slowest = more(duet.tokens_per_s, smallest.tokens_per_s)
    lines = [
        f"Throughput of a backlog: {more(duet.tokens_per_s, fastest.tokens_per_s)} over the fastest chunked prefill "
        f"({fastest.name}), {over_slowest} over the slowest ({smallest.name}).",
        f"End to end, the mean request of the backlog takes {more(duet.latency, fastest.latency)} against "
        f"{fastest.name}, and a token {more(duet.tpot, fastest.tpot)}.",
    ]
    if best > 0:
        lines.append(f"Capacity at 90 %: {more(capacity, best)} against the best chunked budget.")
    return lines
