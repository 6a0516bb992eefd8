# SPDX-License-Identifier: Apache-2.0
"""GET /metrics under vLLM's names, so that what reads a vLLM instance reads this one."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from pd_serving.ticket import Ticket

Gauges = dict[str, tuple[str, Callable[[], float]]]  # what each tells, and what reads it
_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 8192, 16384)


class Metrics:
    """Counters that the engine raises, and gauges that are read from it when somebody asks.

    Of a pair, prefill tells what a request waited for its first token and its last one, decode what lies between two
    tokens; each counts the tokens that it made itself.
    """

    def __init__(self, model: str, gauges: Gauges) -> None:
        disable_created_metrics()  # half the page, and nobody reads them
        self._model = model
        self._registry = CollectorRegistry()
        for name, (text, read) in gauges.items():
            Gauge(name, text, ["model_name"], registry=self._registry).labels(model).set_function(read)
        self.prompt_tokens = self._counter("vllm:prompt_tokens", "Prompt tokens processed.")
        self.generation_tokens = self._counter("vllm:generation_tokens", "Tokens generated.")
        self.preemptions = self._counter("vllm:num_preemptions", "Requests that were lost, and computed again.")
        self.iteration_tokens = self._histogram("vllm:iteration_tokens_total", "Tokens per iteration.", _TOKENS)
        self.first_token = self._histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.")
        self.queue_time = self._histogram("vllm:request_queue_time_seconds", "From arrival to the first iteration.")
        gap = "Between two tokens of a request."
        self._gaps = [  # vLLM's name, and the one that it had before
            self._histogram("vllm:inter_token_latency_seconds", gap),
            self._histogram("vllm:time_per_output_token_seconds", gap),
        ]
        self._whole = self._histogram("vllm:e2e_request_latency_seconds", "From arrival to the last token.")
        self._per_token = self._histogram(
            "vllm:request_time_per_output_token_seconds", "Mean gap between the tokens of a request."
        )
        self._prompt = self._histogram("vllm:request_prompt_tokens", "Tokens of a request's prompt.", _TOKENS)
        self._answer = self._histogram("vllm:request_generation_tokens", "Tokens of a request's answer.", _TOKENS)
        self._over = Counter(
            "vllm:request_success",
            "Requests that are over, by why: stop, length, or abort where the client went away.",
            ["model_name", "finished_reason"],
            registry=self._registry,
        )
        for reason in ("stop", "length", "abort"):
            self._over.labels(model, reason)

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def gap(self, seconds: float) -> None:
        for each in self._gaps:
            each.observe(seconds)

    def over(self, ticket: Ticket, reason: str, now: float) -> None:
        self._over.labels(self._model, reason).inc()
        if reason == "abort":
            return
        self._whole.observe(now - ticket.arrived)
        self._prompt.observe(len(ticket.prompt))
        self._answer.observe(len(ticket.tokens))
        if len(ticket.times) > 1:
            self._per_token.observe((ticket.times[-1] - ticket.times[0]) / (len(ticket.times) - 1))

    def _counter(self, name: str, text: str) -> Counter:
        made: Counter = Counter(name, text, ["model_name"], registry=self._registry).labels(self._model)
        return made

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        made: Histogram = Histogram(name, text, ["model_name"], registry=self._registry, buckets=buckets).labels(
            self._model
        )
        return made
