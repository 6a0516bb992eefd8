# SPDX-License-Identifier: Apache-2.0
"""Seconds of an iteration: the sum of its operators; phases side by side share the device's bandwidth.

Pure functions of their arguments; what is remembered between calls changes no answer. docs/forecast.md has the
equations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from flexnpu._native import Asks, Iteration, Rows
from flexnpu.forecast.attention import PlainAttention
from flexnpu.forecast.attention_joined import JoinedAttention
from flexnpu.forecast.attention_tabled import TabledAttention
from flexnpu.forecast.batch import Batch, Floats, ForecastError, Request
from flexnpu.forecast.breakdown import Forecast, Known, Quote
from flexnpu.forecast.contention import HALF
from flexnpu.forecast.fitting import fitting
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import Cost, OperatorModel, bound_by
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.rows import Filled, rising_rows, rows
from flexnpu.forecast.workload import Attention, Operator, Workload
from flexnpu.hardware import Soc
from flexnpu.llm import ModelShape, Parallel

Requests = Iterable[Request] | Batch | Load
_PROMPTS, _RUNNING = ("prefill_attention", "context_attention"), ("decode_attention", "generation_attention")
_REMEMBERED = 4096  # of what was asked for, how much is remembered


class Forecaster:
    """Forecasts for one model on one device, or on several alike: then of each, and `part` is what each has of it.

    Whatever is named requests, prefill or decode is a Load, a Batch or an iterable of Request: where devices form
    groups that meet in the experts alone, those of one group.
    """

    def __init__(
        self, model: ModelShape, soc: Soc, profile: Profile | None = None, parallel: Parallel | None = None
    ) -> None:
        # What a profile has of another model is left out, with a line in `notes`; another device's is refused.
        self.parallel = parallel or Parallel()
        self.part = self.parallel.share(model)
        held = fitting(profile or Profile.of(soc), model, soc, parted=self.part is not model)
        self.model, self.soc, self.profile, self.notes = model, soc, held.profile, held.notes
        self.operators = OperatorModel(soc, self.profile)
        self.workload = work = Workload.of(model, soc, self.parallel, self.profile)
        self.cores = soc.cube_cores
        self._attention = _attention_of(self.operators, work.attention)
        table = partial(_table, self.operators, self.cores)
        self._by_tokens, self._by_logits = table(work.by_tokens), table(work.by_logits)
        self._by_readers, self._by_seen = table(work.by_readers), table(work.by_seen)
        asked = [(self._by_tokens, Asks.TOKENS), (self._by_logits, Asks.LOGITS)]
        # Those that the model has.
        asked += [(self._by_readers, Asks.READERS)] if work.by_readers else []
        asked += [(self._by_seen, Asks.KEYS)] if work.by_seen else []
        attention = self._attention
        plain = attention.native if isinstance(attention, PlainAttention) else attention
        self.iteration = Iteration(asked, plain, model.window)
        self._known: dict[tuple[float, ...], Known] = {}

    def load(self, requests: Requests) -> Load:
        """The sums of those requests; the model's sliding window is applied here."""
        return requests if isinstance(requests, Load) else Load.of(requests, self.model.window)

    def seconds(self, cores: int, load: Load) -> float:
        """Seconds of one iteration, alone on `cores`. The quick way: less than a microsecond once warm."""
        return self.iteration.seconds(cores, load)

    def alone(self, requests: Requests) -> Floats:
        """Seconds of the iteration by cores; index 0 is no cores and infinite."""
        found = np.empty(self.cores + 1)
        self.iteration.alone(self.load(requests), found)
        return found

    def split(self, prefill: Requests, decode: Requests, cores: int | None = None) -> tuple[Floats, Floats]:
        """Seconds of both phases side by side, by decode's cores; prefill has the rest of `cores` (default: all).

        At no cores of its own a phase takes for ever, and the other has the device to itself.
        """
        count = (self.cores if cores is None else cores) + 1
        first, second = np.empty(count), np.empty(count)
        self.iteration.split(self.load(prefill), self.load(decode), first, second)
        return first, second

    def beside(self, prefill_cores: int, prefill: Requests, decode_cores: int, decode: Requests) -> tuple[float, float]:
        """Seconds of prefill and of decode side by side on so many cores each."""
        return self.iteration.beside(prefill_cores, self.load(prefill), decode_cores, self.load(decode))

    def steps(self, cores: int, load: Requests, count: int) -> Floats:
        """Seconds of each of the next `count` iterations on `cores`; every running request grows by a token in each."""
        found = np.empty(count)
        self.iteration.steps(cores, self.load(load), found)
        return found

    def forecast(self, cores: int, requests: Requests, beside: Forecast | None = None) -> Forecast:
        """One iteration of `requests` on `cores`, while the iteration `beside` (forecast alone) runs on other cores."""
        if not 1 <= cores <= self.cores or cores != int(cores):
            raise ForecastError(f"cores is {cores}; {self.soc.name} has 1 to {self.cores}")
        if beside is not None and cores + beside.cores > self.cores:
            raise ForecastError(f"{cores} cores beside {beside.cores}; {self.soc.name} has {self.cores} in all")
        load = self.load(requests)
        if not load.tokens:
            return Forecast(0.0, (), cores, 0, 0.0)
        known = self._by_rows(cores, load).around(self._attention_quotes(cores, load), self.profile.uncertainty)
        return Forecast.of(known, cores, int(load.tokens), beside)

    def _by_rows(self, cores: int, load: Load) -> Known:
        """All operators but attention, remembered: the next iteration has as many tokens more often than not."""
        tokens = load.prefill_tokens + load.decode_sequences
        key: tuple[float, ...] = (cores, tokens, load.logits)
        if self.workload.by_readers or self.workload.by_seen:
            key = (*key, load.readers, load.prefill_seen)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            work = self.workload
            layer = self._quotes(work.by_tokens, self._by_tokens, cores, tokens)
            output = next(place for place, quote in enumerate(layer) if quote.name == "o")
            before = [*layer[:output], *self._quotes(work.by_seen, self._by_seen, cores, load.prefill_seen)]
            before += self._quotes(work.by_readers, self._by_readers, cores, load.readers)
            after = [*layer[output:], *self._quotes(work.by_logits, self._by_logits, cores, load.logits)]
            found = self._known[key] = Known.of(before, after, self.profile.uncertainty)
        return found

    def _quotes(self, work: Sequence[Operator], table: Rows, cores: int, rows: float) -> list[Quote]:
        if not rows or not work:
            return []
        quotes = [self._quote(one.name, one.kind, one.cost(self.operators, rows, cores)) for one in work]
        if not self.profile.series:
            return quotes
        # Together they take what the table says, which never falls.
        alone, held, _, _ = table.single(rows, cores)
        alone /= sum([quote.alone for quote in quotes])
        held /= sum([quote.held for quote in quotes])
        return [quote._replace(alone=quote.alone * alone, held=quote.held * held) for quote in quotes]

    def _attention_quotes(self, cores: int, load: Load) -> list[Quote]:
        attention, work, quotes = self._attention, self.workload.attention, []
        if not isinstance(attention, PlainAttention):
            return self._measured_quotes(attention, cores, load)
        if load.prefill_sequences:
            quotes.append(attention.prompts(load, cores))
        if load.decode_sequences:
            cost = work.generation(self.operators, load.decode_sequences, load.decode_seen, cores)
            quotes.append(self._quote(*_RUNNING, cost, work.times))
        return quotes

    def _measured_quotes(self, attention: TabledAttention | JoinedAttention, cores: int, load: Load) -> list[Quote]:
        """Running requests have what they take by themselves, prompts what they add."""
        own, quotes = (0.0, 0.0, 0.0), []
        if load.decode_sequences:
            own = attention.single(Load.decode(load.decode_sequences, load.decode_seen), cores)
        if load.prefill_sequences:
            alone, held, traffic = attention.single(load, cores)
            more = alone - own[0], held - own[1], traffic - own[2]
            quotes.append(Quote(*_PROMPTS, *more, 0.0, attention.prompts_bound(load, cores)))
        if load.decode_sequences:
            quotes.append(Quote(*_RUNNING, *own, 0.0, attention.running_bound(load, cores)))
        return quotes

    def _quote(self, name: str, kind: str, cost: Cost, times: int = 1) -> Quote:
        alone, held = self.operators.seconds(cost), self.operators.seconds(cost, HALF)
        bound = bound_by(cost, float(alone))
        alone, held = times * float(alone), times * float(held)
        return Quote(name, kind, alone, held, times * float(cost.traffic), times * float(cost.links), bound)


