# SPDX-License-Identifier: Apache-2.0
"""GET /metrics under vLLM's names, so that what reads a vLLM instance reads this one."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 8192, 16384)


class Metrics:
    """Counters that the engine raises, and gauges that are read from it when somebody asks."""

    def __init__(self, gauges: dict[str, tuple[str, Callable[[], float]]]) -> None:
        disable_created_metrics()  # half the page, and nobody reads them
        self._registry = CollectorRegistry()
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self._registry).set_function(read)
        self.prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens processed.")
        self.generation_tokens = self._counter("vllm:generation_tokens", "Tokens generated.")
        self.iteration_tokens = Histogram(
            "vllm:iteration_tokens_total", "Tokens per iteration.", registry=self._registry, buckets=_TOKENS
        )
        self.first_token = self._histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.")
        self.inter_token = self._histogram("vllm:inter_token_latency_seconds", "Between two tokens of a request.")

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self._registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, registry=self._registry, buckets=_SECONDS)
