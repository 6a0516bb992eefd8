# SPDX-License-Identifier: Apache-2.0
"""The JSON of a simulation. docs/simulate.md names its fields; a report is made from it alone.

There is no date, host or wall time in it: equal inputs give equal bytes.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from flexnpu import __version__
from flexnpu.files import shown
from flexnpu.simulator.capacity import HIGHEST, STEPS, Answer, Search
from flexnpu.simulator.config import EngineConfig
from flexnpu.simulator.results import LATENCIES, Collector
from flexnpu.simulator.slo import Slo
from flexnpu.simulator.traces import Totals, Trace

SCHEMA = "flexnpu.simulate/1"
MODELLED = "modelled, not measured: a discrete-event simulation with the forecast's iteration times"


def policy_entry(name: str, layout: str, collector: Collector) -> dict[str, Any]:
    """A policy's part: figures, distributions, what held over time, some plans."""
    return {
        "policy": name,
        "layout": layout,
        **collector.summary(),
        "cdf_s": {key: collector.latencies[key].distribution() for key in LATENCIES},
        "series": collector.series.table(),
        "plans_made": collector.plans.seen,
        "plans": collector.plans.plans,
    }


def trace_entry(trace: Trace, totals: Totals) -> dict[str, Any]:
    """Where the requests come from, and what they ask for together."""
    return {
        "parts": [{**dataclasses.asdict(part), "source": shown(part.source)} for part in trace.parts],
        "totals": {
            "requests": totals.requests,
            "seconds": totals.seconds,
            "requests_per_s": totals.rate if math.isfinite(totals.rate) else None,
            "mean_prompt": totals.prompt_tokens / totals.requests,
            "mean_output": totals.output_tokens / totals.requests,
            "longest_prompt": totals.longest_prompt,
            "longest_output": totals.longest_output,
        },
    }


def slo_entry(slo: Slo) -> dict[str, Any]:
    return {"ttft": slo.ttft, "itl": slo.itl, "itl_by": slo.itl_by, "text": str(slo)}


def engine_entry(config: EngineConfig, blocks: int) -> dict[str, Any]:
    """Every setting of the engines, and the KV cache that came of them."""
    found = {key: value for key, value in dataclasses.asdict(config).items() if key != "targets"}
    found["end_seconds"] = None if math.isinf(config.end_seconds) else config.end_seconds
    found["kv_tokens"] = blocks * config.block_tokens
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def capacity_entry(searches: Sequence[tuple[str, Search, Sequence[Answer]]]) -> dict[str, Any]:
    """The answers of a search for each policy."""
    attainments = [answer.attainment for answer in searches[0][2]]
    return {
        "note": (
            f"Found by bisection on a grid of rates {(2 ** (1 / STEPS) - 1) * 100:.1f} % apart: the rate named was "
            "met, the next one up was missed. At 4096 times the trace's rate the search ends: who keeps that has no "
            "limit here, and no order. The whole load is served to its end at each rate."
        ),
        "attainments": attainments,
        "grid_steps_per_doubling": STEPS,
        "policies": [
            {
                "policy": name,
                "at": {f"{answer.attainment:g}": _answer_entry(answer) for answer in answers},
                "ceiling": search.ceiling() if any(answer.rate is None for answer in answers) else None,
            }
            for name, search, answers in searches
        ],
    }


def _answer_entry(answer: Answer) -> dict[str, Any]:
    return {
        "rate": answer.rate,
        "missed_at": answer.missed_at,
        "no_limit_up_to": 2 ** (HIGHEST / STEPS) if answer.unlimited else None,
    }


def curves_entry(note: str, searches: Sequence[tuple[str, Search]]) -> dict[str, Any]:
    """Goodput and attainment at every rate that was run."""
    return {
        "note": note,
        "policies": [
            {
                "policy": name,
                "points": [
                    {"rate": point.rate, "goodput": point.goodput, "attainment": point.attainment}
                    for point in search.curve()
                    if point.goodput is not None
                ],
            }
            for name, search in searches
        ],
    }


def head(**parts: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """A document of these parts."""
    return {"schema": SCHEMA, "note": MODELLED, "version": __version__, **parts}


def to_json(document: dict[str, Any]) -> str:
    """One text for equal documents. NaN and infinity are no JSON and raise ValueError."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