def _table(operators: OperatorModel, cores: int, work: tuple[Operator, ...]) -> Rows:
    made = rising_rows if operators.profile.series else rows
    return made(partial(_fill, operators, cores, work), cores)


def _fill(operators: OperatorModel, cores: int, work: Sequence[Operator], tokens: Floats) -> Filled:
    alone, held = np.zeros((len(tokens), cores + 1)), np.zeros((len(tokens), cores + 1))
    alone[:, 0] = held[:, 0] = np.inf
    traffic, links = np.zeros(len(tokens)), np.zeros(len(tokens))
    every = np.arange(1, cores + 1)
    for operator in work:
        cost = operator.cost(operators, tokens[:, None], every)
        alone[:, 1:] += operators.seconds(cost)
        held[:, 1:] += operators.seconds(cost, HALF)
        traffic += np.broadcast_to(cost.traffic, (len(tokens), cores))[:, -1]
        links += np.broadcast_to(cost.links, (len(tokens), cores))[:, -1]
    return Filled(alone, held, traffic, links)


def _attention_of(operators: OperatorModel, work: Attention) -> PlainAttention | TabledAttention | JoinedAttention:
    if operators.joins and work.measured(operators)[0] is not None:
        return JoinedAttention(operators, work)
    return TabledAttention(operators, work) if operators.profile.series else PlainAttention(operators, work)


def forecast(model: ModelShape, soc: Soc, cores: int, requests: Requests, beside: Forecast | None = None) -> Forecast:
    """One iteration with the published constants; a Forecaster is quicker for many questions about one model."""
    return Forecaster(model, soc).forecast(cores, requests, beside)
