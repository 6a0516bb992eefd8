# SPDX-License-Identifier: Apache-2.0
"""An engine's Prometheus page as numbers: vLLM's names, and the pd: gauges where the engine has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from flexnpu.controller.seam import ScrapeError
from flexnpu.tenancy import Buckets

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
_FIRST_TOKEN = ("vllm:time_to_first_token_seconds",)
_GAP = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")


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


class Served(NamedTuple):
    """Times to the first token and between tokens since the engine's start; None: not told. scale: so many of its
    seconds are a device second."""

    scale: float
    first_tokens: Buckets | None = None
    gaps: Buckets | None = None


def parse_served(text: str, scale: float) -> Served:
    """A page's histograms, each summed over its labels. scale: wall per device second. ScrapeError as parse_metrics."""
    return Served(scale, _histogram(text, _FIRST_TOKEN), _histogram(text, _GAP))


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
    totals: dict[str, float] = {}
    for sample in _samples(lines):
        totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return totals


def _histogram(text: str, names: tuple[str, ...]) -> Buckets | None:
    """Of the first of these names that the page has."""
    for name in names:
        own = (f"{name}_bucket{{", f"{name}_sum")
        below: dict[float, float] = {}  # cumulative, by bound
        total = 0.0
        for sample in _samples(line for line in text.splitlines() if line.startswith(own)):
            if sample.name.endswith("_sum"):
                total += sample.value
            else:
                bound = _bound(sample)
                below[bound] = below.get(bound, 0.0) + sample.value
        if below:
            return _buckets(name, below, total)
    return None


def _bound(sample: Sample) -> float:
    try:
        return float(sample.labels["le"])
    except (KeyError, ValueError) as error:
        raise ScrapeError(f"{sample.name} has a bucket without a bound") from error


def _buckets(name: str, below: dict[float, float], total: float) -> Buckets:
    bounds = sorted(below)
    counts = [below[bound] - before for bound, before in zip(bounds, (0.0, *(below[b] for b in bounds)), strict=False)]
    if bounds[-1] != math.inf or min(counts) < 0 or not 0 <= total < math.inf:
        raise ScrapeError(f"{name} is no histogram; its buckets must rise up to +Inf")
    return Buckets(tuple(bounds[:-1]), tuple(counts), total)


def _samples(lines: Iterable[str]) -> Iterator[Sample]:
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            yield from family.samples
    except (ValueError, IndexError, KeyError) as error:
        raise ScrapeError(f"not a Prometheus page ({error})") from error
