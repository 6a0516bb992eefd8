# SPDX-License-Identifier: Apache-2.0
"""An engine's Prometheus page as numbers: vLLM's names, and the pd: gauges where the engine has them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from flexnpu.controller.seam import ScrapeError

# vLLM renamed time_per_output_token to inter_token_latency; both are the gap between two tokens of a request.
_NAMES = {
    "running": ("vllm:num_requests_running",),
    "waiting": ("vllm:num_requests_waiting",),
    "prompt_tokens": ("vllm:prompt_tokens_total", "vllm:prompt_tokens"),
    "generation_tokens": ("vllm:generation_tokens_total", "vllm:generation_tokens"),
    "first_tokens": ("vllm:time_to_first_token_seconds_count",),
    "itl_sum": ("vllm:inter_token_latency_seconds_sum", "vllm:time_per_output_token_seconds_sum"),
    "itl_count": ("vllm:inter_token_latency_seconds_count", "vllm:time_per_output_token_seconds_count"),
    "waiting_tokens": ("pd:waiting_prompt_tokens",),
    "context_tokens": ("pd:running_context_tokens",),
}
_REQUIRED = ("running", "waiting")


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """One scrape. Counters are since the engine's start; None where the engine does not have that metric."""

    running: float
    waiting: float
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    first_tokens: float | None = None
    itl_sum: float | None = None
    itl_count: float | None = None
    waiting_tokens: float | None = None
    context_tokens: float | None = None

    @property
    def busy(self) -> bool:
        return self.running + self.waiting > 0


def parse_metrics(text: str) -> EngineMetrics:
    """The page's numbers, each summed over its labels; ScrapeError names what is missing or makes no sense."""
    totals = _totals(text)
    values: dict[str, float] = {}
    for field, names in _NAMES.items():
        name = next((name for name in names if name in totals), None)
        if name is None:
            continue
        if not 0 <= totals[name] < math.inf:
            raise ScrapeError(f"{name} is {totals[name]}; it must be 0 or more")
        values[field] = totals[name]
    for field in _REQUIRED:
        if field not in values:
            raise ScrapeError(f"{_NAMES[field][0]} is missing; the engine must export vLLM's metric names")
    return EngineMetrics(**values)


def _totals(text: str) -> dict[str, float]:
    # Most of a vLLM page is histogram buckets of no use here, and the parser is slow on them.
    lines = (line for line in text.splitlines() if line.startswith(("vllm:", "pd:")) and "_bucket{" not in line)
    wanted = "\n".join(lines)
    totals: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(wanted + "\n"):
            for sample in family.samples:
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    except (ValueError, IndexError, KeyError) as error:
        raise ScrapeError(f"not a Prometheus page ({error})") from error
    return totals
