# SPDX-License-Identifier: Apache-2.0
"""What the findings have in common: a run's figures in a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flexnpu.simulator.charts import percent, plain
from flexnpu.simulator.results import Collector
from flexnpu.simulator.slo import show_seconds

HEAD = (
    "",
    "TTFT mean",
    "TTFT p99",
    "TPOT mean",
    "end to end mean",
    "end to end p99",
    "requests/s",
    "tokens/s",
    "within",
)


class Row(NamedTuple):
    """A run under a name. Latencies in seconds; output tokens per second."""

    name: str
    ttft: float
    ttft_p99: float
    tpot: float
    latency: float
    latency_p99: float
    requests_per_s: float
    tokens_per_s: float
    attainment: float

    def cells(self) -> list[str]:
        """As the tables show it."""
        times = (self.ttft, self.ttft_p99, self.tpot, self.latency, self.latency_p99)
        shown = [show_seconds(each) for each in times]
        return [self.name, *shown, plain(self.requests_per_s), plain(self.tokens_per_s), percent(self.attainment)]


class Finding(NamedTuple):
    """A published finding beside what comes out here."""

    title: str
    published: str
    setting: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: Sequence[str]  # what is real and what is not
    figures: dict[str, Any]


def row(name: str, collector: Collector) -> Row:
    """The figures of a run in which something finished."""
    found = collector.summary()
    latency, throughput = found["latency_s"], found["throughput"]
    return Row(
        name,
        latency["ttft"]["mean"],
        latency["ttft"]["p99"],
        latency["tpot"]["mean"] or 0.0,
        latency["e2e"]["mean"],
        latency["e2e"]["p99"],
        throughput["requests_per_s"],
        throughput["output_tokens_per_s"],
        found["attainment"],
    )


def more(value: float, base: float) -> str:
    """ "+12 %" or "-3 %"."""
    return f"{(value / base - 1) * 100:+.0f} %"
