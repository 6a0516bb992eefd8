# SPDX-License-Identifier: Apache-2.0
"""DuetServe's finding (arXiv 2511.04791): up to 1.3 times the throughput of chunked prefill on Mooncake-like load.

Published for two H100 with Qwen3-8B and 14B: a peak of 2.72 requests/s on Mooncake against 2.14 for vLLM, under a bound
on the time between tokens. Two things are asked of each policy here: what it serves of a backlog (throughput, which has
no deadline), and the highest rate at which nine in ten requests meet their targets (goodput, which is all deadlines).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flexnpu.planner import Chunked, DuetServe, Policy
from flexnpu.simulator.arrival import Arrival
from flexnpu.simulator.capacity import Search
from flexnpu.simulator.run import Setup, config_for, run
from flexnpu.simulator.slo import Slo, show_seconds
from flexnpu.simulator.study.capacities import Place, possible_requests
from flexnpu.simulator.study.runs import HEAD, Finding, Row, more, row

# Budgets of chunked prefill, and the ITL targets that DuetServe plans for: each trades throughput for time per token.
BUDGETS = (8192, 2048, 512, 256)
TARGETS = (0.1, 0.05, 0.03)
_AT_ONCE = 1e-6  # of the trace's times: everybody is there at the start
_AS_QUICK = 1.05  # times per token this near are alike


class Variant(NamedTuple):
    """A policy as it was set up, its run of the backlog, and its capacity."""

    row: Row
    capacity: float


def finding(place: Place, arrivals: Sequence[Arrival]) -> Finding:
    """The table for one model; `arrivals` of the Mooncake trace at its own rate."""
    kept = possible_requests(place, arrivals)
    chunked = [
        _variant(place, arrivals, kept, Chunked(budget), f"chunked, budget {budget}", place.slo.itl)
        for budget in BUDGETS
    ]
    duet = [
        _variant(place, arrivals, kept, DuetServe(), f"duetserve, plans for {show_seconds(itl)}", itl)
        for itl in TARGETS
    ]
    rows = [*chunked, *duet]
    return Finding(
        title=f"DuetServe over chunked prefill: Mooncake, {place.model} on {place.device}",
        published="up to 1.3 times the throughput; peak 2.72 requests/s against 2.14 (two H100)",
        setting=(
            f"{len(arrivals):,} requests that are all there at the start; the last column is the highest rate at which "
            f"90 % of the {len(kept):,} that can meet {place.slo} do"
        ),
        head=(*HEAD[:-1], "capacity at 90 %, requests/s"),
        rows=[[*each.row.cells()[:-1], f"{each.capacity:.3g}"] for each in rows],
        verdict=_verdict(duet, chunked),
        figures={
            "throughput_ratio": _fastest(duet).tokens_per_s / _fastest(chunked).tokens_per_s,
            "capacity_ratio": _most(duet) / _most(chunked) if _most(chunked) else None,
            "rows": [{**each.row._asdict(), "capacity": each.capacity} for each in rows],
        },
    )


def _variant(  # noqa: PLR0913, PLR0917 - one run and one search
    place: Place, arrivals: Sequence[Arrival], kept: Sequence[Arrival], policy: Policy, name: str, itl: float
) -> Variant:
    # It plans for `itl`, and is judged by the place's targets.
    setup = Setup(place.forecaster, place.slo, config_for(Slo(place.slo.ttft, itl)))
    backlog = [each._replace(seconds=each.seconds * _AT_ONCE) for each in arrivals]
    found = row(name, run(backlog, policy, setup, watched=False))
    rate = (len(kept) - 1) / (kept[-1].seconds - kept[0].seconds)
    return Variant(found, Search(kept, rate, policy, setup, early=True).highest(0.9).rate or 0.0)


def _fastest(variants: Sequence[Variant]) -> Row:
    return max((each.row for each in variants), key=lambda each: each.tokens_per_s)


def _most(variants: Sequence[Variant]) -> float:
    return max(each.capacity for each in variants)


def _verdict(duet: Sequence[Variant], chunked: Sequence[Variant]) -> list[str]:
    fastest, base = _fastest(duet), _fastest(chunked)
    lines = [
        f"Throughput of a backlog, each at its best: {more(fastest.tokens_per_s, base.tokens_per_s)} ({fastest.name}, "
        f"over {base.name}); end to end {more(fastest.latency, base.latency)}, time per token "
        f"{more(fastest.tpot, base.tpot)}."
    ]
    for each in duet:
        as_quick = [other for other in chunked if other.row.tpot <= each.row.tpot * _AS_QUICK]
        if as_quick:
            other = _fastest(as_quick)
            lines.append(
                f"{each.row.name}: {more(each.row.tokens_per_s, other.tokens_per_s)} throughput over the best chunked "
                f"prefill with no longer a time per token ({other.name})."
            )
        else:
            lines.append(f"{each.row.name}: no budget of chunked prefill has as short a time per token.")
    if _most(chunked) > 0:
        lines.append(f"Capacity at 90 %, each at its best: {more(_most(duet), _most(chunked))}.")
    return lines
