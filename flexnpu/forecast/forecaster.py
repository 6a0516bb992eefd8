# SPDX-License-Identifier: Apache-2.0
"""Seconds of an iteration: the sum of its operators; phases side by side share the device's bandwidth.

Pure functions of their arguments; what is remembered between calls changes no answer. docs/forecast.md has the
equations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial, reduce
from operator import attrgetter

import numpy as np

from flexnpu.forecast.attention import PlainAttention
from flexnpu.forecast.attention_joined import JoinedAttention
from flexnpu.forecast.attention_tabled import TabledAttention
from flexnpu.forecast.batch import Batch, Floats, ForecastError, Request
from flexnpu.forecast.breakdown import Forecast, Known, Quote
from flexnpu.forecast.contention import HALF, contended, slowed
from flexnpu.forecast.fitting import fitting
from flexnpu.forecast.load import Load
from flexnpu.forecast.operators import Cost, OperatorModel, bound_by
from flexnpu.forecast.profile import Profile
from flexnpu.forecast.rows import Filled, RisingRows, Row, Rows, Single
from flexnpu.forecast.workload import Attention, Operator, Workload
from flexnpu.hardware import Soc
from flexnpu.llm import ModelShape, Parallel

Requests = Iterable[Request] | Batch | Load
_readers, _prompts_keys = attrgetter("readers"), attrgetter("prefill_seen")
_PROMPTS, _RUNNING = ("prefill_attention", "context_attention"), ("decode_attention", "generation_attention")
_PLACES: Floats = np.arange(1024.0)
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
        self._all = np.arange(1, self.cores + 1)
        self._attention = _attention_of(self.operators, work.attention)
        self._by_tokens, self._by_logits = self._table(work.by_tokens), self._table(work.by_logits)
        self._by_readers, self._by_seen = self._table(work.by_readers), self._table(work.by_seen)
        # Those that the model has, and what of a load they are asked by.
        others = ((work.by_readers, _readers, self._by_readers), (work.by_seen, _prompts_keys, self._by_seen))
        self._others = [(rows_of, table) for some, rows_of, table in others if some]
        self._sums: dict[tuple[float, ...], Row] = {}
        self._known: dict[tuple[float, ...], Known] = {}

    def load(self, requests: Requests) -> Load:
        """The sums of those requests; the model's sliding window is applied here."""
        return requests if isinstance(requests, Load) else Load.of(requests, self.model.window)

    def seconds(self, cores: int, load: Load) -> float:
        """Seconds of one iteration, alone on `cores`. The quick way: a few microseconds once warm."""
        total = self._by_tokens.alone(load.prefill_tokens + load.decode_sequences, cores)
        if load.logits:
            total += self._by_logits.alone(load.logits, cores)
        for rows_of, rows in self._others:
            total += rows.alone(rows_of(load), cores)
        return total + self._attention.seconds(load, cores)

    def alone(self, requests: Requests) -> Floats:
        """Seconds of the iteration by cores; index 0 is no cores and infinite."""
        load = self.load(requests)
        if not load.tokens:
            return self._nothing().alone
        alone, _, _ = self._attention.by_cores(load)
        return self._rows(load).alone + alone

    def split(self, prefill: Requests, decode: Requests, cores: int | None = None) -> tuple[Floats, Floats]:
        """Seconds of both phases side by side, by decode's cores; prefill has the rest of `cores` (default: all).

        At no cores of its own a phase takes for ever, and the other has the device to itself.
        """
        total = self.cores if cores is None else cores
        first, second = self._summary(self.load(prefill)), self._summary(self.load(decode))
        # Row i: decode on i cores, prefill on the rest.
        first = Row(first.alone[total::-1], first.held[total::-1], first.traffic, first.links)
        second = Row(second.alone[: total + 1], second.held[: total + 1], second.traffic, second.links)
        return contended(first, second), contended(second, first)

    def beside(self, prefill_cores: int, prefill: Requests, decode_cores: int, decode: Requests) -> tuple[float, float]:
        """Seconds of prefill and of decode side by side on so many cores each."""
        one = self._single(prefill_cores, self.load(prefill))
        two = self._single(decode_cores, self.load(decode))
        return slowed(one, two), slowed(two, one)

    def steps(self, cores: int, load: Requests, count: int) -> Floats:
        """Seconds of each of the next `count` iterations on `cores`; every running request grows by a token in each."""
        start = self.load(load)
        places = _PLACES[:count] if count <= len(_PLACES) else np.arange(float(count))
        seen: Floats = places * start.decode_sequences
        seen += start.decode_seen
        if self.model.window is not None:
            seen = np.minimum(seen, start.decode_sequences * self.model.window)
        steady = self._rows(start).alone.item(cores) if start.tokens else 0.0
        return steady + self._attention.steps(start, cores, seen)

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

    def _table(self, work: tuple[Operator, ...]) -> Rows:
        rows = RisingRows if self.profile.series else Rows
        return rows(partial(self._fill, work), self.cores)

    def _fill(self, work: Sequence[Operator], tokens: Floats) -> Filled:
        alone, held = np.zeros((len(tokens), self.cores + 1)), np.zeros((len(tokens), self.cores + 1))
        alone[:, 0] = held[:, 0] = np.inf
        traffic, links = np.zeros(len(tokens)), np.zeros(len(tokens))
        for operator in work:
            cost = operator.cost(self.operators, tokens[:, None], self._all)
            alone[:, 1:] += self.operators.seconds(cost)
            held[:, 1:] += self.operators.seconds(cost, HALF)
            traffic += np.broadcast_to(cost.traffic, (len(tokens), self.cores))[:, -1]
            links += np.broadcast_to(cost.links, (len(tokens), self.cores))[:, -1]
        return Filled(alone, held, traffic, links)

    # --- all core counts at once ---------------------------------------------------------------------------------

    def _nothing(self) -> Row:
        return Row(np.append(np.inf, np.zeros(self.cores)), np.zeros(self.cores + 1), 0.0, 0.0)

    def _rows(self, load: Load) -> Row:
        """All operators but attention together, remembered."""
        tokens = load.prefill_tokens + load.decode_sequences
        key = (tokens, load.logits, *[rows_of(load) for rows_of, _ in self._others])
        row = self._sums.get(key)
        if row is None:
            if len(self._sums) >= _REMEMBERED:
                self._sums.clear()
            row = self._sums[key] = reduce(Row.plus, [table.row(rows) for table, rows in self._asked(load)])
        return row

    def _asked(self, load: Load) -> list[tuple[Rows, float]]:
        """Tables of its operators other than attention, with what of the load each is asked by."""
        asked = [(self._by_tokens, load.prefill_tokens + load.decode_sequences)]
        if load.logits:
            asked.append((self._by_logits, load.logits))
        if self._others:
            asked += [(table, rows_of(load)) for rows_of, table in self._others]
        return asked

    def _summary(self, load: Load) -> Row:
        """The whole iteration by cores."""
        if not load.tokens:
            return self._nothing()
        row = self._rows(load)
        alone, held, traffic = self._attention.by_cores(load)
        return Row(row.alone + alone, row.held + held, row.traffic + traffic, row.links)

    def _single(self, cores: int, load: Load) -> Single:
        """The whole iteration on so many cores."""
        if not load.tokens:
            return Single(0.0, 0.0, 0.0, 0.0)
        alone, held, traffic = self._attention.single(load, cores)
        links = 0.0
        for table, rows in self._asked(load):
            more = table.single(rows, cores)
            alone += more[0]
            held += more[1]
            traffic += more[2]
            links += more[3]
        return Single(alone, held, traffic, links)

    # --- one number of cores, operator by operator -----------------------------------------------------------------

    def _by_rows(self, cores: int, load: Load) -> Known:
        """All operators but attention, remembered: the next iteration has as many tokens more often than not."""
        tokens = load.prefill_tokens + load.decode_sequences
        key = (cores, tokens, load.logits, *[rows_of(load) for rows_of, _ in self._others])
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
        row = table.row(rows)
        alone = row.alone.item(cores) / sum([quote.alone for quote in quotes])
        held = row.held.item(cores) / sum([quote.held for quote in quotes])
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


def _attention_of(operators: OperatorModel, work: Attention) -> PlainAttention | TabledAttention | JoinedAttention:
    if operators.joins:
        return JoinedAttention(operators, work)
    return TabledAttention(operators, work) if operators.profile.series else PlainAttention(operators, work)


def forecast(model: ModelShape, soc: Soc, cores: int, requests: Requests, beside: Forecast | None = None) -> Forecast:
    """One iteration with the published constants; a Forecaster is quicker for many questions about one model."""
    return Forecaster(model, soc).forecast(cores, requests, beside)
